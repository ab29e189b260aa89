"""Pixel patches with the interface of the autoencoder: the representation without one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PixelPatchesConfig:
    """factor: pixels a side of a patch."""

    factor: int = 16

    @property
    def latent_channels(self) -> int:
        return 4 * self.factor**2


class PixelPatches(nn.Module):
    """picture (B, 4, S, S) <-> patches (B, 4 * factor^2, S/factor, S/factor), exact."""

    def __init__(self, config: PixelPatchesConfig) -> None:
        super().__init__()
        self.config = config

    def encode(self, picture: Tensor) -> Tensor:
        """(B, 4, S, S) premultiplied in [-1, 1] -> patches."""
        return F.pixel_unshuffle(picture, self.config.factor)

    def decode(self, latent: Tensor) -> Tensor:
        """Patches -> (B, 4, S, S)."""
        return F.pixel_shuffle(latent, self.config.factor)
