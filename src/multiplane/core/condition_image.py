"""A given layer as the picture that a conditional LayerDiffuse model is shown.

A transparent layer is laid over mid grey: in the range [-1, 1] of the models that is the colour
times alpha. Then it is brought to the size of the generated picture, the way the published code
does it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, to_float
from multiplane.core.resample import area, lanczos

Fit = Literal["resize", "crop", "fill"]
FITS: tuple[Fit, ...] = ("resize", "crop", "fill")


def over_grey(pixels: Pixels) -> Float:
    """(H, W, 4) straight pixels over mid grey -> (H, W, 3) float32 in 0..1; (H, W, 3) as it is.
    Raises ValueError for another shape or dtype."""
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"a condition picture is (H, W, 3) or (H, W, 4), got {pixels.shape}")
    values = to_float(pixels)
    half = np.float32(0.5)
    return values if values.shape[2] == 3 else half + (values[..., :3] - half) * values[..., 3:]


def condition_image(pixels: Pixels, height: int, width: int, fit: Fit = "crop") -> Float:
    """A layer (H, W, 3 or 4) -> (height, width, 3) float32, about 0..1, not clipped.

    fit: "resize" stretches; "crop" scales until both sides are covered and cuts the middle out;
    "fill" scales until it lies inside, in the middle of the median colour of its border. Averages
    when the picture gets smaller by area, else interpolates (Lanczos). Raises ValueError."""
    if fit not in FITS:
        raise ValueError(f"a condition picture is fitted by {', '.join(FITS)}, got {fit!r}")
    if min(height, width) < 1:
        raise ValueError(f"a picture has at least one pixel a side, got {width} x {height}")
    picture = over_grey(pixels)
    old_height, old_width = picture.shape[:2]
    scales = height / old_height, width / old_width
    if fit == "resize":
        return _resized(picture, height, width)
    scale = max(scales) if fit == "crop" else min(scales)
    new_height, new_width = (max(1, round(old * scale)) for old in (old_height, old_width))
    scaled = _resized(picture, new_height, new_width)
    top, left = abs(new_height - height) // 2, abs(new_width - width) // 2
    if fit == "crop":
        return scaled[top : top + height, left : left + width]
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    filled = np.empty((height, width, 3), np.float32)
    filled[:] = np.median(np.concatenate(edges), axis=0)
    filled[top : top + new_height, left : left + new_width] = scaled
    return filled


def _resized(picture: Float, height: int, width: int) -> Float:
    if picture.shape[:2] == (height, width):
        return picture
    if height * width < picture.shape[0] * picture.shape[1]:
        return area(picture, height, width)
    return lanczos(lanczos(picture, width, 1), height, 0)
