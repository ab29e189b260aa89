"""Pictures with a known object in front of a known background, and a matte that finds red."""

from __future__ import annotations

import numpy as np

from multiplane.core.pixels import Float


def ball_on_lawn(
    size: tuple[int, int] = (144, 96),
    centres: tuple[tuple[int, int], ...] = ((80, 50),),
    radius: float = 24.0,
    softness: float = 6.0,
) -> tuple[Float, Float, Float, Float]:
    """(picture (H, W, 3), alpha (H, W), foreground, background (H, W, 3)), 0..1.

    Red balls with an edge `softness` pixels wide over a green ramp. size: (width, height)."""
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    background = np.empty((size[1], size[0], 3), np.float32)
    background[..., 0] = 0.15 + 0.1 * columns / size[0]
    background[..., 1] = 0.5 + 0.2 * rows / size[1]
    background[..., 2] = 0.2
    foreground = np.empty_like(background)
    foreground[..., 0] = 0.95 - 0.15 * rows / size[1]
    foreground[..., 1:] = 0.12
    away = np.min([np.hypot(columns - x, rows - y) for x, y in centres], axis=0)
    alpha = np.clip((radius - away) / softness + 0.5, 0.0, 1.0).astype(np.float32)
    share = alpha[..., None]
    picture = share * foreground + (1.0 - share) * background
    return picture.astype(np.float32), alpha, foreground, background


def red_matte(picture: Float) -> Float:
    """(H, W): how much redder than green a picture is; what a salient network stands for."""
    return np.clip((picture[..., 0] - picture[..., 1]) * 1.6 + 0.3, 0.0, 1.0).astype(np.float32)
