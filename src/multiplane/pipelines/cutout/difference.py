"""The object in front of a known background: what a clean plate of the same place tells."""

from __future__ import annotations

import numpy as np

from multiplane.core.pixels import Float

NOISE, CLEAR_DIFFERENCE = (
    0.03,
    0.15,
)  # of full scale: below one nothing differs, above the other all


def difference_matte(picture: Float, background: Float) -> Float:
    """(H, W) coarse matte of where `picture` (H, W, 3) is not `background` (H, W, 3), 0..1.

    Holes where the object has the background's colour are closed when the object surrounds them."""
    import cv2

    apart = np.abs(picture - background).max(axis=2)
    matte = np.clip((apart - NOISE) / (CLEAR_DIFFERENCE - NOISE), 0.0, 1.0)
    matte = np.asarray(cv2.medianBlur(matte.astype(np.float32), 5))
    solid = np.pad((matte > 0.5).astype(np.uint8), 1)
    cv2.floodFill(solid, None, (0, 0), 2)
    enclosed = solid[1:-1, 1:-1] == 0
    return np.where(enclosed, np.float32(1.0), matte).astype(np.float32)


def colours_over(picture: Float, background: Float, alpha: Float, guess: Float) -> Float:
    """(H, W, 3): the foreground that over `background` with `alpha` gives `picture`, where alpha
    is enough to tell; `guess` elsewhere."""
    share = alpha[..., None]
    solved = (picture - (1.0 - share) * background) / np.maximum(share, 1e-3)
    trust = np.clip((share - 0.1) / 0.4, 0.0, 1.0)
    mixed = np.clip(guess + trust * (solved - guess), 0.0, 1.0)
    return mixed.astype(np.float32, copy=False)
