"""What taking a photograph apart is measured by, against exact truth.

Every coverage is (H, W) float 0..1, every picture (H, W, 3) float sRGB 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float
from multiplane.evaluation.alpha import (
    INSIDE,
    OUTSIDE,
    alpha_error,
    edge_color_error,
    mask_iou,
    psnr,
    soft_iou,
)
from multiplane.evaluation.judges import Features
from multiplane.evaluation.scenes import Picture
from multiplane.pipelines.cutout.complete import default_grow, dilated

THRESHOLD = 0.5  # of mask IoU
FOUND = 0.5  # mask IoU from which the object counts as found
BAND = 10  # pixels about the true edge in which alpha is counted as unknown
CONTEXT = 0.25  # of the hole's box that its surroundings add when features are compared


def unknown_band(alpha: Float, reach: int = BAND) -> NDArray[np.bool_]:
    """Where alpha is soft, and within `reach` pixels of where it crosses one half."""
    solid = alpha >= THRESHOLD
    soft = (alpha > OUTSIDE) & (alpha < INSIDE)
    return soft | (dilated(solid, reach) & dilated(~solid, reach))


def hole_of(alpha: Float) -> NDArray[np.bool_]:
    """What is taken out of the background: every pixel the object touches, grown as the family
    `cutout` grows it."""
    return dilated(alpha > OUTSIDE, default_grow(alpha.shape))


def matte_figures(made: Float, truth: Float) -> dict[str, float]:
    """Overlap and error of a matte; "band": inside `unknown_band` alone."""
    band = unknown_band(truth)
    return {
        "mask iou": mask_iou(made, truth, THRESHOLD),
        "soft iou": soft_iou(made, truth),
        "alpha mae": alpha_error(made, truth).mae,
        "alpha mae in the band": float(np.abs(made - truth)[band].mean()) if band.any() else 0.0,
    }


def colour_figures(colours: Float, truth: Picture) -> dict[str, float]:
    """The foreground's colour error at the truly soft pixels, weighted by true alpha; nothing where
    no pixel is soft. truth: (H, W, 4) uint8."""
    exact = truth.astype(np.float32) / 255.0
    made = np.dstack([colours, exact[..., 3]])
    error = edge_color_error(made, exact)
    return {} if error is None else {"edge colour error": error}


def completion_figures(
    made: Float, truth: Float, hole: NDArray[np.bool_], features: Features
) -> dict[str, float]:
    """Of a background inside `hole`: PSNR, mean absolute difference, and 1 - cosine of the features
    of the hole's box with some of its surroundings. Raises ValueError for an empty hole."""
    if not hole.any():
        raise ValueError("there is no hole to measure in")
    rows, columns = box_around(hole)
    a, b = features.of([made[rows, columns], truth[rows, columns]]).astype(np.float64)
    cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
    return {
        "psnr": psnr(made[hole], truth[hole]),
        "l1": float(np.abs(made[hole] - truth[hole]).mean()),
        "feature distance": 1.0 - cosine,
    }


def box_around(hole: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the hole's box, wider by a quarter on every side where there is room."""
    found: list[slice] = []
    for axis, length in ((1, hole.shape[0]), (0, hole.shape[1])):
        places = np.flatnonzero(hole.any(axis=axis))
        first, last = int(places[0]), int(places[-1]) + 1
        more = round(CONTEXT * (last - first))
        found.append(slice(max(0, first - more), min(length, last + more)))
    return found[0], found[1]
