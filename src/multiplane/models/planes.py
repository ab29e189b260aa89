"""Planes as tensors: straight or premultiplied RGBA, [0, 1] or the models' [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def premultiply(straight: Tensor) -> Tensor:
    """(..., 4, H, W) straight alpha in [0, 1] -> premultiplied."""
    color, alpha = straight[..., :3, :, :], straight[..., 3:, :, :]
    return torch.cat([color * alpha, alpha], dim=-3)


def unpremultiply(premul: Tensor, floor: float = 1 / 255) -> Tensor:
    """(..., 4, H, W) premultiplied in [0, 1] -> straight, clipped; alpha below `floor` is
    cleared."""
    premul = premul.clamp(0, 1)
    alpha = premul[..., 3:, :, :]
    shown = alpha >= floor
    color = torch.where(shown, premul[..., :3, :, :] / alpha.clamp(min=floor), 0.0).clamp(0, 1)
    return torch.cat([color, torch.where(shown, alpha, 0.0)], dim=-3)


def over(front: Tensor, back: Tensor) -> Tensor:
    """Porter-Duff source over, both (..., 4, H, W) premultiplied in [0, 1]."""
    return front + (1 - front[..., 3:, :, :]) * back


def to_model(premul: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return premul * 2 - 1


def from_model(plane: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clipped."""
    return (plane * 0.5 + 0.5).clamp(0, 1)
