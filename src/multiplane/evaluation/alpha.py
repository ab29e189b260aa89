"""Measures of a matte against another one: overlap, error, softness, colour at the edge.

Every coverage is (H, W) float 0..1; every picture (H, W, 4) float straight alpha 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Coverage below OUTSIDE is clear canvas, above INSIDE the solid object; between them it is soft.
OUTSIDE = 0.04
INSIDE = 0.96
HISTOGRAM_BINS = 12

# The nine solid backgrounds of the RGBA reconstruction protocol that AlphaVAE's evaluation uses.
SOLID_BACKGROUNDS = (
    (0.5, 0.5, 0.5),
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 1.0),
    (1.0, 1.0, 0.0),
    (0.0, 1.0, 1.0),
    (1.0, 0.0, 1.0),
)


def _check_pair(made: Array, truth: Array) -> None:
    if made.shape != truth.shape:
        raise ValueError(f"the two differ in shape: {made.shape} and {truth.shape}")


def mask_iou(made: Array, truth: Array, threshold: float = 0.5) -> float:
    """Intersection over union of the two mattes cut at `threshold`; 0 where both are empty, as in
    the LayerD protocol (an empty layer is a failure, never a match)."""
    _check_pair(made, truth)
    a, b = made >= threshold, truth >= threshold
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def soft_iou(made: Array, truth: Array) -> float:
    """sum min(a, b) / sum max(a, b) (LayerD protocol); 0 where both are empty."""
    _check_pair(made, truth)
    union = float(np.maximum(made, truth).sum(dtype=np.float64))
    return float(np.minimum(made, truth).sum(dtype=np.float64) / union) if union > 0 else 0.0


@dataclass(frozen=True)
class AlphaError:
    """mae, mse: means over the canvas. sad: sum of absolute differences in thousands of pixels,
    as matting papers print it (it grows with the canvas)."""

    mae: float
    mse: float
    sad: float


def alpha_error(made: Array, truth: Array) -> AlphaError:
    _check_pair(made, truth)
    difference = made.astype(np.float64) - truth.astype(np.float64)
    absolute = np.abs(difference)
    return AlphaError(
        mae=float(absolute.mean()),
        mse=float(np.square(difference).mean()),
        sad=float(absolute.sum() / 1000.0),
    )


def soft_share(alpha: Array) -> float:
    """The share of soft pixels among those that are covered at all; 0 for an empty matte."""
    covered = np.count_nonzero(alpha > OUTSIDE)
    soft = np.count_nonzero((alpha > OUTSIDE) & (alpha < INSIDE))
    return soft / covered if covered else 0.0


def alpha_histogram(mattes: Sequence[Array], bins: int = HISTOGRAM_BINS) -> NDArray[np.float64]:
    """(bins + 1,) mean over the mattes of the distribution of covered pixels over `bins` equal
    steps of soft alpha, and one last place for solid pixels. Empty mattes are left out; sums to 1.
    """
    edges = np.linspace(OUTSIDE, INSIDE, bins + 1)
    rows: list[NDArray[np.float64]] = []
    for alpha in mattes:
        covered = alpha[alpha > OUTSIDE].astype(np.float64)
        if covered.size == 0:
            continue
        soft, _ = np.histogram(covered[covered < INSIDE], bins=edges)
        solid = covered.size - soft.sum()
        rows.append(np.append(soft, solid) / covered.size)
    if not rows:
        raise ValueError("every matte is empty: there is no alpha to draw a histogram of")
    return np.mean(rows, axis=0)


def histogram_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Earth mover's distance of two such histograms, in units of alpha: 0 where they are equal, at
    most 1. On a line it is the area between the two cumulative distributions."""
    if a.shape != b.shape:
        raise ValueError(f"the histograms have {a.size} and {b.size} places")
    steps = np.cumsum(a - b)[:-1]
    return float(np.abs(steps).mean())


def over_solid(picture: Array, color: Sequence[float]) -> Array:
    """(H, W, 3): a straight-alpha picture laid over one solid colour."""
    alpha = picture[..., 3:4]
    return picture[..., :3] * alpha + np.asarray(color, dtype=picture.dtype) * (1.0 - alpha)


def solid_background_psnr(made: Array, truth: Array) -> float:
    """Mean PSNR in dB over nine solid backgrounds (float pictures, no JPEG between, so the figures
    lie above those printed after JPEG)."""
    _check_pair(made, truth)
    return float(
        np.mean(
            [psnr(over_solid(made, color), over_solid(truth, color)) for color in SOLID_BACKGROUNDS]
        )
    )


def psnr(a: Array, b: Array) -> float:
    """Peak signal to noise ratio in dB for values 0..1; 100 dB stands for equal pictures."""
    _check_pair(a, b)
    error = float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())
    return 100.0 if error <= 1e-10 else float(-10.0 * np.log10(error))


def edge_color_error(made: Array, truth: Array) -> float | None:
    """Mean absolute difference of the straight colours where the true matte is soft, weighted by
    the true alpha; what a halo would show. None where the true matte has no soft pixel."""
    _check_pair(made, truth)
    alpha = truth[..., 3].astype(np.float64)
    weight = np.where((alpha > OUTSIDE) & (alpha < INSIDE), alpha, 0.0)
    total = weight.sum()
    if total == 0.0:
        return None
    difference = np.abs(made[..., :3].astype(np.float64) - truth[..., :3]).mean(axis=-1)
    return float((difference * weight).sum() / total)
