"""Every conversion of pixel values: depth, premultiplication, transfer curve, size.

Pictures are (H, W, 4), straight alpha, unless a name says otherwise. Depths: uint8, uint16, or
float32 in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.document import ColorSpace, Coverage, Pixels

Float: TypeAlias = NDArray[np.float32]
Curve: TypeAlias = Callable[[Float], Float]
ResizeMethod = Literal["lanczos", "bicubic", "area"]

_FULL_SCALE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}


def full_scale(dtype: np.dtype[Any]) -> int:
    """The stored value that means 1.0: 255, 65535, or 1 for floating dtypes.

    Raises ValueError for any other dtype."""
    if dtype in _FULL_SCALE:
        return _FULL_SCALE[dtype]
    if dtype.kind == "f":
        return 1
    raise ValueError(f"expected uint8, uint16 or float32 pixels, got {dtype}")


def to_float(array: NDArray[Any]) -> Float:
    """float32 of the same shape, 0..1. A float32 array comes back as it is, not copied."""
    scale = full_scale(array.dtype)
    if scale == 1:
        return array.astype(np.float32, copy=False)
    return np.multiply(array, np.float32(1 / scale), dtype=np.float32)


def _packed(pixels: Pixels) -> NDArray[np.uint32]:
    """(h, w, 4) uint8 pixels as (h, w) numbers, red lowest: whole pixels in memory order are
    several times sooner read than every fourth byte."""
    return pixels.view(np.dtype("<u4"))[..., 0]


def read_plane(pixels: Pixels, channel: int, out: Float, curve: Curve | None = None) -> None:
    """Write one channel of (h, w, 4) pixels to `out`, (h, w) float32 0..1, through `curve` if there
    is one: `to_float(pixels)[..., channel]`, sooner."""
    values: NDArray[Any] = pixels[..., channel]
    if pixels.dtype == np.uint8:
        values = (_packed(pixels) >> np.uint32(8 * channel)).astype(np.uint8)
    scale = full_scale(values.dtype)
    if curve is not None:
        out[...] = curve(values) if scale == 1 else curve_table(curve, values.dtype)[values]
        return
    np.copyto(out, values, casting="same_kind")
    if scale != 1:
        out *= np.float32(1 / scale)


def alpha_range(pixels: Pixels) -> tuple[float, float]:
    """(least, greatest) alpha of (h, w, 4) pixels, 0..1, as far as it takes to tell a part that is
    clear or opaque throughout from any other: (0, 0) and (1, 1) are exact, the rest is a bound."""
    scale = full_scale(pixels.dtype)
    first = float(pixels[0, 0, 3]) / scale
    if 0.0 < first < 1.0:
        return first, first
    if pixels.dtype == np.uint8:
        packed = _packed(pixels)
        if first == 0.0:
            return 0.0, float(packed.max() >> np.uint32(24)) / scale
        return float(packed.min() >> np.uint32(24)) / scale, 1.0
    alpha = pixels[..., 3]
    return float(alpha.min()) / scale, float(alpha.max()) / scale


def to_u8(array: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 of the same shape, rounded to nearest; floats are clipped to 0..1 first.

    A uint8 array comes back as it is, not copied."""
    return _to_integer(array, np.dtype(np.uint8))


def to_u16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """uint16 of the same shape, rounded to nearest; floats are clipped to 0..1 first.

    A uint16 array comes back as it is, not copied."""
    return _to_integer(array, np.dtype(np.uint16))


def to_dtype(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same picture as uint8, uint16 or float32."""
    if full_scale(np.dtype(dtype)) == 1:
        return to_float(array)
    return _to_integer(array, np.dtype(dtype))


def _to_integer(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if array.dtype == dtype:
        return array
    scale = full_scale(dtype)
    scaled = np.multiply(to_float(array), np.float32(scale))
    scaled += np.float32(0.5)
    np.clip(scaled, 0, scale, out=scaled)  # also catches scale + 0.5
    return scaled.astype(dtype)


def premultiply(pixels: Float) -> Float:
    """(H, W, 4) float32 straight -> premultiplied."""
    _need_float(pixels)
    premul = pixels * pixels[..., 3:]
    premul[..., 3] = pixels[..., 3]
    return premul


def unpremultiply(premul_pixels: Float) -> Float:
    """(H, W, 4) float32 premultiplied -> straight; colour is 0 where alpha is 0."""
    _need_float(premul_pixels)
    alpha = premul_pixels[..., 3:]
    straight = np.divide(premul_pixels, alpha, out=np.zeros_like(premul_pixels), where=alpha > 0.0)
    straight[..., 3] = premul_pixels[..., 3]
    return straight


def _need_float(pixels: NDArray[Any]) -> None:
    if pixels.dtype.kind != "f":
        raise ValueError(f"premultiplied pixels are float only, got {pixels.dtype}: call to_float")


def srgb_to_linear(values: Float) -> Float:
    """Encoded 0..1 -> linear light 0..1, any shape; never hand it alpha (IEC 61966-2-1)."""
    curve = np.power((np.maximum(values, 0.04045) + 0.055) / 1.055, 2.4)
    return np.where(values <= 0.04045, values / 12.92, curve).astype(np.float32, copy=False)


def linear_to_srgb(values: Float) -> Float:
    """Linear light 0..1 -> encoded 0..1, any shape; never hand it alpha (IEC 61966-2-1)."""
    curve = 1.055 * np.power(np.maximum(values, 0.0031308), 1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, values * 12.92, curve).astype(np.float32, copy=False)


def curve_between(source: ColorSpace, target: ColorSpace) -> Curve | None:
    """The function that takes colour values from one space to another, or None for the same."""
    if source == target:
        return None
    return srgb_to_linear if target == "linear" else linear_to_srgb


@cache
def curve_table(curve: Curve, dtype: np.dtype[Any]) -> Float:
    """`curve` of every stored value of an integer dtype, to be indexed by the value."""
    return curve(to_float(np.arange(full_scale(dtype) + 1, dtype=dtype)))


def with_curve(pixels: Float, curve: Curve) -> Float:
    """A copy of (H, W, 4) float32 pixels with `curve` applied to the colour, not to the alpha."""
    return np.concatenate([curve(pixels[..., :3]), pixels[..., 3:]], axis=2)


def resize(
    pixels: Pixels | Coverage, size: tuple[int, int], method: ResizeMethod = "lanczos"
) -> NDArray[Any]:
    """(H, W, 4) pixels or (H, W) coverage at `size` = (width, height), in the dtype they came in.

    Colour is weighted by its alpha, so nothing bleeds in from under clear pixels; colour under a
    resulting alpha of 0 becomes 0. method: "lanczos" (sharp, for any factor), "bicubic" (a little
    softer) or "area" (the plain mean of the covered pixels, exact for whole factors, no ringing).
    The size they have already returns them unchanged.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"cannot resize to {width} x {height}: both must be at least 1")
    if method not in _FILTERS:
        raise ValueError(f"unknown resize method {method!r}: use one of {', '.join(_FILTERS)}")
    if pixels.shape[:2] == (height, width):
        return pixels
    values = to_float(pixels)
    if values.ndim == 2:
        resized = _resize_plane(values, size, method)
    else:
        premul = premultiply(values)
        planes = [_resize_plane(premul[..., c], size, method) for c in range(4)]
        resized = unpremultiply(np.stack(planes, axis=2))
    return to_dtype(np.clip(resized, 0.0, 1.0), pixels.dtype)


def resize_channels(
    values: NDArray[np.floating], size: tuple[int, int], method: ResizeMethod = "bicubic"
) -> Float:
    """(H, W) or (H, W, C) values in 0..1 as float32 at `size` = (width, height), each channel by
    itself: for what has no alpha. Overshoot is clipped."""
    planes = values[..., None] if values.ndim == 2 else values
    channels = [
        _resize_plane(planes[..., channel].astype(np.float32, copy=False), size, method)
        for channel in range(planes.shape[2])
    ]
    stacked = np.clip(np.stack(channels, axis=-1), 0.0, 1.0)
    return stacked[..., 0] if values.ndim == 2 else stacked


def _resize_plane(plane: Float, size: tuple[int, int], method: ResizeMethod) -> Float:
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize(size, _FILTERS[method]), dtype=np.float32)


def checkerboard(
    size: tuple[int, int], square: int = 16, light: float = 1.0, dark: float = 0.8
) -> Float:
    """(H, W, 4) float32 opaque grey squares, to show transparency on. size: (width, height)."""
    if square < 1:
        raise ValueError(f"a square of the checkerboard needs at least 1 pixel, got {square}")
    rows, columns = np.ogrid[: size[1], : size[0]]
    is_dark = ((rows // square) + (columns // square)) % 2 == 1
    board = np.ones((size[1], size[0], 4), dtype=np.float32)
    board[..., :3] = np.where(is_dark, np.float32(dark), np.float32(light))[..., None]
    return board
