"""Rotary position code over several axes (plane, frame, y, x) in one attention head."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, split: tuple[int, ...], max_frequency: float) -> Tensor:
    """positions: (N, A) one column an axis, in canvas units. split: channel pairs an axis gets.

    Returns (N, sum(split)) angles. Frequencies of an axis run geometrically from 1 to
    `max_frequency` radians a unit: positions are fractions of the canvas or small integers, not
    token counts, so the code means the same at every picture size.
    """
    angles = []
    for axis, pairs in enumerate(split):
        exponents = torch.linspace(0, 1, pairs, device=positions.device)
        frequency = max_frequency**exponents
        angles.append(positions[:, axis, None].float() * frequency)
    return torch.cat(angles, dim=-1)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x: (..., N, D); cosine, sine: (N, D/2), broadcast. Turns channel pairs (i, i + D/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
