"""What is in a file, as plain values: for `multiplane inspect`, tests and people's scripts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.document import Group, Layer, LayerDocument, Mask
from multiplane.core.pixels import full_scale
from multiplane.io.errors import BakedWarning
from multiplane.io.limits import DEFAULT_LIMITS, Limits
from multiplane.io.metadata import provenance_to_json
from multiplane.io.registry import format_of, read


def describe(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """A file's format, size, layers (bottom to top) and provenance, ready for JSON.

    `notes` holds what reading had to bake or leave out. Raises as `multiplane.io.read`."""
    path = Path(path)
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
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
