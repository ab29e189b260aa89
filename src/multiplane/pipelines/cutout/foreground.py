"""The colours of an object and of what lies behind it, where its edge shows both.

Multi-level estimation after Germer, Uelwer, Conrad and Harmeling 2020 ("Fast Multi-Level Foreground
Estimation", arXiv 2006.14970): F and B are smooth wherever alpha is, and a F + (1 - a) B is the
picture; solved from a tiny picture up, each level starting from the one below.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels

SMOOTHNESS = 1e-5  # epsilon_r of the paper
GRADIENT_WEIGHT = 1.0  # omega
SMALL_SIDE = 32
SMALL_SWEEPS, BIG_SWEEPS = 10, 4
WHOLE_PIXELS = 1 << 16  # levels up to this size are solved everywhere, larger ones at soft pixels
_ZERO = np.float32(1e-6)


def estimate_foreground(picture: Float, alpha: Float) -> tuple[Float, Float]:
    """(foreground, background), (H, W, 3) each, of a picture (H, W, 3) and its alpha (H, W), 0..1.

    The foreground is the picture where alpha is 1 and goes on smoothly to where it is 0; the
    background the other way round. Where the paper sweeps pixel by pixel (Gauss-Seidel, 2 sweeps
    on large levels) all pixels move at once here, with 4 sweeps and, on large levels, only where
    alpha is neither 0 nor 1: numpy then takes about as long as compiled code."""
    if picture.shape[:2] != alpha.shape:
        raise ValueError(f"the picture is {picture.shape[:2]}, its alpha {alpha.shape}")
    height, width = alpha.shape
    foreground = _mean_where(picture, alpha)
    background = _mean_where(picture, 1.0 - alpha)
    for size in _levels(width, height):
        small_picture = resize_channels(picture, size, "area")
        small_alpha = resize_channels(alpha, size, "area")
        foreground = _enlarged(foreground, size)
        background = _enlarged(background, size)
        _solve_level(small_picture, small_alpha, foreground, background)
    return foreground, background


def _levels(width: int, height: int) -> list[tuple[int, int]]:
    """(width, height) from one pixel to the whole picture, doubling."""
    count = max(1, math.ceil(math.log2(max(width, height))))
    sizes = [
        (round(width ** (level / count)), round(height ** (level / count)))
        for level in range(count + 1)
    ]
    return [(max(1, w), max(1, h)) for w, h in sizes]


def _mean_where(picture: Float, weight: Float) -> Float:
    """(1, 1, 3): the mean colour; mid grey where there is no weight at all."""
    total = float(weight.sum(dtype=np.float64))
    if total < 1e-6:
        return np.full((1, 1, 3), 0.5, np.float32)
    mean = np.einsum("hwc,hw->c", picture, weight, dtype=np.float64) / total
    return mean.astype(np.float32)[None, None]


def _enlarged(values: Float, size: tuple[int, int]) -> Float:
    """(h, w, 3) at `size` by the nearest pixel."""
    rows = np.arange(size[1]) * values.shape[0] // size[1]
    columns = np.arange(size[0]) * values.shape[1] // size[0]
    return np.ascontiguousarray(values[rows[:, None], columns[None, :]])


def _solve_level(picture: Float, alpha: Float, foreground: Float, background: Float) -> None:
    """Improve both colours of one level in place (eq. 8 to 12 of the paper)."""
    height, width = alpha.shape
    whole = alpha.size <= WHOLE_PIXELS
    soft = np.ones(alpha.shape, bool) if whole else _soft(alpha)
    if not whole:
        inside, outside = alpha >= 1.0 - _ZERO, alpha <= _ZERO
        foreground[inside] = picture[inside]
        background[outside] = picture[outside]
    rows, columns = np.nonzero(soft)
    here = rows * width + columns
    beside = [
        np.clip(rows + down, 0, height - 1) * width + np.clip(columns + right, 0, width - 1)
        for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0))
    ]
    flat_alpha = alpha.reshape(-1)
    a = flat_alpha[here]
    steepness: list[Float] = [np.abs(a - flat_alpha[near]) for near in beside]
    weights = [np.float32(SMOOTHNESS) + np.float32(GRADIENT_WEIGHT) * each for each in steepness]
    total: Float = np.sum(weights, axis=0)
    inverse = _inverse(a, total)
    colour = picture.reshape(-1, 3)[here]
    front, back = foreground.reshape(-1, 3), background.reshape(-1, 3)
    sweeps = SMALL_SWEEPS if max(width, height) <= SMALL_SIDE else BIG_SWEEPS
    for _ in range(sweeps):
        right_f = a[:, None] * colour + _weighted(front, beside, weights)
        right_b = (1.0 - a)[:, None] * colour + _weighted(back, beside, weights)
        front[here] = np.clip(inverse[0] * right_f + inverse[1] * right_b, 0.0, 1.0)
        back[here] = np.clip(inverse[1] * right_f + inverse[2] * right_b, 0.0, 1.0)


def _soft(alpha: Float) -> NDArray[np.bool_]:
    """Where alpha is neither 0 nor 1, and the pixels beside that."""
    soft = (alpha > _ZERO) & (alpha < 1.0 - _ZERO)
    grown = soft.copy()
    grown[1:] |= soft[:-1]
    grown[:-1] |= soft[1:]
    grown[:, 1:] |= soft[:, :-1]
    grown[:, :-1] |= soft[:, 1:]
    return grown


def _inverse(a: Float, total: Float) -> tuple[Float, Float, Float]:
    """The symmetric inverse of ((a^2 + s, a (1-a)), (a (1-a), (1-a)^2 + s)), (n, 1) an entry."""
    rest: Float = np.subtract(1.0, a, dtype=np.float32)
    first, cross, last = a * a + total, a * rest, rest * rest + total
    determinant = first * last - cross * cross
    scale: Float = np.reciprocal(determinant, dtype=np.float32)[:, None]
    return last[:, None] * scale, -cross[:, None] * scale, first[:, None] * scale


def _weighted(values: Float, beside: list[NDArray[np.intp]], weights: list[Float]) -> Float:
    """(n, 3): the weighted sum of the four neighbours."""
    total = weights[0][:, None] * values[beside[0]]
    for near, weight in zip(beside[1:], weights[1:], strict=True):
        total += weight[:, None] * values[near]
    return total
