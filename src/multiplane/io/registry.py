"""Formats by suffix: `read(path)` and `write(document, path)` for everything this package knows."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from multiplane.core.document import Layer, LayerDocument
from multiplane.io.capabilities import CAPABILITIES, PLANES, Capabilities
from multiplane.io.clip_folder import is_clip_folder
from multiplane.io.clip_formats import CLIP_SUFFIXES
from multiplane.io.errors import bad_file
from multiplane.io.image import FLAT_SUFFIXES, read_pixels, sniff
from multiplane.io.limits import DEFAULT_LIMITS, Limits

# (module that reads, module that writes), loaded when first used: psd-tools is slow to import.
_MODULES = {
    "planes": ("planes", "planes"),
    "png": ("png", "png"),
    "psd": ("psd_read", "psd"),
    "ora": ("ora", "ora"),
}
_BEGINNINGS = {"png": "PNG", "psd": "PSD", "ora": "ZIP"}
_BY_SUFFIX = {suffix: table for table in CAPABILITIES.values() for suffix in table.suffixes}


def format_of(path: str | Path) -> Capabilities | None:
    """What the format of `path` holds, by its suffix; None for one that is not known.

    A folder, a path that ends in a slash, and a name without a suffix are a planes folder."""
    if str(path).endswith(("/", "\\")) or Path(path).is_dir() or Path(path).name == "layers.json":
        return PLANES
    return _BY_SUFFIX.get(Path(path).suffix.lower())


def check_writable(path: str | Path) -> Capabilities:
    """The format that `write` would use. Raises FileFormatError when it could write none, so that
    long work need not end in a name that cannot be written."""
    table = format_of(path)
    if table is None:
        if not _is_flat(path):
            _refuse_clip(path, "take a frame out of the clip (convert --frame), or use write_clip")
        reason = "can be read, not written" if _is_flat(path) else "is not a known format"
        raise bad_file(path, f"{Path(path).suffix} {reason}", f"use one of {_writable()}")
    return table


def read(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> LayerDocument:
    """The document in a file or planes folder. A flat picture (JPEG, WebP, TIFF, ...) becomes a
    document of one layer.

    Raises FileNotFoundError; FileFormatError for a damaged, oversized, hostile or unknown file.
    Warns with BakedWarning of everything in the file that a document has no place for."""
    table, path = format_of(path), Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if table is None:
        if _is_flat(path):
            pixels = read_pixels(path, limits)
            size = (pixels.shape[1], pixels.shape[0])
            return LayerDocument(size, (Layer(path.stem, pixels),))
        _refuse_clip(path, "read it with read_clip, or take a frame out (convert --frame)")
        raise bad_file(
            path, "is not a known format", f"use {_writable()} or {', '.join(FLAT_SUFFIXES)}"
        )
    if table is PLANES and is_clip_folder(path):
        raise bad_file(path, "is a clip", "read it with read_clip, or take a frame out of it")
    if table is PLANES and path.is_file() and path.name != "layers.json":
        raise bad_file(path, "has no suffix that names its format", f"rename it: {_writable()}")
    if table.name in _BEGINNINGS:
        _check_beginning(path, table)
    return _module(_MODULES[table.name][0]).read(path, limits)


def write(document: LayerDocument, path: str | Path) -> None:
    """Write `document` in the format of the suffix, whole or not at all.

    Raises FileFormatError for an unknown suffix and CapabilityError for what the format refuses.
    Warns with one BakedWarning of everything that the format cannot hold and that was baked."""
    table = check_writable(path)
    _module(_MODULES[table.name][1]).write(document, Path(path))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"multiplane.io.{name}")


def _is_flat(path: str | Path) -> bool:
    return Path(path).suffix.lower() in FLAT_SUFFIXES


def _refuse_clip(path: str | Path, advice: str) -> None:
    if Path(path).suffix.lower() in CLIP_SUFFIXES:
        raise bad_file(path, f"{Path(path).suffix} is for clips", advice)


def _writable() -> str:
    named = [s for table in CAPABILITIES.values() for s in table.suffixes if s]
    return ", ".join([*named, "a folder (a name without a suffix)"])


def _check_beginning(path: Path, table: Capabilities) -> None:
    if path.is_dir():
        raise bad_file(path, f"is a folder, not a {table.title}", "name a file")
    with path.open("rb") as file:
        found = sniff(file.read(32))
    if found is not None and found != _BEGINNINGS[table.name]:
        raise bad_file(
            path, f"is a {found} file inside, not a {table.title}", "give it its true suffix"
        )
