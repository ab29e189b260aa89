"""Whatever a caller calls a picture or a clip, as pixels or as coverage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.clip import LayerClip
from multiplane.core.document import Coverage, Layer, LayerDocument, Pixels
from multiplane.core.pixels import full_scale, to_u16
from multiplane.core.request import RequestError

Picture: TypeAlias = "Path | Image.Image | NDArray[Any] | Layer | LayerDocument"
Moving: TypeAlias = "Picture | LayerClip"  # a path may be that of a clip file, an array of frames

MAX_FRAMES_BYTES = 4 << 30


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


def frames_of(picture: Moving) -> tuple[Pixels, Fraction | None]:
    """Pixels of `picture`, and the rate they play at where it has one: (T, H, W, 4) of a clip, a
    clip file or an array (T, H, W, 3 or 4); else (H, W, 4) and None, as `pixels_of`.

    A clip is held whole: a request is for as many frames as a model makes at once. Raises
    RequestError for one of more than 4 GiB, and as `pixels_of` does."""
    if isinstance(picture, Path):
        from multiplane.io.clips import is_clip, read_clip

        if is_clip(picture):
            picture = read_clip(picture)
    if isinstance(picture, LayerClip):
        return _shown(picture), picture.fps
    if isinstance(picture, np.ndarray) and picture.ndim == 4:
        if picture.shape[0] == 0:
            raise RequestError(f"a clip needs at least one frame, got an array of {picture.shape}")
        return np.stack([_pixels_of_array(frame) for frame in picture]), None
    return pixels_of(picture), None


def _shown(clip: LayerClip) -> Pixels:
    """(T, H, W, 4) of what a clip shows, in the depth of its pixels where it is a single layer."""
    width, height = clip.size
    shown: list[Pixels] = []
    for document in clip:
        shown.append(_stored(document))
        if len(shown) * width * height * shown[0].itemsize * 4 > MAX_FRAMES_BYTES:
            raise RequestError(
                f"the clip is {width} x {height} and unfolds to more than "
                f"{MAX_FRAMES_BYTES >> 30} GiB: cut or shrink it first"
            )
    return np.stack(shown)


def _stored(document: LayerDocument) -> Pixels:
    """A document's picture: the very pixels of a plain single layer, else what it shows."""
    from multiplane.core.composite import composite_u8
    from multiplane.io.png import plain_layer

    layer = plain_layer(document)
    return composite_u8(document) if layer is None or document.space != "srgb" else layer.pixels


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


def coverage_of(picture: Moving) -> Coverage:
    """(H, W) coverage: a 2-D array itself, the alpha of a see-through picture, else its
    brightness (white is full). (T, H, W) of what `frames_of` reads as frames."""
    if isinstance(picture, np.ndarray) and picture.ndim == 2:
        return _stored_values(picture)
    pixels, _ = frames_of(picture)
    if pixels.ndim == 4:
        return np.stack([_coverage(frame) for frame in pixels])
    return _coverage(pixels)


def _coverage(pixels: Pixels) -> Coverage:
    from multiplane.io.image import coverage_of as coverage_of_pixels

    return coverage_of_pixels(to_u16(pixels) if pixels.dtype.kind == "f" else pixels)


def keep_of_mask(mask: Moving) -> Coverage:
    """`Plane.keep` of a painter's mask, where white is painted anew and black is kept."""
    repaint = coverage_of(mask)
    return (full_scale(repaint.dtype) - repaint).astype(repaint.dtype)
