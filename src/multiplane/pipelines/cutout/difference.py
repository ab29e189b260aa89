"""The object in front of a known background: what a clean plate of the same place tells."""

from __future__ import annotations

import numpy as np

from multiplane.core.pixels import Float
from multiplane.pipelines.cutout.complete import diffuse

NOISE, CLEAR_DIFFERENCE = (
    0.03,
    0.15,
)  # of full scale: below one nothing differs, above the other all

_SOLID = 0.98
_TOLD = 0.01  # squared distance of two colours from which they can be told apart


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


def alpha_over(picture: Float, background: Float, alpha: Float) -> Float:
    """(H, W): `alpha` made exact where it is soft, the background (H, W, 3) being known.

    The object's colour there is spread out from where it is solid; the picture lies between the
    two colours, and how far is alpha. Where they are alike `alpha` stays."""
    solid = alpha > _SOLID
    if not (solid.any() and ((alpha > 0.0) & ~solid).any()):
        return alpha
    return alpha_between(picture, diffuse(picture, ~solid), background, alpha)


def alpha_between(picture: Float, foreground: Float, background: Float, alpha: Float) -> Float:
    """(H, W): `alpha` made exact where it is soft, both colours (H, W, 3) being known. Where they
    are alike `alpha` stays."""
    soft = (alpha > 0.0) & (alpha <= _SOLID)
    across = foreground - background
    length = np.einsum("hwc,hwc->hw", across, across)
    along = np.einsum("hwc,hwc->hw", picture - background, across)
    told = soft & (length > _TOLD)
    share = np.clip(along / np.maximum(length, _TOLD), 0.0, 1.0)
    return np.where(told, share, alpha).astype(np.float32, copy=False)


def spread_colours(picture: Float, alpha: Float) -> Float:
    """(H, W, 3): the colours of the picture where `alpha` (H, W) is solid, spread out over the
    rest. Nothing solid returns the picture."""
    solid = alpha > _SOLID
    return diffuse(picture, ~solid) if solid.any() else picture


def colours_over(picture: Float, background: Float, alpha: Float, guess: Float) -> Float:
    """(H, W, 3): the foreground that over `background` with `alpha` gives `picture`, where alpha
    is enough to tell; `guess` elsewhere."""
    share = alpha[..., None]
    solved = (picture - (1.0 - share) * background) / np.maximum(share, 1e-3)
    trust = np.clip((share - 0.1) / 0.4, 0.0, 1.0)
    mixed = np.clip(guess + trust * (solved - guess), 0.0, 1.0)
    return mixed.astype(np.float32, copy=False)
