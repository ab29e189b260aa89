"""Source pictures brought to their shard form, or refused with a reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from multiplane.data.records import Asset
from multiplane.data.shards import BrokenSource, Member

FOREGROUND_SIZE = 256
BACKGROUND_HEIGHT = 512


def open_picture(path: Path, mode: str) -> Image.Image:
    """The picture decoded in full. Raises BrokenSource when it is missing or damaged."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.convert(mode)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError) as error:
        raise BrokenSource(
            f"{type(error).__name__}: {str(error).replace(str(path), path.name)}"
        ) from error


def sample_members(asset: Asset) -> list[Member]:
    """The members of an asset's sample: `json` and its picture."""
    if asset.kind == "background":
        picture = background_bytes(asset.path)
    else:
        picture = cutout_bytes(asset.path, keep_size=asset.kind == "gallery")
    return [("json", json.dumps(asset.to_json(), ensure_ascii=False).encode()), ("webp", picture)]


def cutout_bytes(path: Path, *, keep_size: bool = False) -> bytes:
    """A transparent picture as a 256 x 256 WebP: untouched when it is one, else lossless.

    keep_size: square, but no larger than it came."""
    picture = open_picture(path, "RGBA")
    alpha = np.asarray(picture)[..., 3]
    if (alpha > 8).mean() < 0.01:
        raise BrokenSource("nothing visible: under 1 % of the picture is opaque")
    if (alpha > 247).mean() > 0.985:
        raise BrokenSource("no transparency: more than 98.5 % of the picture is opaque")
    if path.suffix == ".webp" and picture.size == (FOREGROUND_SIZE, FOREGROUND_SIZE):
        return path.read_bytes()
    return webp(fit_square(picture, max(picture.size) if keep_size else FOREGROUND_SIZE))


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
