"""A patch discriminator that learns beside the model, inside the shared loop.

    adversary = Adversary(config.adversary, channels=3)
    run = TrainingRun(config.run, model, hidden, settings, adversary)

In the loss of a step `adversary.judge(step, real, fake)` is the model's term; the loop then lets
the discriminator learn from the same pictures, follows the schedule of the rates, and keeps its
weights and its optimizer in every checkpoint, so a resumed run stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class AdversaryConfig:
    """width: channels after the first convolution; depth: convolutions of stride 2. The defaults
    are pix2pix's, five convolutions. rate: AdamW's. start: step from which it learns and is
    heard. clip: greatest gradient norm."""

    width: int = 64
    depth: int = 3
    rate: float = 1e-4
    start: int = 0
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.width % 8 or self.depth < 1:
            raise ValueError(
                f"width must be a multiple of 8 and depth at least 1, got {self.width} and "
                f"{self.depth}"
            )


class PatchDiscriminator(nn.Sequential):
    """(B, C, H, W) -> (B, 1, h, w): one opinion a patch, high for real (PatchGAN, Isola et al.,
    arXiv 1611.07004, section 3.2.2).

    Differs from pix2pix in the norm, GroupNorm for BatchNorm: an opinion then depends on its own
    picture alone, on one process as on many."""

    def __init__(self, channels: int, width: int = 64, depth: int = 3) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        inner = width
        for index in range(1, depth + 1):
            outer = width * min(2**index, 8)
            stride = 2 if index < depth else 1
            layers += [nn.Conv2d(inner, outer, 4, stride, 1, bias=False)]
            layers += [nn.GroupNorm(8, outer), nn.LeakyReLU(0.2)]
            inner = outer
        super().__init__(*layers, nn.Conv2d(inner, 1, 4, 1, 1))


def hinge_for_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """(mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))) / 2: the hinge loss (Lim and Ye, arXiv
    1705.02894), halved as in latent diffusion's autoencoder."""
    return 0.5 * (torch.relu(1 - real).mean() + torch.relu(1 + fake).mean())


def hinge_for_generator(fake: Tensor) -> Tensor:
    """-mean D(fake)."""
    return -fake.mean()


class Adversary:
    """A discriminator of pictures with `channels` channels, its optimizer, and the pictures of the
    step that it has yet to learn from."""

    def __init__(self, config: AdversaryConfig, channels: int) -> None:
        self.config = config
        self.bare = PatchDiscriminator(channels, config.width, config.depth)
        self.network: nn.Module = self.bare
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            self.bare.parameters(), lr=config.rate, betas=(0.5, 0.9), weight_decay=0.01
        )
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def prepare(self, accelerator: Accelerator) -> None:
        """Move to the device; several processes share their gradients. The loop calls it."""
        self.network, self.optimizer = accelerator.prepare(
            self.bare.to(accelerator.device), self.optimizer
        )

    def judge(self, step: int, real: Tensor, fake: Tensor) -> Tensor:
        """The model's loss for passing `fake` off as `real`, both (B, C, H, W) in one range; 0
        before `start`. The gradient reaches `fake` alone. Several calls a step (planes of one
        size) are learned from together."""
        if step < self.config.start:
            return fake.new_zeros(())
        self._pairs.append((real.detach(), fake.detach()))
        fixed = {name: p.detach() for name, p in self.bare.named_parameters()}
        return hinge_for_generator(functional_call(self.bare, fixed, (fake,)).float())

    def learn(self, accelerator: Accelerator, factor: float) -> dict[str, float]:
        """One update from the pictures judged since the last; without any, none. factor: what the
        rate is multiplied by. Returns the mean opinions. The loop calls it after the model's own
        update."""
        if not self._pairs:
            return {}
        real, fake = (torch.cat(side) for side in zip(*self._pairs, strict=True))
        self._pairs.clear()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * factor
        with accelerator.autocast():
            on_real, on_fake = self.network(torch.cat([real, fake])).float().chunk(2)
            loss = hinge_for_discriminator(on_real, on_fake)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self.bare.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "discriminator": loss.item(),
            "on_real": on_real.mean().item(),
            "on_fake": on_fake.mean().item(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.bare.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises RuntimeError where the weights are of another configuration."""
        self.bare.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
