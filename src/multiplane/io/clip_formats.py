"""The formats of clips: what each is called and holds, and which module reads and writes it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from multiplane.io import apng, png_sequence, webp
from multiplane.io.errors import bad_file
from multiplane.io.moving import Reading, Writing

Colour = Literal["exact", "lossy", "visible"]  # "visible": exact wherever alpha is above 0


@dataclass(frozen=True)
class ClipFormat:
    """suffix: "" for folders and sequences. deep: 16 bits a channel are kept as such. layers: holds
    several. alpha: holds it. module: in `multiplane.io`, with `writing`."""

    name: str
    title: str
    suffix: str
    module: str
    colour: Colour
    deep: bool = False
    layers: bool = False
    alpha: bool = True


LAYERS = ClipFormat(
    "layers", "folder of one moving picture a layer", "", "clip_folder", "exact", True, True
)
CLIP_FORMATS = {
    each.name: each
    for each in (
        LAYERS,
        ClipFormat("png", "PNG sequence", "", "png_sequence", "exact", deep=True),
        ClipFormat("ffv1", "FFV1 in Matroska", ".mkv", "ffv1", "exact", deep=True),
        ClipFormat("prores", "ProRes 4444 in QuickTime", ".mov", "prores", "lossy", deep=True),
        ClipFormat("vp9", "VP9 with alpha in WebM", ".webm", "vp9", "lossy"),
        ClipFormat("apng", "animated PNG", ".apng", "apng", "exact", deep=True),
        ClipFormat("webp", "animated WebP", ".webp", "webp", "visible"),
        ClipFormat("h264", "H.264 in MP4, flat", ".mp4", "h264", "lossy", alpha=False),
    )
}
_BY_SUFFIX = {each.suffix: each for each in CLIP_FORMATS.values() if each.suffix}
VIDEO_SUFFIXES = (".mov", ".mkv", ".webm", ".mp4", ".m4v", ".avi")
CLIP_SUFFIXES = (*VIDEO_SUFFIXES, ".apng", ".webp")


def format_to_write(path: str | Path) -> ClipFormat:
    """The format that writing a clip to `path` takes. Raises FileFormatError for another suffix.

    A pattern such as frames/%04d.png is a PNG sequence, a name without a suffix a layers folder."""
    if png_sequence.Pattern.of(Path(path)) is not None:
        return CLIP_FORMATS["png"]
    suffix = Path(path).suffix.lower()
    if str(path).endswith(("/", "\\")) or not suffix or Path(path).is_dir():
        return LAYERS
    if suffix == ".png":
        raise bad_file(path, "is a still", "name a clip .apng, or a sequence frames/%04d.png")
    if suffix not in _BY_SUFFIX:
        raise bad_file(path, f"{suffix} is no format that clips are written in", writable())
    return _BY_SUFFIX[suffix]


def writable() -> str:
    """What a clip can be written as, in words."""
    named = ", ".join(_BY_SUFFIX)
    return f"use {named}, a sequence (frames/%04d.png) or a folder (a name without a suffix)"


def module_of(name: str) -> tuple[Reading, Writing]:
    """(read, writing) of a format of one stream, by its name."""
    module = importlib.import_module(f"multiplane.io.{CLIP_FORMATS[name].module}")
    if not hasattr(module, "read"):
        from multiplane.io import video

        return video.read, cast("Writing", module.writing)
    return cast("Reading", module.read), cast("Writing", module.writing)


def stream_format(path: Path) -> str | None:
    """How the one moving picture at `path` is read: the name of a format, "video" for any file of
    a video; None for what is no clip."""
    suffix = path.suffix.lower()
    if png_sequence.is_sequence(path):
        return "png"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in (".apng", ".png") and apng.is_animated(path):
        return "apng"
    if suffix == ".apng":
        return "apng"
    if suffix == ".webp" and webp.is_animated(path):
        return "webp"
    return None
