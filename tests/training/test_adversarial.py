"""The discriminator: its losses, who learns from whom, and its place in the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from multiplane.training import checkpoint
from multiplane.training.adversarial import (
    Adversary,
    AdversaryConfig,
    PatchDiscriminator,
    hinge_for_discriminator,
    hinge_for_generator,
)
from multiplane.training.run import RunConfig, TrainingRun

STEPS = 6


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.5])
    by_hand = 0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1 + 2.5) / 3)
    assert hinge_for_discriminator(real, fake).item() == pytest.approx(by_hand)
    assert hinge_for_generator(fake).item() == pytest.approx(0.5)


def test_the_defaults_are_five_convolutions_that_see_seventy_pixels() -> None:
    """pix2pix's discriminator: an opinion changes with a pixel 34 away and not with one 36 away."""
    network = PatchDiscriminator(3, width=8)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda input: input  # norms would see the whole picture
    convolutions = [module for module in network if isinstance(module, nn.Conv2d)]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1, 1]
    picture = torch.randn(1, 3, 256, 256, requires_grad=True)
    opinions = network(picture)
    assert opinions.shape == (1, 1, 30, 30)
    opinions[0, 0, 15, 15].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum(dim=(0, 1, 2)).nonzero()
    assert int(seen[-1] - seen[0]) + 1 == 70


def test_the_models_loss_reaches_the_picture_and_not_the_discriminator() -> None:
    adversary = Adversary(AdversaryConfig(width=8, depth=1), 3)
    fake = torch.randn(2, 3, 16, 16, requires_grad=True)
    loss = adversary.judge(0, torch.randn(2, 3, 16, 16), fake)
    assert loss.item() == pytest.approx(-adversary.bare(fake).mean().item(), rel=1e-5)
    loss.backward()
    assert fake.grad is not None
    assert bool((fake.grad != 0).any())
    assert all(p.grad is None and p.requires_grad for p in adversary.bare.parameters())


def test_it_learns_to_tell_and_only_from_its_start_on(tmp_path: Path) -> None:
    adversary = Adversary(AdversaryConfig(width=8, depth=1, rate=1e-3, start=2), 3)
    run = TrainingRun(config(tmp_path), Brightness(), nn.Identity(), {}, adversary)
    before = {name: value.clone() for name, value in adversary.bare.state_dict().items()}
    real, fake = torch.full((4, 3, 16, 16), 0.8), torch.full((4, 3, 16, 16), -0.8)
    assert adversary.judge(1, real, fake).item() == 0
    assert adversary.learn(run.accelerator, 1.0) == {}
    assert all(torch.equal(before[n], v) for n, v in adversary.bare.state_dict().items())
    figures: dict[str, float] = {}
    for _ in range(60):
        adversary.judge(2, real + 0.1 * torch.randn_like(real), fake + 0.1 * torch.randn_like(fake))
        figures = adversary.learn(run.accelerator, 1.0)
    assert figures["on_real"] > 0.5
    assert figures["on_fake"] < -0.5
    assert figures["discriminator"] < 0.3


def test_several_pictures_of_a_step_are_learned_from_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, several = (Adversary(AdversaryConfig(width=8, depth=1), 3) for _ in range(2))
    several.bare.load_state_dict(one.bare.state_dict())
    run = TrainingRun(config(tmp_path), Brightness(), nn.Identity(), {})
    real, fake = torch.randn(2, 4, 3, 16, 16).unbind()
    one.judge(0, real, fake)
    for part in range(2):
        several.judge(0, real[part * 2 :][:2], fake[part * 2 :][:2])
    assert one.learn(run.accelerator, 1.0) == several.learn(run.accelerator, 1.0)
    assert several.learn(run.accelerator, 1.0) == {}
    for name, value in one.bare.state_dict().items():
        assert torch.allclose(value, several.bare.state_dict()[name], atol=1e-7)


def test_a_width_that_groups_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        AdversaryConfig(width=12)


# ------------------------------------------------------------------------------- in the loop


class Brightness(nn.Module):
    """One number for every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, noise: Tensor) -> Tensor:
        return noise * 0.1 + self.level


def config(out: Path, **said) -> RunConfig:
    numbers = {"steps": STEPS, "warmup": 2, "log_every": 1, "save_every": 2, "sample_every": 99}
    return RunConfig(
        out, precision="no", compile=False, other_rate=0.05, anneal=0.0, **{**numbers, **said}
    )


def trained(out: Path, **said) -> tuple[TrainingRun, Adversary]:
    torch.manual_seed(0)
    adversary = Adversary(AdversaryConfig(width=8, depth=1, rate=1e-3), 3)
    run = TrainingRun(config(out, **said), Brightness(), nn.Identity(), {}, adversary)

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        noise = torch.randn(4, 3, 16, 16, generator=generator)
        fake = model(noise)
        return adversary.judge(step, noise * 0.1 + 0.8, fake), {}

    run.train(loss_of_step, lambda _: {})
    return run, adversary


def test_a_resumed_run_has_the_same_discriminator(tmp_path: Path) -> None:
    whole, one = trained(tmp_path / "whole")
    trained(tmp_path / "parts", steps=4)
    parts, other = trained(tmp_path / "parts")
    assert torch.equal(whole.bare.level, parts.bare.level)  # pyright: ignore
    for name, value in one.bare.state_dict().items():
        assert torch.equal(value, other.bare.state_dict()[name])
    state = checkpoint.load(tmp_path / "parts" / "step-0000006")["adversary"]
    moments = state["optimizer"]["state"][0]
    assert int(moments["step"]) == STEPS


def test_its_rate_follows_the_schedule_and_the_model_moves_towards_real(tmp_path: Path) -> None:
    run, adversary = trained(tmp_path, steps=60, warmup=4)
    assert run.bare.state_dict()["level"].item() > 0.3
    assert adversary.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    trained(tmp_path / "short", steps=1, warmup=4)
    state = checkpoint.load(tmp_path / "short" / "step-0000001")["adversary"]
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-3 / 4)


def test_a_checkpoint_without_a_discriminator_is_refused(tmp_path: Path) -> None:
    TrainingRun(config(tmp_path), Brightness(), nn.Identity(), {}).save()
    with pytest.raises(ValueError, match="one of the two has a discriminator"):
        trained(tmp_path)
