"""The clean plate: the photograph where it is seen, the completion where the object hides it."""

from __future__ import annotations

import numpy as np

from multiplane.core.pixels import Float
from multiplane.pipelines.cutout.complete import (
    Completion,
    complete_background,
    default_grow,
    diffuse,
    dilated,
)

CLEAR = 0.5 / 255  # alpha that 8 bits store as 0
SEEN = 0.35  # share of the background in a pixel from which its estimated colour is trusted


def clean_plate(
    picture: Float,
    alpha: Float,
    behind: Float,
    method: Completion = "migan",
    threads: int = 0,
) -> Float:
    """(H, W, 3): the background of `picture` without what `alpha` (H, W) covers.

    Exactly the picture where alpha is 0. behind: (H, W, 3), the background colours estimated from
    the picture, taken over where a soft edge lets enough of them through. In between is the
    completion. The network paints a dilated hole, so that it does not go on with the object's own
    rim; what it painted meets the picture's true pixels by a shift of colour that fades inward.

    Raises as `complete_background`."""
    hidden = alpha > CLEAR
    if not hidden.any():
        return picture.copy()
    grow = default_grow(alpha.shape)
    plate = complete_background(picture, hidden, method, grow, threads)
    plate = met_at_rim(picture, plate, hidden, grow)
    seen = np.clip(((1.0 - alpha) - SEEN) / (1.0 - SEEN), 0.0, 1.0)[..., None]
    return np.where(hidden[..., None], plate + seen * (behind - plate), picture)


def met_at_rim(picture: Float, plate: Float, hidden: np.ndarray, grow: int) -> Float:
    """(H, W, 3): the picture where it is not `hidden` (H, W), the plate (H, W, 3) where it is; the
    two meet by a shift of colour that fades inward.

    The plate must be known up to `grow` pixels outside of what is hidden. Nothing hidden returns a
    copy of the picture."""
    if not hidden.any():
        return picture.copy()
    ring = dilated(hidden, grow)
    part = _box_of(ring, 2)
    apart = ring[part] & ~hidden[part]  # seen, and known of the plate too
    shift = diffuse((picture[part] - plate[part]) * apart[..., None], ~apart)
    shift *= _fading(hidden[part], 2.0 * grow)[..., None]
    met = picture.copy()
    inside = np.clip(plate[part] + shift, 0.0, 1.0)
    met[part] = np.where(hidden[part][..., None], inside, picture[part])
    return met


def _box_of(region: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _fading(hidden: np.ndarray, reach: float) -> Float:
    """(h, w): 1 at the rim of the hole, falling to 1/e at `reach` pixels inside."""
    import cv2

    depth = cv2.distanceTransform(hidden.astype(np.uint8), cv2.DIST_L2, 5)
    return np.exp(-np.asarray(depth, np.float32) / np.float32(reach))
