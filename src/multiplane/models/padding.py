"""Colour under clear pixels for a batch on its device: the torch twin of `core/padding.py`.

Every step of that pyramid is linear and separable, so a level is two small matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from multiplane.core.padding import pyramid_sizes


def pad_colour_batch(premul: Tensor) -> Tensor:
    """(B, 4, H, W) premultiplied in 0..1 -> (B, 3, H, W) float32 colour, about 0..1: what
    `multiplane.core.padding.pad_colour` makes of the same picture straight. No gradient."""
    with torch.no_grad(), torch.autocast(premul.device.type, enabled=False):
        level = premul.float()
        levels = [level]
        for size in pyramid_sizes(*premul.shape[-2:])[1:]:
            level = _resampled(level, size, shrink_matrix)
            levels.append(level)
        total = level.sum(dim=(2, 3), keepdim=True)
        colour = total[:, :3] / total[:, 3:].clamp(min=1e-8)
        for level in reversed(levels):
            size = (level.shape[2], level.shape[3])
            colour = _resampled(colour, size, stretch_matrix)
            colour = level[:, :3] + colour * (1 - level[:, 3:])
        return colour


def _resampled(
    values: Tensor, size: tuple[int, int], matrix: Callable[[int, int], Tensor]
) -> Tensor:
    rows = matrix(values.shape[2], size[0]).to(values.device)
    columns = matrix(values.shape[3], size[1]).to(values.device)
    return rows @ values @ columns.T


@lru_cache(maxsize=512)
def shrink_matrix(old: int, new: int) -> Tensor:
    """(new, old) float32: output i is the mean over [i s, (i + 1) s), s = old / new, pixels on the
    border counted by the part that is covered."""
    step = old / new
    start = torch.arange(new, dtype=torch.float64)[:, None] * step
    pixel = torch.arange(old, dtype=torch.float64)[None]
    covered = (torch.minimum(pixel + 1, start + step) - torch.maximum(pixel, start)).clamp(min=0)
    return (covered / covered.sum(dim=1, keepdim=True)).float()


@lru_cache(maxsize=512)
def stretch_matrix(old: int, new: int) -> Tensor:
    """(new, old) float32: linear between pixel centres, the outermost pixels continued."""
    at = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5
    at = at.clamp(0, old - 1)[:, None]
    pixel = torch.arange(old, dtype=torch.float64)[None]
    return (1 - (at - pixel).abs()).clamp(min=0).float()
