"""Made planes against a scene's exact truth, where the row leaves only one right answer."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float
from multiplane.core.request import Task
from multiplane.evaluation.alpha import (
    alpha_error,
    edge_color_error,
    mask_iou,
    psnr,
    soft_iou,
    solid_background_psnr,
)

# A composite (with or without one more plane) tells what the other planes are. Rows that make
# planes from prompts have no single truth.
FOREGROUND_KNOWN = frozenset(
    map(Task.of, ("composite -> foreground background", "background composite -> foreground"))
)
BACKGROUND_KNOWN = frozenset(
    map(Task.of, ("composite -> foreground background", "foreground composite -> background"))
)


def foreground_errors(made: NDArray[np.generic], truth: NDArray[np.generic]) -> dict[str, float]:
    """made, truth: (H, W, 4) straight alpha of any depth."""
    a, b = to_float(made), to_float(truth)
    errors = {
        "mask iou": mask_iou(a[..., 3], b[..., 3]),
        "soft iou": soft_iou(a[..., 3], b[..., 3]),
        **{f"alpha {name}": value for name, value in asdict(_alpha(a, b)).items()},
        "psnr on solid backgrounds": solid_background_psnr(a, b),
    }
    edge = edge_color_error(a, b)
    return errors if edge is None else {**errors, "edge colour error": edge}


def _alpha(a: NDArray[np.float32], b: NDArray[np.float32]):
    return alpha_error(a[..., 3], b[..., 3])


def background_errors(
    made: NDArray[np.generic], truth: NDArray[np.generic], hidden: NDArray[np.generic]
) -> dict[str, float]:
    """PSNR of the whole background, and of the part that the foreground hides. hidden: (H, W) alpha
    of the true foreground, any depth."""
    a, b = to_float(made)[..., :3], to_float(truth)[..., :3]
    behind = to_float(hidden) > 0.5
    errors = {"psnr": psnr(a, b)}
    if behind.any():
        errors["psnr behind the foreground"] = psnr(a[behind], b[behind])
    if (~behind).any():
        errors["psnr beside the foreground"] = psnr(a[~behind], b[~behind])
    return errors
