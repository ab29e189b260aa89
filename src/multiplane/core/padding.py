"""Colour under clear pixels: what LayerDiffuse calls padding.

Colour where alpha is 0 is undefined, and a network that sees it must not learn from whatever a file
left there. `pad_colour` fills it smoothly from the visible colour nearby. The paper (arXiv
2402.17113) says "iterative Gaussian filter"; the published models were trained on the pyramid that
its code builds instead, and that is what stands here: shrink by 1.2 until one side is one pixel,
start from the mean visible colour, and blend back up.
"""

from __future__ import annotations

import numpy as np

from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, to_float
from multiplane.core.resample import shrink, stretch

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
        level = shrink(shrink(level, height, 0), width, 1)
        levels.append(level)
    total = levels[-1].sum(axis=(0, 1), dtype=np.float64)
    colour = (total[:3] / max(total[3], 1e-8)).astype(np.float32)[None, None]
    for level in reversed(levels):
        height, width = level.shape[:2]
        colour = stretch(stretch(colour, width, 1), height, 0)
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
