"""Source pictures brought to their shard form, or refused with a reason."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from multiplane.core.composite import over
from multiplane.core.pixels import to_float
from multiplane.data.records import Asset
from multiplane.data.shards import BrokenSource, Member

FORM = 1  # raise it when the bytes of a sample change for the same source
FOREGROUND_SIZE = 256
BACKGROUND_HEIGHT = 512
MAX_PIXELS = 40_000_000
# What Pillow raises for missing, damaged and lying files.
UNREADABLE = (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError)


def open_picture(path: Path, mode: str) -> Image.Image:
    """The picture decoded in full. Raises BrokenSource when it is missing or damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged just below
            opened = Image.open(path)
        with opened as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BrokenSource(f"too large: {picture.width} x {picture.height} pixels")
            picture.load()
            return picture.convert(mode)
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise BrokenSource(
            f"{type(error).__name__}: {str(error).replace(str(path), path.name)}"
        ) from error


def sample_members(asset: Asset) -> list[Member]:
    """The members of an asset's sample: `json` and its picture."""
    if asset.kind == "background":
        picture = background_bytes(asset.path)
    else:
        picture = cutout_bytes(
            asset.path, keep_size=asset.kind == "gallery", needs_colour=asset.needs_colour
        )
    return [("json", json.dumps(asset.to_json(), ensure_ascii=False).encode()), ("webp", picture)]


def cutout_bytes(path: Path, *, keep_size: bool = False, needs_colour: bool = False) -> bytes:
    """A transparent picture as a 256 x 256 WebP: untouched when it is one, else cropped
    to what is visible, centred, and lossless.

    keep_size: square, but whole and no larger than it came. needs_colour: refuse line art."""
    picture = open_picture(path, "RGBA")
    if factor := max(picture.size) // (4 * FOREGROUND_SIZE):
        picture = picture.convert("RGBa").reduce(factor + 1).convert("RGBA")
    alpha = np.asarray(picture)[..., 3]
    if (alpha > 8).mean() < 0.01:
        raise BrokenSource("nothing visible: under 1 % of the picture is opaque")
    if (alpha > 247).mean() > 0.985:
        raise BrokenSource("no transparency: more than 98.5 % of the picture is opaque")
    if needs_colour and _saturation(np.asarray(picture)) < 0.08:
        raise BrokenSource("line art: hardly any colour")
    if path.suffix == ".webp" and picture.size == (FOREGROUND_SIZE, FOREGROUND_SIZE):
        return path.read_bytes()
    if keep_size:
        return webp(fit_square(picture, max(picture.size)))
    return webp(fit_square(picture.crop(_with_margin(alpha)), FOREGROUND_SIZE))


def _with_margin(alpha: NDArray[np.uint8], share: float = 0.04) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) around what is visible, with a margin; may reach outside."""
    rows, columns = (np.flatnonzero((alpha > 8).any(axis=axis)) for axis in (1, 0))
    margin = round(share * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    return (
        int(columns[0]) - margin,
        int(rows[0]) - margin,
        int(columns[-1]) + 1 + margin,
        int(rows[-1]) + 1 + margin,
    )


def _saturation(pixels: NDArray[np.uint8]) -> float:
    """Mean distance between the strongest and weakest channel where the picture is opaque, 0..1."""
    colour = pixels[..., :3][pixels[..., 3] > 127].astype(np.float32)
    return float((colour.max(-1) - colour.min(-1)).mean() / 255) if len(colour) else 0.0


def background_bytes(path: Path) -> bytes:
    """A photograph at 512 px height at most, as WebP of high quality."""
    picture = open_picture(path, "RGB")
    if picture.height > BACKGROUND_HEIGHT:
        width = round(picture.width * BACKGROUND_HEIGHT / picture.height)
        picture = picture.resize((width, BACKGROUND_HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=95, method=4)
    return buffer.getvalue()


def fit_square(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture centred on a clear square, resized in premultiplied form."""
    scale = size / max(picture.size)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.convert("RGBa").resize(fitted, Image.Resampling.LANCZOS).convert("RGBA")
    square = Image.new("RGBA", (size, size))
    square.paste(small, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return square


def webp(picture: Image.Image) -> bytes:
    """Lossless WebP that keeps the colour under alpha 0."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, exact=True, quality=60, method=3)
    return buffer.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3 or 4) pixels as a lossless PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def disagreement(
    foreground: NDArray[np.uint8], background: NDArray[np.uint8], composite: NDArray[np.uint8]
) -> dict[str, float]:
    """How far over(foreground, background) is from the whole picture, in 8-bit steps. foreground:
    (H, W, 4) straight; the others (H, W, 3)."""
    opaque = np.ones((*background.shape[:2], 4), np.float32)
    opaque[..., :3] = to_float(background)
    shown = over(to_float(foreground), opaque)[..., :3] * 255
    apart = np.abs(shown - composite)
    return {"mean": round(float(apart.mean()), 4), "max": round(float(apart.max()), 2)}
