"""Clips in and out of files: `read_clip(path)` and `write_clip(clip, path)`, by suffix.

Frames are read and written one at a time, so a clip of any length takes the memory of a few. A
folder holds every layer as a moving picture of its own; every other format holds one, so a clip of
several layers is composited into it, with a BakedWarning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from multiplane.core.clip import LayerClip, Rate, rate_of
from multiplane.core.document import LayerDocument, Pixels
from multiplane.core.family import Progress
from multiplane.io import png, png_sequence, video
from multiplane.io.clip_folder import INDEX, read_folder, write_folder
from multiplane.io.clip_folder import is_clip_folder as is_clip_folder
from multiplane.io.clip_formats import (
    CLIP_SUFFIXES,
    ClipFormat,
    format_to_write,
    module_of,
    stream_format,
)
from multiplane.io.errors import bad_file, baked
from multiplane.io.limits import DEFAULT_LIMITS, Limits
from multiplane.io.moving import (
    MovingPicture,
    Plan,
    document_of,
    in_depth,
    need_depth,
    provenance_of,
)


def is_clip(path: str | Path) -> bool:
    """Whether `read_clip` is the one to read `path`: a video, an animated PNG or WebP, a PNG
    sequence (a pattern, or a folder of numbered PNGs), or a layers folder of clips.

    Names alone decide for video files; other files are looked into, and those that are not there
    are no clips."""
    path = Path(path)
    return is_clip_folder(path) or stream_format(path) is not None


def read_clip(
    path: str | Path, limits: Limits = DEFAULT_LIMITS, fps: Rate | None = None
) -> LayerClip:
    """The clip in a file or folder; its frames are decoded as they are asked for.

    A file of one moving picture is a clip of one layer, opaque where the file holds no alpha. fps:
    play at this rate, whatever the file says. Raises FileNotFoundError; FileFormatError for a
    damaged, oversized or unknown file, at once or when the damage is reached; ImportError with the
    install command where PyAV is missing. Warns with BakedWarning of what has no place in a clip.
    """
    return opened_clip(Path(path), limits, fps)[1]


def opened_clip(
    path: Path, limits: Limits = DEFAULT_LIMITS, fps: Rate | None = None
) -> tuple[str, LayerClip]:
    """`read_clip` with the codec of the file; of a layers folder that of its layers."""
    if is_clip_folder(path):
        codec, clip = read_folder(path, limits)
    else:
        picture = _picture(path, limits, fps)
        codec, clip = picture.codec, clip_of(picture, path)
    return codec, clip if fps is None else replace(clip, fps=rate_of(fps))


def clip_format_name(path: Path) -> str:
    """What kind of file a clip is in: "layers", "png" for a sequence, else its suffix."""
    if is_clip_folder(path):
        return "layers"
    return "png" if stream_format(path) == "png" else path.suffix.lower().lstrip(".")


def _picture(path: Path, limits: Limits, fps: Rate | None) -> MovingPicture:
    name = stream_format(path)
    if name == "png":
        return png_sequence.read(path, limits, fps)
    if name == "video":
        return video.read(path, limits)
    if name is not None:
        return module_of(name)[0](path, limits)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        raise bad_file(
            path,
            f"holds neither a {INDEX} of a clip nor numbered PNGs",
            "name a folder that multiplane wrote, or a sequence such as frames/%04d.png",
        )
    raise bad_file(path, "is no clip", f"use {', '.join(CLIP_SUFFIXES)}, or a folder")


def clip_of(picture: MovingPicture, path: Path) -> LayerClip:
    """A moving picture as a clip of one layer."""
    name = str(picture.facts.get("layer", {}).get("name") or path.stem)
    return LayerClip(
        size=picture.size,
        fps=picture.fps,
        names=(name,),
        open=lambda start: (document_of(picture, each, name) for each in picture.open(start)),
        frames=picture.frames,
        provenance=provenance_of(picture),
    )


def write_clip(
    clip: LayerClip,
    path: str | Path,
    *,
    codec: str | None = None,
    crf: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write `clip` in the format of the suffix, whole or not at all.

    A name without a suffix is a layers folder, whose layers are in `codec`: "ffv1" (the default,
    exact), "png", "prores", "vp9", "apng" or "webp". crf: quality of VP9 and H.264, smaller is
    better. Raises FileFormatError for an unknown suffix, CapabilityError for what the format
    refuses. Warns with BakedWarning of what it cannot hold."""
    table = format_to_write(path)
    if table.layers:
        write_folder(clip, Path(path), codec or "ffv1", crf, progress)
        return
    if codec not in (None, table.name):
        raise ValueError(
            f"{path} is written as {table.name}, not as {codec}: codec is for layers folders"
        )
    _, writing = module_of(table.name)
    frames = iter(clip)
    first = next(frames)
    plan = _plan(clip, first, table, crf)
    _warn(clip, first, plan, table, Path(path))
    with writing(Path(path), plan) as sink:
        depth = _flat(first).dtype
        for number, document in enumerate(_again(first, frames)):
            pixels = _flat(document)
            need_depth(pixels, depth, "the clip", number)
            sink(in_depth(pixels, plan.dtype))
            if progress is not None:
                progress(number + 1, clip.frames or number + 1, None)


def _again(first: LayerDocument, rest: Iterator[LayerDocument]) -> Iterator[LayerDocument]:
    yield first
    yield from rest


def _flat(document: LayerDocument) -> Pixels:
    """What a frame shows, or the very pixels of a plain single layer."""
    layer = png.plain_layer(document)
    return layer.pixels if layer is not None and document.space == "srgb" else png.flat(document)


def _plan(clip: LayerClip, first: LayerDocument, table: ClipFormat, crf: int | None) -> Plan:
    layer = png.plain_layer(first)
    is_deep = _flat(first).dtype != np.uint8
    return Plan(
        size=clip.size,
        fps=clip.fps,
        dtype=np.dtype(np.uint16 if is_deep and table.deep else np.uint8),
        frames=clip.frames,
        name="" if layer is None else layer.name,
        role=None if layer is None else layer.role,
        provenance=clip.provenance,
        crf=crf,
    )


def _warn(clip: LayerClip, first: LayerDocument, plan: Plan, table: ClipFormat, path: Path) -> None:
    told: list[str] = []
    if len(clip.names) != 1:
        told.append(
            f"the layers {', '.join(map(repr, clip.names))}, now merged into one moving picture (a "
            "folder keeps them)"
        )
    depth = _flat(first).dtype
    if depth == np.float32:
        told.append(f"float32 pixels, now rounded to {8 * plan.dtype.itemsize} bits")
    elif depth != plan.dtype:
        told.append("16 bits a channel, now rounded to 8 bits")
    if told:
        baked(f"{path}: {table.title} does not hold " + "; ".join(told))
