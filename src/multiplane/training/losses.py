"""Training losses, each one formula with its source."""

from __future__ import annotations

import torch
from torch import Tensor


def expected_composite_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the composite over a background drawn uniformly from [0, 1].

    predicted, target: (B, 4, H, W) premultiplied in [0, 1]. With d the premultiplied colour error
    and e the alpha error the composite is off by d - b e, so E_b = d^2 - 2 E[b] d e + E[b^2] e^2
    with E[b] = 1/2 and E[b^2] = 1/3 (AlphaVAE, arXiv 2507.09308, with its background statistics
    replaced by the uniform ones). Returns a scalar.
    """
    d = predicted[:, :3] - target[:, :3]
    e = predicted[:, 3:] - target[:, 3:]
    return (d.square() - d * e + e.square() / 3).mean()


def gradient_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical pixel differences: keeps edges sharp."""
    difference = predicted - target
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def as_clipped(predicted: Tensor, target: Tensor) -> Tensor:
    """predicted with what clipping to 0..1 mends taken as right: below 0 where the target is 0,
    above 1 where it is 1. So a network may overshoot, and clear and solid come out exact instead of
    a little soft. Same shape; gradients stop where it overshoots."""
    mended = ((target <= 0) & (predicted < 0)) | ((target >= 1) & (predicted > 1))
    return torch.where(mended, target, predicted)


def psnr(predicted: Tensor, target: Tensor) -> float:
    """dB over all numbers of two batches in [0, 1]; at most 100."""
    return float(-10 * torch.log10((predicted - target).square().mean().clamp(min=1e-10)))


def velocity_loss(predicted: Tensor, clean: Tensor, t: Tensor, wanted: Tensor) -> Tensor:
    """x-prediction under the velocity loss of rectified flow: |x - x0|^2 / (1 - t)^2.

    predicted, clean: (B, P, F, C, h, w). t: (B,), 1 = data; the weight is capped at t = 0.95.
    wanted: (B, P, F, h, w) bool, the tokens that count. Returns (B,), the mean over wanted tokens.
    """
    error = (predicted.float() - clean.float()).square().mean(dim=3)
    weight = wanted.to(error.dtype)
    total = (error * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp(min=1)
    return total / (1 - t).clamp(min=0.05).square()


def logit_normal_times(count: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """(count,) times in (0, 1): sigmoid of a normal (Esser et al., arXiv 2403.03206, section
    3.1)."""
    return torch.sigmoid(torch.randn(count, generator=generator) * std + mean)
