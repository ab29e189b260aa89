"""Faults planted where the truth is known: bad masks and bad completions, with their names.

What Text2Layer's annotators called bad (section III-D). A mask: object largely incomplete,
background inside, object too small. A completion: an object in the filled part, artefacts,
something that does not fit. Every function takes the truth and a generator and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels

Chance = np.random.Generator


def blurred(values: Float, radius: float) -> Float:
    """(H, W) or (H, W, C) under a Gaussian."""
    import cv2

    if radius <= 0:
        return values
    blurry = cv2.GaussianBlur(np.ascontiguousarray(values), (0, 0), radius)
    return np.asarray(blurry, dtype=np.float32)


def grown(mask: Float, pixels: int) -> Float:
    """A soft mask with its edge moved outward, or inward by a negative number."""
    import cv2

    if pixels == 0:
        return mask
    side = 2 * abs(pixels) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    moved = (cv2.dilate if pixels > 0 else cv2.erode)(mask, disc)
    return np.asarray(moved, dtype=np.float32)


def good_mask(mask: Float, rng: Chance) -> Float:
    """What a good network gives: the edge off by a pixel at most, and a little soft."""
    return blurred(grown(mask, int(rng.integers(-1, 2))), float(rng.uniform(0.0, 1.0)))


def incomplete(mask: Float, rng: Chance) -> Float:
    """A side of the object, or a bite of it, is missing: 25 to 70 percent."""
    along = _direction(mask.shape, rng)
    if rng.random() < 0.4:
        rows, columns = np.nonzero(mask > 0.5)
        pick = int(rng.integers(len(rows)))
        across, down = _grid(mask.shape)
        along = -np.hypot(across - columns[pick], down - rows[pick])
    limit = _weighted_quantile(along, mask, float(rng.uniform(0.3, 0.75)))
    return mask * _step(limit - along, mask.shape)


def background_inside(mask: Float, rng: Chance) -> Float:
    """Surroundings are taken along: a patch beside the object, its box, or a wide rim; at least a
    third of its area more."""
    kind = int(rng.integers(3))
    if kind == 0:
        return np.maximum(mask, _patch_beside(mask, rng))
    box = np.zeros_like(mask)
    rows, columns = np.nonzero(mask > 0.5)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1.0
    if kind == 1 and box.sum() > 1.35 * mask.sum():
        return np.maximum(mask, blurred(box, 1.0))
    reach = 0.33 * float(mask.sum()) / max(_outline(mask), 1.0)
    return blurred(grown(mask, int(reach * rng.uniform(1.2, 2.2)) + 2), 1.0)


def elsewhere(mask: Float, rng: Chance) -> Float:
    """Not the object at all, but a piece of the background of about its size."""
    shifted = np.roll(mask, (mask.shape[0] // 2, mask.shape[1] // 2), axis=(0, 1))
    blob = blurred(shifted, mask.shape[0] / 24)
    free = np.where(mask > 0.1, 0.0, blob).astype(np.float32)
    return np.clip(free / max(float(free.max()), 1e-3) * rng.uniform(1.0, 1.5), 0.0, 1.0)


MASK_FAULTS: Mapping[str, Callable[[Float, Chance], Float]] = {
    "incomplete": incomplete,
    "background inside": background_inside,
    "elsewhere": elsewhere,
}


def put_back(behind: Float, shown: Float, hole: Float, rng: Chance) -> Float:
    """The object, or one like it, stands where it stood."""
    if rng.random() < 0.5:
        return shown.copy()
    turned = np.ascontiguousarray(shown[:, ::-1])
    return _laid(behind, turned, np.ascontiguousarray(hole[:, ::-1]))


def ghost(behind: Float, shown: Float, hole: Float, rng: Chance) -> Float:
    """It shines through, or its outline stays."""
    left = hole * np.float32(rng.uniform(0.3, 0.65))
    if rng.random() < 0.5:
        rim = np.clip(grown(hole, 3) - grown(hole, -2), 0.0, 1.0)
        mean = shown[hole > 0.5].mean(axis=0) if (hole > 0.5).any() else shown.mean(axis=(0, 1))
        return _laid(behind, mean, np.float32(0.85) * blurred(rim, 0.7))
    return _laid(behind, shown, left)


def smear(behind: Float, shown: Float, hole: Float, rng: Chance) -> Float:
    """The filled part is a blur that took in the object's colours."""
    wide = blurred(shown, behind.shape[0] / float(rng.uniform(8, 16)))
    return _laid(behind, wide, blurred(grown(hole, 2), 1.5))


def patches(behind: Float, shown: Float, hole: Float, rng: Chance) -> Float:
    """The filled part is made of pieces of the picture that do not fit, or of coarse noise."""
    height, width = hole.shape
    if rng.random() < 0.4:
        cells = rng.random((height // 6 + 1, width // 6 + 1, 3), dtype=np.float32)
        noise = resize_channels(cells, (width, height))
        filler = np.clip(behind + (noise - 0.5) * np.float32(rng.uniform(0.5, 1.0)), 0.0, 1.0)
    else:
        side = max(8, height // int(rng.integers(5, 10)))
        filler = np.empty_like(behind)
        for top in range(0, height, side):
            for left in range(0, width, side):
                y = int(rng.integers(0, height - side + 1))
                x = int(rng.integers(0, width - side + 1))
                part = filler[top : top + side, left : left + side]
                part[...] = shown[y : y + part.shape[0], x : x + part.shape[1]]
    return _laid(behind, filler, (grown(hole, 2) > 0.3).astype(np.float32))


COMPLETION_FAULTS: Mapping[str, Callable[[Float, Float, Float, Chance], Float]] = {
    "object put back": put_back,
    "ghost": ghost,
    "smear": smear,
    "patches": patches,
}


def _laid(behind: Float, front: NDArray[np.floating], share: Float) -> Float:
    """`front` over `behind` (H, W, 3) by a share (H, W)."""
    return np.add(behind, share[..., None] * (front - behind), dtype=np.float32)


def _grid(shape: tuple[int, ...]) -> tuple[Float, Float]:
    down, across = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return across, down


def _direction(shape: tuple[int, ...], rng: Chance) -> Float:
    """(H, W): how far a pixel lies along a direction drawn by chance."""
    angle = rng.uniform(0, 2 * np.pi)
    across, down = _grid(shape)
    return (across * np.cos(angle) + down * np.sin(angle)).astype(np.float32)


def _weighted_quantile(values: Float, weight: Float, share: float) -> float:
    order = np.argsort(values, axis=None)
    held = np.cumsum(weight.reshape(-1)[order], dtype=np.float64)
    place = min(int(np.searchsorted(held, share * held[-1])), len(order) - 1)
    return float(values.reshape(-1)[order[place]])


def _step(distance: Float, shape: tuple[int, ...]) -> Float:
    """0 to 1 over a hundredth of the picture around distance 0."""
    return np.clip(distance / (shape[0] / 100) + 0.5, 0.0, 1.0).astype(np.float32)


def _patch_beside(mask: Float, rng: Chance) -> Float:
    """An ellipse about a point of the object's rim, of half to one and a half its area."""
    rows, columns = np.nonzero((grown(mask, 2) > 0.5) & (mask < 0.5))
    pick = int(rng.integers(len(rows))) if len(rows) else 0
    centre = (rows[pick], columns[pick]) if len(rows) else (0, 0)
    radius = np.sqrt(float(mask.sum()) * rng.uniform(1.0, 2.0) / np.pi)
    flat = float(rng.uniform(0.7, 1.4))
    across, down = _grid(mask.shape)
    distance = np.hypot((across - centre[1]) * flat, (down - centre[0]) / flat)
    return _step((radius - distance).astype(np.float32), mask.shape)


def _outline(mask: Float) -> float:
    """Pixels of the outline."""
    return float((np.clip(grown(mask, 1) - mask, 0.0, 1.0)).sum())
