"""Planes that were settled on 8 bits, taken to the depth of the picture they came from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiplane.core.document import Pixels
from multiplane.core.least_change import change_colors
from multiplane.core.pixels import to_dtype, to_float
from multiplane.core.stack import Sheet, weights

_ROWS = 256


def deepen(background: Pixels, foregrounds: Sequence[Pixels], picture: Pixels) -> list[Pixels]:
    """[background, *foregrounds] in the dtype of `picture`, all (H, W, 4) uint8 before.

    Their colours move by the least that makes them add up to the deep picture, which they already
    meet to 1/255: where one plane alone is seen it becomes the picture's stored values. Alphas stay
    what they are. foregrounds: the lowest first. Raises ValueError when sizes differ."""
    planes = [background, *foregrounds]
    if any(plane.shape != picture.shape for plane in planes):
        raise ValueError(
            f"the planes are {[plane.shape for plane in planes]}, the picture {picture.shape}"
        )
    deep = [np.empty(picture.shape, picture.dtype) for _ in planes]
    for top in range(0, len(picture), _ROWS):
        rows = slice(top, top + _ROWS)
        target = to_float(picture[rows])[..., :3]
        known = np.ones(target.shape[:2], bool)
        stack = [
            Sheet(values[..., :3], values[..., 3], known)
            for values in (to_float(plane[rows]) for plane in planes)
        ]
        change_colors(stack, target, known)
        alone = [weight == 1.0 for weight in weights(stack)]
        for made, sheet, plane, only in zip(deep, stack, planes, alone, strict=True):
            color = to_dtype(sheet.color, picture.dtype)
            made[rows, :, :3] = np.where(only[..., None], picture[rows, :, :3], color)
            made[rows, :, 3] = to_dtype(plane[rows, :, 3], picture.dtype)
    return deep
