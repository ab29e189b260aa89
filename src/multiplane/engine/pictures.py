"""Whatever a caller calls a picture, as pixels or as coverage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.document import Coverage, Layer, LayerDocument, Pixels
from multiplane.core.pixels import full_scale, to_u16
from multiplane.core.request import RequestError

Picture: TypeAlias = "Path | Image.Image | NDArray[Any] | Layer | LayerDocument"


def pixels_of(picture: Picture) -> Pixels:
    """(H, W, 4) pixels of `picture`: a file, Pillow image, array, layer, or a document flattened.

    Raises RequestError for arrays of other shapes, dtypes or ranges, and what reading raises."""
    if isinstance(picture, Path):
        return _read(picture)
    if isinstance(picture, Layer):
        return picture.pixels
    if isinstance(picture, LayerDocument):
        from multiplane.core.composite import composite_u8

        return composite_u8(picture)
    if isinstance(picture, Image.Image):
        if picture.mode.startswith(("I", "F")):
            raise RequestError(
                f"a Pillow image of mode {picture.mode!r} has no set range: pass an array of "
                "uint8, uint16 or floats in 0..1 instead"
            )
        return np.asarray(picture.convert("RGBA"))
    if isinstance(picture, np.ndarray):
        return _pixels_of_array(picture)
    raise RequestError(
        f"a picture must be a pathlib.Path, a Pillow image, an array, a Layer or a LayerDocument, "
        f"got {picture!r:.80}"
    )


def _read(path: Path) -> Pixels:
    from multiplane.core.composite import composite_u8
    from multiplane.io.image import read_pixels
    from multiplane.io.registry import format_of, read

    layered = format_of(path)
    if layered is None or layered.name == "png":
        return read_pixels(path)
    return composite_u8(read(path))


def _pixels_of_array(array: NDArray[Any]) -> Pixels:
    values = _stored_values(array)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (3, 4) or 0 in values.shape:
        raise RequestError(
            f"a picture must be an array of shape (H, W, 4), (H, W, 3) or (H, W), got {array.shape}"
        )
    if values.shape[2] == 4:
        return values
    alpha = np.full((*values.shape[:2], 1), full_scale(values.dtype), values.dtype)
    return np.concatenate([values, alpha], axis=2)


def _stored_values(array: NDArray[Any]) -> NDArray[Any]:
    """`array` as uint8, uint16 or float32 in 0..1."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind != "f":
        raise RequestError(
            f"a picture must hold uint8, uint16, bool or floats in 0..1, got {array.dtype}"
        )
    low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
    if not (low >= 0.0 and high <= 1.0):
        raise RequestError(
            f"a picture of floats must lie in 0..1, got {low:.3g}..{high:.3g}: scale it first"
        )
    return array.astype(np.float32, copy=False)


def coverage_of(picture: Picture) -> Coverage:
    """(H, W) coverage: a 2-D array itself, the alpha of a see-through picture, else its
    brightness (white is full)."""
    if isinstance(picture, np.ndarray) and picture.ndim == 2:
        return _stored_values(picture)
    from multiplane.io.image import coverage_of as coverage_of_pixels

    pixels = pixels_of(picture)
    return coverage_of_pixels(to_u16(pixels) if pixels.dtype.kind == "f" else pixels)


def keep_of_mask(mask: Picture) -> Coverage:
    """`Plane.keep` of a painter's mask, where white is painted anew and black is kept."""
    repaint = coverage_of(mask)
    return (full_scale(repaint.dtype) - repaint).astype(repaint.dtype)
