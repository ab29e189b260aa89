"""The eight-fold decode of latent transparency: the network on every flip and quarter turn.

The network is not symmetric, and where it guesses alpha wrong it mostly does so in some orientation
only. The published decode takes the lower median of all eight (`torch.median` of eight values is
the fourth smallest, not the mean of the middle two).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multiplane.models.latent_transparency import TransparencyDecoder

# (flip the width, then so many quarter turns counter-clockwise), in the published order.
PASSES = tuple((flip, turns) for flip in (False, True) for turns in range(4))


@dataclass(frozen=True)
class DecodeOptions:
    """passes: 8 as published; 4, 2 or 1 are quicker and less sure."""

    passes: int = 8

    def __post_init__(self) -> None:
        if self.passes not in (1, 2, 4, 8):
            raise ValueError(f"passes must be 1, 2, 4 or 8, got {self.passes}")


def turned(values: Tensor, flip: bool, turns: int) -> Tensor:
    """(B, C, H, W): flipped along the width if asked, then turned counter-clockwise."""
    if flip:
        values = values.flip(-1)
    return values.rot90(turns, (2, 3))


def turned_back(values: Tensor, flip: bool, turns: int) -> Tensor:
    """The inverse of `turned`."""
    values = values.rot90(-turns, (2, 3))
    return values.flip(-1) if flip else values


@torch.no_grad()
def decode_transparent(
    decoder: TransparencyDecoder,
    picture: Tensor,
    latent: Tensor,
    options: DecodeOptions | None = None,
) -> Tensor:
    """picture (B, 3, H, W) in 0..1 and its unscaled latent (B, C, h, w) -> (B, 4, H, W) alpha and
    straight colour A, R, G, B in 0..1, float32."""
    options = options or DecodeOptions()
    results = []
    for flip, turns in PASSES[: options.passes]:
        raw = decoder(
            turned(picture, flip, turns).to(decoder.dtype),
            turned(latent, flip, turns).to(decoder.dtype),
        )
        results.append(turned_back(raw.float().clamp(0, 1), flip, turns))
    return torch.stack(results).median(dim=0).values
