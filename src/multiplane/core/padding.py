"""Colour under clear pixels: what LayerDiffuse calls padding.

Colour where alpha is 0 is undefined, and a network that sees it must not learn from whatever a file
left there. `pad_colour` fills it smoothly from the visible colour nearby. The paper (arXiv
2402.17113) says "iterative Gaussian filter"; the published models were trained on the pyramid that
its code builds instead, and that is what stands here: shrink by 1.2 until one side is one pixel,
start from the mean visible colour, and blend back up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, to_float

SHRINK = 1.2


def pad_colour(rgba: Pixels) -> Float:
    """(H, W, 4) straight pixels -> (H, W, 3) float32 colour, about 0..1, not clipped.

    Opaque pixels keep their colour exactly and clear ones get the fill; in between the two are
    blended by alpha, as in the published code. A picture that is clear everywhere gives zeros.
    The channels before the last come out in the order they went in. Raises ValueError for another
    shape or dtype.
    """
    if rgba.ndim != 3 or rgba.shape[2] != 4 or 0 in rgba.shape:
        raise ValueError(f"padding takes pixels of shape (H, W, 4), got {rgba.shape}")
    level = np.array(to_float(rgba), dtype=np.float32)
    level[..., :3] *= level[..., 3:]
    levels = [level]
    for height, width in pyramid_sizes(*level.shape[:2])[1:]:
        level = _shrink(_shrink(level, height, 0), width, 1)
        levels.append(level)
    total = levels[-1].sum(axis=(0, 1), dtype=np.float64)
    colour = np.float32(total[:3] / max(total[3], 1e-8))[None, None]
    for level in reversed(levels):
        height, width = level.shape[:2]
        colour = _stretch(_stretch(colour, width, 1), height, 0)
        colour = level[..., :3] + colour * (np.float32(1.0) - level[..., 3:])
    return colour


def pyramid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of every level, from the picture inwards until a side is one pixel. Each
    follows from the level before, not from the picture."""
    sizes = [(height, width)]
    while min(sizes[-1]) > 1:
        height, width = sizes[-1]
        sizes.append((int(height / SHRINK), int(width / SHRINK)))
    return sizes


def _weighted(
    values: Float, indices: NDArray[np.int64], weights: NDArray[np.float64], axis: int
) -> Float:
    """Along `axis` (0 or 1): output i is the sum over t of weights[t, i] * values[indices[t, i]]."""
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    result: Float | None = None
    for index, weight in zip(indices, weights, strict=True):
        part = np.take(values, index, axis=axis)
        part *= weight.astype(np.float32).reshape(shape)
        result = part if result is None else np.add(result, part, out=result)
    assert result is not None
    return result


def _shrink(values: Float, size: int, axis: int) -> Float:
    """Exact box average: output i is the mean over [i * s, (i + 1) * s), s = old / new size, pixels
    on the border counted by the part that is covered."""
    old = values.shape[axis]
    if old == size:
        return values
    step = old / size
    start = np.arange(size) * step
    first = np.floor(start).astype(np.int64)
    taps = first + np.arange(int(np.ceil(step)) + 1)[:, None]
    covered = np.minimum(taps + 1, start + step) - np.maximum(taps, start)
    weights = np.clip(covered, 0.0, None) * (taps < old)
    return _weighted(values, np.minimum(taps, old - 1), weights / weights.sum(axis=0), axis)


def _stretch(values: Float, size: int, axis: int) -> Float:
    """Linear interpolation between pixel centres; the outermost pixels continue beyond theirs."""
    old = values.shape[axis]
    if old == size:
        return values
    at = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0.0, old - 1)
    first = np.floor(at).astype(np.int64)
    part = at - first
    indices = np.stack([first, np.minimum(first + 1, old - 1)])
    return _weighted(values, indices, np.stack([1.0 - part, part]), axis)
