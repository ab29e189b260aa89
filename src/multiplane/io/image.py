"""Flat pictures: every common still format in, straight sRGB pixels out."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from multiplane.core.document import ColorSpace, Coverage, Pixels
from multiplane.core.pixels import srgb_to_linear, to_dtype, to_float, with_curve
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.icc import parse, space_of, to_srgb
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits

logger = logging.getLogger(__name__)

_ORIENTATION = 0x0112
_PNG_END = b"IEND\xaeB`\x82"
_EIGHT_BIT_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"}
_ADVICE = "convert it to RGB or grey, 8 or 16 bits a channel, first"
FLAT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")


def sniff(data: bytes) -> str | None:
    """The format that the first bytes say: "PNG", "JPEG", ..., "PSD", "ZIP", or None."""
    marks = {
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
        b"BM": "BMP",
        b"GIF8": "GIF",
        b"8BPS": "PSD",
        b"PK\x03\x04": "ZIP",
    }
    for mark, name in marks.items():
        if data.startswith(mark):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return None


def read_pixels(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """A picture as (H, W, 4) uint8 or uint16, straight alpha, sRGB, turned upright.

    PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF. A colour profile is converted to sRGB, palettes and grey
    become RGB, 16 bits a channel stay. Of an animation or many-page file the first picture is
    read, with a BakedWarning. Raises FileFormatError for CMYK, Lab and float pictures, damaged
    files and files past `limits`."""
    path = Path(path)
    budget = Budget(path, limits)
    return decode(path.read_bytes(), budget)


def read_coverage(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Coverage:
    """A mask as (H, W) uint8 or uint16, white means shown: the alpha of a picture that has clear
    pixels, else its brightness (Rec. 601 luma). Raises as `read_pixels`."""
    return coverage_of(read_pixels(path, limits))


def coverage_of(pixels: Pixels) -> Coverage:
    """(H, W) of a picture that is meant as a mask; see `read_coverage`."""
    full = np.iinfo(pixels.dtype).max
    if (pixels[..., 3] != full).any():
        return np.ascontiguousarray(pixels[..., 3])
    if (pixels[..., :1] == pixels[..., 1:3]).all():
        return np.ascontiguousarray(pixels[..., 0])
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    return np.round(luma).astype(pixels.dtype)


def decode(
    data: bytes, budget: Budget, space: ColorSpace = "srgb", what: str = "the picture"
) -> Pixels:
    """`read_pixels` for bytes at hand. space: what the caller wants the pixels in."""
    with decoding(budget.path, f"{what} ({sniff(data) or 'no known picture format'})"):
        image = _open(data, budget, what)
        if sniff(data) == "PNG" and _PNG_END not in data[-4096:]:
            raise bad_file(budget.path, f"{what} is cut short: a PNG without an end")
        pixels = _pixels(image, data, budget.path)
        profile = image.info.get("icc_profile")
        if isinstance(profile, bytes):
            found = space_of(parse(profile))
            if found == "linear" and space == "linear":
                return pixels
            pixels = to_srgb(pixels, profile, budget.path)
        if space == "linear":
            pixels = to_dtype(with_curve(to_float(pixels), srgb_to_linear), pixels.dtype)
        return pixels


def _open(data: bytes, budget: Budget, what: str) -> ImageFile.ImageFile:
    """The opened picture, its declared size checked, nothing decoded yet."""
    name = sniff(data)
    if name in (None, "PSD", "ZIP"):
        raise bad_file(
            budget.path,
            f"{what} is no picture file that is known here",
            "use PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF",
        )
    image = _plugin(name)(io.BytesIO(data), "")
    if image.mode in ("CMYK", "LAB", "HSV", "F"):
        raise bad_file(budget.path, f"{what} is a {image.mode} picture", _ADVICE)
    budget.picture(image.size, 8 if _is_deep(image) else 4, what)
    if getattr(image, "is_animated", False) and name != "JPEG":
        baked(f"{budget.path}: holds several pictures; only the first is read")
    return image


def _plugin(name: str) -> Any:
    """Pillow's opener for one format, without the size check of Image.open: ours comes instead."""
    Image.init()
    return Image.OPEN[name][0]


def _is_deep(image: ImageFile.ImageFile) -> bool:
    return image.mode.startswith("I") or any(";16" in str(tile.args) for tile in image.tile)


def _pixels(image: ImageFile.ImageFile, data: bytes, path: Path) -> Pixels:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise bad_file(path, "holds 32-bit integers", _ADVICE)
        grey = values.astype(np.uint16)[..., None]
        pixels = np.concatenate([grey] * 3 + [np.full_like(grey, 65535)], axis=2)
    elif _is_deep(image):
        pixels = _deep_pixels(image, data, path)
    elif image.mode in _EIGHT_BIT_MODES:
        image.load()
        pixels = np.asarray(image.convert("RGBA"))
    else:
        raise bad_file(path, f"is a picture of mode {image.mode}", _ADVICE)
    return np.ascontiguousarray(_upright(pixels, image.getexif().get(_ORIENTATION, 1)))


def _deep_pixels(image: ImageFile.ImageFile, data: bytes, path: Path) -> Pixels:
    """16 bits a channel from a library that decodes to 8.

    Pillow keeps one byte of each sample and which one is told by the byte order in the raw mode's
    name: decoding twice, the second time with the other order, gives both bytes."""
    low = _plugin(sniff(data) or "")(io.BytesIO(data), "")
    grey_alpha = any("LA;16" in str(tile.args) for tile in image.tile)
    try:
        # Two 16-bit samples fill one RGBA pixel: both bytes at once.
        swap = (lambda mode: "RGBA") if grey_alpha else _other_order
        low.tile = [tile._replace(args=_with_mode(tile.args, swap)) for tile in low.tile]
        lower = np.asarray(low)
    except (ValueError, KeyError):
        baked(f"{path}: its 16 bits a channel are read as 8 (an uncommon layout)")
        return np.asarray(image.convert("RGBA"))
    if grey_alpha:
        pairs = lower.astype(np.uint16)
        values = pairs[..., 0::2] << 8 | pairs[..., 1::2]
        return values[..., [0, 0, 0, 1]]
    values = np.asarray(image).astype(np.uint16) << 8 | lower
    if values.shape[2] == 4:
        return values
    alpha = np.full((*values.shape[:2], 1), 65535, np.uint16)
    key = image.info.get("transparency")  # PNG tRNS: one colour is clear
    if isinstance(key, tuple):
        alpha[(values == np.array(key, np.uint16)).all(axis=2)] = 0
    return np.concatenate([values, alpha], axis=2)


def _with_mode(args: Any, change: Any) -> Any:
    if isinstance(args, str):
        return change(args)
    return (change(args[0]), *args[1:])


def _other_order(mode: str) -> str:
    """A raw mode with the byte order turned round. N is the machine's own."""
    base, _, order = mode.partition(";16")
    if base not in ("RGB", "RGBA") or order not in ("B", "L", "N"):
        raise ValueError(f"no 16-bit reading of raw mode {mode}")
    little = order == "L" or (order == "N" and np.little_endian)
    return base + (";16B" if little else ";16L")


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (TIFF 6.0, tag 274): 2-4 are flips, 5-8 turn a quarter."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
