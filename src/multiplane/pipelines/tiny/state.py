"""What is known of the planes before and while they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.models.layered_transformer import LayeredTransformerConfig
from multiplane.models.sampling import clip_noise


@dataclass(frozen=True)
class PlaneInput:
    """What is known of one plane, at the model's own size.

    pixels: (4, S, S) premultiplied in [0, 1], or None. keep: (S, S) in 0..1, 1 where the pixel
    stands. For a clip both may have the frames in front: (F, 4, S, S), (F, S, S). strength: 0..1,
    image to image: the share of the way from noise to picture that is made anew. Pixels with
    neither are given: all of them stand."""

    prompt: str = ""
    pixels: Tensor | None = None
    keep: Tensor | None = None
    strength: float | None = None

    @property
    def given(self) -> bool:
        return self.pixels is not None and self.keep is None and self.strength is None


@dataclass(frozen=True)
class KnownState:
    """What stands still while the wanted tokens move.

    noise, known: (1, P, F, C, h, w). given: (1, P, F, h, w) bool, clean tokens. keep: (1, P, F, 1,
    h, w) in 0..1, how much of a token's pixels are kept. release: (1, P, 1, 1, 1, 1), the time at
    which a plane leaves its known path (image to image), 0 for the others; that path is
    t * known + (1 - t) * noise."""

    noise: Tensor
    known: Tensor
    given: Tensor
    keep: Tensor
    release: Tensor

    @classmethod
    def prepare(
        cls,
        config: LayeredTransformerConfig,
        inputs: Sequence[PlaneInput],
        encode: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        device: torch.device,
        frames: int = 1,
        shared_noise: float = 0.0,
    ) -> KnownState:
        """The state of these planes on `device`; the noise is drawn on the generator's, the CPU.

        encode: (F, 4, S, S) premultiplied in [0, 1] -> (F, C, h, w) on `device`. shared_noise: see
        `clip_noise`."""
        grid, count = config.grid, len(inputs)
        shape = (1, count, frames, config.channels, grid, grid)
        noise = clip_noise(shape, shared_noise, generator).to(device)
        known = torch.zeros_like(noise)
        keep = torch.zeros(1, count, frames, 1, grid, grid)
        release = torch.zeros(1, count, 1, 1, 1, 1)
        for index, one in enumerate(inputs):
            if one.pixels is None:
                continue
            known[0, index] = encode(one.pixels.reshape(-1, *one.pixels.shape[-3:]))
            if one.given:
                keep[0, index] = 1
            if one.keep is not None:
                coverage = one.keep.reshape(-1, 1, *one.keep.shape[-2:])
                keep[0, index] = F.adaptive_avg_pool2d(coverage, grid)
            if one.strength is not None:
                release[0, index] = 1 - one.strength
        keep, release = keep.to(device), release.to(device)
        return cls(noise, known, keep[:, :, :, 0] > 0.999, keep, release)

    @property
    def start(self) -> float:
        """The time sampling may start at: every wanted plane is held on its path until then."""
        wanted = ~self.given.flatten(2).all(dim=-1)[0]
        return min(0.98, float(self.release.flatten()[wanted].min())) if bool(wanted.any()) else 0.0

    def settle(self, z: Tensor, t: float) -> Tensor:
        """z (1, P, F, C, h, w) at time t with given tokens clean, tokens kept by more than half
        pulled to their known path by as much, and held planes on it."""
        path = t * self.known + (1 - t) * self.noise
        kept = torch.where(self.keep > 0.5, self.keep, torch.zeros_like(self.keep))
        z = torch.lerp(z, path, kept)
        z = torch.where(t <= self.release, path, z)
        return torch.where(self.given[:, :, :, None], self.known, z)
