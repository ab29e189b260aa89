"""What can be wrong with a foreground when nothing says what it should look like: residue over the
empty canvas, holes inside, a halo at the edge; and how much of it is see-through.

Every alpha is (H, W) float 0..1, every picture (H, W, 4) float straight alpha 0..1. Lengths grow
with the canvas (`reach_of`), so that one object at two sizes has about the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from multiplane.evaluation.alpha import INSIDE, OUTSIDE, Array

TRACE = 1.5 / 255  # more than one step of 8 bits
SPECK = 1 / 1024  # of the canvas: a smaller component is no object


def reach_of(alpha: Array) -> int:
    """Pixels that count as near: a 32nd of the shorter side, at least 2."""
    return max(2, round(min(alpha.shape[:2]) / 32))


def object_of(alpha: Array) -> NDArray[np.bool_]:
    """Where alpha is above one half, in components (eight neighbours) of at least a thousandth of
    the canvas; all False where there is none, as in a picture that is see-through all over."""
    from scipy import ndimage

    labels, count = cast(
        "tuple[NDArray[np.int32], int]", ndimage.label(alpha > 0.5, structure=np.ones((3, 3)))
    )
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    large = areas >= SPECK * alpha.size
    large[0] = False
    return large[labels]


@dataclass(frozen=True)
class Residue:
    """Alpha over the empty canvas. share: of its pixels with more than one step of 8 bits."""

    mean: float
    max: float
    share: float


def residue(alpha: Array) -> Residue | None:
    """Alpha farther from the object than `reach_of`; None without an object, or where it leaves no
    empty canvas. A glow that the object really has counts too: read it beside real pictures."""
    found = object_of(alpha)
    if not found.any():
        return None
    far = alpha[_distance(~found) > reach_of(alpha)]
    if far.size == 0:
        return None
    return Residue(float(far.mean(dtype=np.float64)), float(far.max()), float((far > TRACE).mean()))


def holes(alpha: Array) -> float | None:
    """The share of pixels that are not solid among those deeper than `reach_of` in the object's
    silhouette with its openings filled; None where nothing lies so deep. Openings that belong to
    the object (a wheel's spokes) count too: read it beside real pictures."""
    from scipy import ndimage

    filled = np.asarray(ndimage.binary_fill_holes(object_of(alpha)))
    deep = alpha[_distance(filled) > reach_of(alpha)]
    return float((deep < INSIDE).mean()) if deep.size else None


@dataclass(frozen=True)
class Halo:
    """error: how far the edge is from a clean one, 0..1. lightness: the same with its sign, below 0
    for a dark fringe, above 0 for a light one."""

    error: float
    lightness: float


def halo(picture: Array) -> Halo | None:
    """The mean over the soft edge of alpha |c - s|, c being the straight colour there and s that of
    the nearest pixel well inside the solid object.

    An edge without a fringe, laid over a colour B, is the straight blend a s + (1 - a) B; the
    picture shows a c + (1 - a) B. They differ by a (c - s): by the same on black, white, red, green
    and every other backdrop, which is why none is named here. Well inside: at least half of
    `reach_of` within the solid part, so that a fringe over its rim is no reference. None without
    such pixels or without a soft edge near them (two reaches)."""
    alpha = picture[..., 3].astype(np.float64)
    reach = reach_of(alpha)
    inner = _distance(alpha >= INSIDE) > reach / 2
    if not inner.any():
        return None
    distance, nearest = _nearest(inner)
    edge = (alpha > OUTSIDE) & (alpha < INSIDE) & (distance <= 2 * reach)
    if not edge.any():
        return None
    color = picture[..., :3].astype(np.float64)
    rows, columns = nearest[:, edge]
    apart = (color[edge] - color[rows, columns]) * alpha[edge][:, None]
    return Halo(float(np.abs(apart).mean()), float(apart.mean()))


def see_through_share(alpha: Array) -> float:
    """The share of covered pixels that are soft together with all around them (half of `reach_of`):
    glass, flame and glow, but no edge, however many edges a net has. 0 for an empty matte."""
    from scipy import ndimage

    covered = np.count_nonzero(alpha > OUTSIDE)
    soft = (alpha > OUTSIDE) & (alpha < INSIDE)
    side = 2 * (reach_of(alpha) // 2) + 1
    together = ndimage.minimum_filter(soft, side, mode="constant", cval=1)  # beyond it: as soft
    return float(np.count_nonzero(together) / covered) if covered else 0.0


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels to the nearest False; infinite where there is none."""
    from scipy import ndimage

    if inside.all():
        return np.full(inside.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(inside))


def _nearest(wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(H, W) pixels to the nearest True, and (2, H, W) its row and column."""
    from scipy import ndimage

    found = ndimage.distance_transform_edt(~wanted, return_indices=True)
    return cast("tuple[NDArray[np.float64], NDArray[np.int32]]", found)
