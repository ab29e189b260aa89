"""The planes folder: a PNG a layer and a mask, `composite.png`, and `layers.json` with the rest.

Everything comes back as it went in. float32 pixels, which PNG cannot hold, are `.npy` files. The
PNGs may be edited in place with any program: what they hold is what is read.

`layers.json` is written last, under a temporary name, and only then are files of an earlier
document removed: a folder that is written over holds the old or the new document, never a mixture.
Files that are not the document's own are left alone.
"""

from __future__ import annotations

import io
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.composite import composite_u8
from multiplane.core.document import (
    ColorSpace,
    Coverage,
    Group,
    Layer,
    LayerDocument,
    Mask,
    Pixels,
)
from multiplane.io import png
from multiplane.io.atomic import write_bytes
from multiplane.io.capabilities import PLANES, check
from multiplane.io.errors import bad_file, decoding
from multiplane.io.image import coverage_of, decode
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.metadata import (
    dumps,
    loads,
    mapping,
    provenance_from_json,
    provenance_to_json,
    role_from_json,
)

INDEX = "layers.json"
COMPOSITE = "composite.png"
_FORMAT, _VERSION = "multiplane planes", 1


def write(document: LayerDocument, path: Path) -> None:
    """Write `document` into the folder `path`, which is made if need be.

    Raises FileExistsError when `path` holds files but no `layers.json` of ours: some other
    folder."""
    check(document, path, PLANES)
    if path.is_file():
        raise FileExistsError(f"{path} is a file: name a folder for the planes")
    stale = _own_files(path)
    index: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "size": list(document.size),
        "space": document.space,
        "composite": COMPOSITE,
        "provenance": None,
    }
    if document.provenance is not None:  # before any file, should it fail
        index["provenance"] = provenance_to_json(document.provenance)
    is_new = not path.exists()
    folder = _Folder(path, stale)
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            index["layers"] = [folder.node(node, document, pool) for node in document.layers]
            picture = pool.submit(png.encode, composite_u8(document))
            folder.write()
            write_bytes(path / COMPOSITE, picture.result())
        write_bytes(path / INDEX, dumps(index, indent=1).encode())
    except BaseException:
        folder.remove_written()
        if is_new and path.is_dir():
            (path / COMPOSITE).unlink(missing_ok=True)
            path.rmdir()
        raise
    for name in stale - set(folder.files):
        (path / name).unlink(missing_ok=True)


def _own_files(path: Path) -> set[str]:
    """The plane files of the document that the folder holds already."""
    if not path.is_dir() or not any(path.iterdir()):
        return set()
    try:
        index = loads((path / INDEX).read_bytes()) if (path / INDEX).is_file() else {}
    except ValueError:
        index = {}
    if index.get("format") != _FORMAT:
        raise FileExistsError(
            f"{path} holds files but no {INDEX} of ours, so it is no planes folder: choose "
            "another name, or empty it first"
        )
    found: set[str] = set()

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            name = value.get("file")
            if isinstance(name, str) and is_plain_name(name) and name.endswith((".png", ".npy")):
                found.add(name)
            for item in value.values():
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(index.get("layers", []))
    return found


class _Folder:
    """The files of one document: named one by one, packed on threads, written at the end."""

    def __init__(self, path: Path, present: set[str]):
        self.path = path
        self.present = present
        self.files: dict[str, Future[bytes]] = {}
        self._written: list[str] = []
        self._count = 0

    def node(
        self, node: Layer | Group, document: LayerDocument, pool: ThreadPoolExecutor
    ) -> dict[str, Any]:
        stem = f"{self._count:02d}-{slug(node.name)}"
        self._count += 1
        facts: dict[str, Any] = {
            "name": node.name,
            "opacity": node.opacity,
            "blend": node.blend,
            "visible": node.visible,
            "clip": node.clip,
        }
        if isinstance(node, Layer):
            facts |= {
                "type": "layer",
                "offset": list(node.offset),
                "role": node.role,
                "file": self._add(stem, node.pixels, document.space, pool),
                "sha256": node.content_hash,
            }
        else:
            facts |= {
                "type": "group",
                "layers": [self.node(child, document, pool) for child in node.layers],
            }
        if node.mask is not None:
            facts["mask"] = {
                "offset": list(node.mask.offset),
                "outside": node.mask.outside,
                "enabled": node.mask.enabled,
                "file": self._add(f"{stem}.mask", node.mask.pixels, "srgb", pool),
            }
        return facts

    def _add(
        self, stem: str, array: NDArray[Any], space: ColorSpace, pool: ThreadPoolExecutor
    ) -> str:
        if array.dtype == np.float32:
            data, suffix = pool.submit(_npy, array), ".npy"
        else:
            data, suffix = pool.submit(png.encode, array, space), ".png"
        name, again = stem + suffix, 1
        while name in self.files or ((self.path / name).exists() and not self._is(name, data)):
            again += 1  # a file that is there already and holds something else stays
            name = f"{stem}-{again}{suffix}"
        self.files[name] = data
        return name

    def _is(self, name: str, data: Future[bytes]) -> bool:
        """Whether the old document's file of that name holds just these bytes."""
        return name in self.present and (self.path / name).read_bytes() == data.result()

    def write(self) -> None:
        for name, data in self.files.items():
            if not (self.path / name).exists():
                self._written.append(name)
                write_bytes(self.path / name, data.result())

    def remove_written(self) -> None:
        """Take back what `write` wrote; nothing of it was there before."""
        for name in self._written:
            (self.path / name).unlink(missing_ok=True)


def _npy(array: NDArray[Any]) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=False)
    return packed.getvalue()


def slug(name: str) -> str:
    """A name as part of a file name: letters and digits of any script, dashes, 40 at most."""
    return re.sub(r"[^\w]+", "-", name).strip("-_").lower()[:40] or "layer"


def is_plain_name(name: str) -> bool:
    """Whether a file of that name lies in the folder itself."""
    return bool(name) and name not in (".", "..") and not re.search(r"[/\\:\x00-\x1f]", name)


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> LayerDocument:
    """Read the folder `path`, or the folder that the `layers.json` at `path` lies in."""
    folder = path.parent if path.name == INDEX else path
    index_path = folder / INDEX
    if folder.is_dir() and not index_path.is_file():
        raise bad_file(folder, f"holds no {INDEX}", "name a planes folder that multiplane wrote")
    data = index_path.read_bytes()
    with decoding(index_path, "a planes index"):
        index = loads(data)
        if index.get("format") != _FORMAT or index.get("version") != _VERSION:
            raise bad_file(
                index_path,
                f"says {index.get('format')!r} version {index.get('version')!r}",
                f"this release reads {_FORMAT!r} version {_VERSION}",
            )
        reader = _Reader(folder, index, limits)
        provenance = index.get("provenance")
        return LayerDocument(
            size=reader.size,
            layers=reader.nodes(index["layers"], 0),
            space=reader.space,
            provenance=None if provenance is None else provenance_from_json(provenance),
        )


class _Reader:
    def __init__(self, folder: Path, index: dict[str, Any], limits: Limits):
        self.folder = folder
        self.size = _pair(index["size"], "size")
        self.space = index.get("space", "srgb")
        if self.space not in ("srgb", "linear"):
            raise ValueError(f"unknown space {self.space!r}: srgb or linear")
        sizes = (file.stat().st_size for file in folder.iterdir() if file.is_file())
        self.budget = Budget(folder / INDEX, limits, file_bytes=sum(sizes))
        self.budget.picture(self.size, 4, "the canvas")

    def nodes(self, entries: Any, depth: int) -> tuple[Layer | Group, ...]:
        if not isinstance(entries, list):
            raise ValueError(f"layers must be a list, got {type(entries).__name__}")
        return tuple(self.node(mapping(entry, "a layer"), depth) for entry in entries)

    def node(self, entry: dict[str, Any], depth: int) -> Layer | Group:
        self.budget.node(depth)
        name = _typed(entry, "name", str)
        is_group = _typed(entry, "type", str) == "group"
        shared: dict[str, Any] = {
            "name": name,
            "opacity": float(_typed(entry, "opacity", (int, float))),
            "blend": _typed(entry, "blend", str),
            "visible": _typed(entry, "visible", bool),
            "clip": _typed(entry, "clip", bool),
            "mask": self.mask(entry.get("mask"), name),
        }
        if is_group:
            return Group(layers=self.nodes(entry["layers"], depth + 1), **shared)
        return Layer(
            pixels=self.array(entry, f"layer {name!r}", 3),
            offset=_pair(entry["offset"], "offset"),
            role=role_from_json(entry.get("role")),
            **shared,
        )

    def mask(self, entry: Any, name: str) -> Mask | None:
        if entry is None:
            return None
        facts = mapping(entry, "a mask")
        return Mask(
            pixels=self.array(facts, f"the mask of {name!r}", 2),
            offset=_pair(facts["offset"], "offset"),
            outside=float(_typed(facts, "outside", (int, float))),
            enabled=_typed(facts, "enabled", bool),
        )

    def array(self, entry: dict[str, Any], what: str, dimensions: int) -> Pixels | Coverage:
        name = _typed(entry, "file", str)
        if not is_plain_name(name):
            raise bad_file(
                self.folder / INDEX,
                f"{what} names the file {name!r}, which is not in the folder itself",
                "do not open it; planes lie beside layers.json",
            )
        file = self.folder / name
        if not file.is_file():
            raise bad_file(self.folder / INDEX, f"{what} is in {name!r}, which is missing")
        if name.endswith(".npy"):
            return self.floats(file, what, dimensions)
        with decoding(file, what):
            if dimensions == 2:
                return coverage_of(decode(file.read_bytes(), self.budget, "srgb", what))
            return decode(file.read_bytes(), self.budget, self.space, what)

    def floats(self, file: Path, what: str, dimensions: int) -> NDArray[np.float32]:
        with decoding(file, what):
            array = np.load(file, mmap_mode="r", allow_pickle=False)  # checks length, reads no data
            if array.dtype != np.float32 or array.ndim != dimensions:
                raise ValueError(f"{array.dtype} of shape {array.shape}")
            pixel_bytes = 16 if dimensions == 3 else 4
            self.budget.picture((array.shape[1], array.shape[0]), pixel_bytes, what)
            return np.array(array)


def _typed(entry: dict[str, Any], key: str, kind: Any) -> Any:
    value = entry[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key} is {value!r}")
    return value


def _pair(value: Any, what: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or any(type(v) is not int for v in value):
        raise ValueError(f"{what} must be two whole numbers, got {value!r}")
    if max(map(abs, value)) >= 1 << 31:
        raise ValueError(f"{what} is {value}, beyond any canvas")
    return value[0], value[1]
