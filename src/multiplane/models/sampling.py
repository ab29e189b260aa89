"""Samplers for x-prediction under rectified flow, as plain functions.

A state moves along z_t = t x + (1 - t) noise from t = 0 to 1; `predict(z, t)` gives the clean x
seen from there, so the velocity is (x - z) / (1 - t). `settle(z, t)` puts back what must not move:
given tokens, and planes still held on their own path (inpainting, image to image).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Predict = Callable[[Tensor, float], Tensor]
Settle = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, int, Tensor], None]


def clip_noise(shape: Sequence[int], shared: float, generator: torch.Generator) -> Tensor:
    """Standard normal noise (B, P, F, C, h, w) on the CPU, as `generator` is. shared: 0..1, the
    share of its variance that all frames have in common (the mixed noise of Ge et al., arXiv
    2305.10474), which keeps what is drawn alike from frame to frame. Raises ValueError."""
    if not 0.0 <= shared <= 1.0:
        raise ValueError(f"frames share 0 to 1 of the noise's variance, got {shared}")
    noise = torch.randn(tuple(shape), generator=generator)
    if shared == 0 or shape[2] == 1:
        return noise
    common = torch.randn((*shape[:2], 1, *shape[3:]), generator=generator)
    return shared**0.5 * common + (1 - shared) ** 0.5 * noise


def time_steps(steps: int, start: float = 0.0, shift: float = 1.0) -> list[float]:
    """steps + 1 times from `start` to 1. shift > 1 spends more of them near noise, below 1 fewer:
    even steps of u, bent by t = u / (u + shift (1 - u)) (Esser et al., arXiv 2403.03206, equation
    23, with t = 1 - their t). Raises ValueError."""
    if steps < 1:
        raise ValueError(f"sampling takes at least 1 step, got {steps}")
    if not 0.0 <= start < 1.0:
        raise ValueError(f"sampling starts at a time of at least 0 and below 1, got {start}")
    if not shift > 0.0:
        raise ValueError(f"the shift of the times must be above 0, got {shift}")
    first = shift * start / (1 - start + shift * start)  # the bend's inverse
    even = [first + (1 - first) * index / steps for index in range(1, steps)]
    return [start, *(u / (u + shift * (1 - u)) for u in even), 1.0]


def euler(
    predict: Predict, z: Tensor, times: Sequence[float], settle: Settle, on_step: OnStep
) -> Tensor:
    """First order; one prediction a step."""
    total = len(times) - 1
    for index in range(total):
        t, following = times[index], times[index + 1]
        x = predict(z, t)
        z = settle(z + (following - t) / (1 - t) * (x - z), following)
        on_step(index + 1, total, x)
    return z


def heun(
    predict: Predict, z: Tensor, times: Sequence[float], settle: Settle, on_step: OnStep
) -> Tensor:
    """Second order; two predictions a step, one in the last."""
    total = len(times) - 1
    for index in range(total):
        t, following = times[index], times[index + 1]
        x = predict(z, t)
        velocity = (x - z) / (1 - t)
        ahead = settle(z + (following - t) * velocity, following)
        if following < 1:
            again = (predict(ahead, following) - ahead) / (1 - following)
            ahead = settle(z + (following - t) * 0.5 * (velocity + again), following)
        z = ahead
        on_step(index + 1, total, x)
    return z


SAMPLERS = {"euler": euler, "heun": heun}
