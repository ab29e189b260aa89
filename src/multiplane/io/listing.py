"""What is in a file, as plain values: for `multiplane inspect`, tests and people's scripts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import Group, Layer, LayerDocument, Mask
from multiplane.core.pixels import full_scale
from multiplane.io.clips import clip_format_name, is_clip, opened_clip
from multiplane.io.errors import BakedWarning
from multiplane.io.limits import DEFAULT_LIMITS, Limits
from multiplane.io.metadata import provenance_to_json
from multiplane.io.png_sequence import Pattern
from multiplane.io.registry import format_of, read


def describe(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """A file's format, size, layers (bottom to top) and provenance, ready for JSON.

    Of a clip the layers are those of its first frame; beside them stand codec, fps, frames and
    seconds. `notes` holds what reading had to bake or leave out. Raises as `multiplane.io.read`,
    `multiplane.io.read_clip` for a clip."""
    path = Path(path)
    if is_clip(path):
        return _describe_clip(path, limits)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BakedWarning)
        document = read(path, limits)
    table = format_of(path)
    return {
        "file": str(path),
        "format": path.suffix.lower().lstrip(".") if table is None else table.name,
        "bytes": _bytes(path),
        **describe_document(document),
        "notes": [str(w.message) for w in caught if issubclass(w.category, BakedWarning)],
    }


def _describe_clip(path: Path, limits: Limits) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BakedWarning)
        codec, clip = opened_clip(path, limits)
        first = clip[0]
    return {
        "file": str(path),
        "format": clip_format_name(path),
        "codec": codec,
        "bytes": _bytes(path),
        **describe_clip(clip, first),
        "notes": [str(w.message) for w in caught if issubclass(w.category, BakedWarning)],
    }


def describe_clip(clip: LayerClip, first: LayerDocument) -> dict[str, Any]:
    """Size, rate, length, and the layers of the first frame of a clip. frames, seconds: None where
    the file does not say."""
    return {
        "size": list(clip.size),
        "fps": str(clip.fps),
        "frames": clip.frames,
        "seconds": None if clip.seconds is None else float(clip.seconds),
        "space": first.space,
        "layers": [_row(path, node) for path, node in first.walk()],
        "provenance": None if clip.provenance is None else provenance_to_json(clip.provenance),
    }


def describe_document(document: LayerDocument) -> dict[str, Any]:
    """The same for a document at hand: size, space, layers, provenance."""
    provenance = document.provenance
    return {
        "size": list(document.size),
        "space": document.space,
        "layers": [_row(path, node) for path, node in document.walk()],
        "provenance": None if provenance is None else provenance_to_json(provenance),
    }


def _row(path: tuple[int, ...], node: Layer | Group) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": list(path),
        "kind": "group" if isinstance(node, Group) else "layer",
        "name": node.name,
        "blend": node.blend,
        "opacity": node.opacity,
        "visible": node.visible,
        "clip": node.clip,
        "mask": None if node.mask is None else _mask_row(node.mask),
    }
    if isinstance(node, Layer):
        alpha = node.pixels[..., 3]
        row |= {
            "size": list(node.size),
            "offset": list(node.offset),
            "dtype": node.pixels.dtype.name,
            "role": node.role,
            # Share of the layer's own pixels that show, and that are neither clear nor solid.
            "coverage": round(float(alpha.mean(dtype=np.float64)) / full_scale(alpha.dtype), 6),
            "soft": round(float(((alpha > 0) & (alpha < full_scale(alpha.dtype))).mean()), 6),
            "sha256": node.content_hash,
        }
    return row


def _mask_row(mask: Mask) -> dict[str, Any]:
    height, width = mask.pixels.shape
    return {
        "size": [width, height],
        "offset": list(mask.offset),
        "outside": mask.outside,
        "enabled": mask.enabled,
    }


def _bytes(path: Path) -> int:
    if path.name == "layers.json":
        path = path.parent
    if (pattern := Pattern.of(path)) is not None:
        files = list(pattern.present().values())
    else:
        files = list(path.rglob("*")) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
