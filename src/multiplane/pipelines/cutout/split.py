"""One alpha taken apart into the objects that hang together in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float

SOLID = 0.5  # alpha of what makes an object
LEAST_SHARE = 0.02  # of the largest object: what is smaller goes to the nearest one
SHARED = 3.0  # pixels over which two objects share a soft edge between them


def split_alpha(alpha: Float, most: int = 12) -> list[Float]:
    """Alphas (H, W) of the unconnected objects in one, largest first; [alpha] itself for one.

    Laid over each other in any order they cover exactly what `alpha` covers: with shares w that
    sum to 1, 1 - prod((1 - alpha)^w) = alpha. Each pixel belongs to the nearest object, and where
    two are about as near, a see-through pixel to both. At most `most` objects; the rest, and specks
    under 2 % of the largest, join the nearest."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (alpha > SOLID).astype(np.uint8), connectivity=8
    )
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return [alpha]
    order = np.argsort(-sizes, kind="stable")
    kept = [int(index) + 1 for index in order if sizes[index] >= LEAST_SHARE * sizes.max()][:most]
    if len(kept) == 1:
        return [alpha]
    away = np.stack([_distance(labels == label) for label in kept])
    nearest = away.min(axis=0)
    shares = np.clip(1.0 - (away - nearest) / SHARED, 0.0, 1.0)
    for row, label in enumerate(kept):  # what is opaque belongs to one object alone
        shares[:, labels == label] = np.arange(len(kept))[:, None] == row
    opaque = alpha >= 1.0
    first = np.arange(len(kept))[:, None] == shares.argmax(axis=0)[opaque]
    shares[:, opaque] = first
    shares /= shares.sum(axis=0)
    clear = np.maximum(1.0 - alpha, 0.0)
    parts = [np.where(opaque, share, 1.0 - clear**share).astype(np.float32) for share in shares]
    return parts


def _distance(region: NDArray[np.bool_]) -> Float:
    import cv2

    return np.asarray(cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
