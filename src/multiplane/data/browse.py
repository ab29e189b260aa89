"""Pictures to be looked at one by one, in a folder or in shards, found by reading names alone.

A picture's planes are one item: `KEY.composite.png`, `KEY.foreground.png`, ... of a folder, or the
members of one sample of a shard.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLANES = ("picture", "composite", "foreground", "background", "mask")
SUFFIXES = ("png", "webp", "jpg", "jpeg")  # what every browser shows


@dataclass(frozen=True)
class Stored:
    """Bytes that lie in a file: all of it, or a member of a tar."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Raises OSError when the file is gone or shorter than it was."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.path} changed while it was looked at: start again")
        return data


@dataclass(frozen=True)
class Item:
    """One thing to decide about. key: stays the same from run to run. planes: its pictures by name
    (those of `PLANES`). words: a JSON or text file about it, if there is one."""

    key: str
    planes: Mapping[str, Stored]
    words: Stored | None = None

    def about(self) -> dict[str, Any]:
        """What is known of it; `caption` is always there, its key if nothing else."""
        found: dict[str, Any] = {}
        if self.words is not None:
            text = self.words.read().decode("utf-8", "replace")
            try:
                value = json.loads(text)
            except ValueError:
                value = {"caption": (text.strip().splitlines() or [""])[0]}
            found = value if isinstance(value, dict) else {}
        caption = found.get("caption") or found.get("prompt")
        return {**found, "caption": caption if isinstance(caption, str) else self.key}


def find_items(source: Path) -> list[Item]:
    """Every item of a folder of pictures, of a folder of shards, or of one tar, sorted by key.

    A shard's items are called SHARD/KEY, a folder's by their path in it. Raises FileNotFoundError,
    and ValueError when no picture is there or a tar cannot be read."""
    if source.is_file():
        items = list(_shard_items(source))
    elif not source.is_dir():
        raise FileNotFoundError(f"there is no folder or shard {source}: check the name")
    elif (source / "manifest.json").is_file():
        notes = json.loads((source / "manifest.json").read_text("utf-8"))["shards"]
        items = [item for note in notes for item in _shard_items(source / note["name"])]
    else:
        items = list(_folder_items(source))
    if not items:
        raise ValueError(f"no picture in {source}: expected {', '.join(SUFFIXES)} files or shards")
    return sorted(items, key=lambda item: item.key)


def _shard_items(path: Path) -> Iterator[Item]:
    found: dict[str, dict[str, Stored]] = {}
    try:
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, member = info.name.partition(".")
                place = Stored(path, info.offset_data, info.size)
                found.setdefault(f"{path.stem}/{key}", {})[member] = place
    except tarfile.TarError as error:
        raise ValueError(f"{path} cannot be read as a shard: {error}") from error
    return _items(found)


def _folder_items(folder: Path) -> Iterator[Item]:
    found: dict[str, dict[str, Stored]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            stem, member = _member_of(inside.name)
            place = Stored(path, 0, path.stat().st_size)
            found.setdefault((inside.parent / stem).as_posix(), {})[member] = place
    return _items(found)


def _member_of(name: str) -> tuple[str, str]:
    """`cat.mask.png` as ("cat", "mask.png"), `cat.v2.png` as ("cat.v2", "png")."""
    stem, _, suffix = name.rpartition(".")
    before, _, plane = stem.rpartition(".")
    return (before, f"{plane}.{suffix}") if before and plane in PLANES else (stem, suffix)


def _items(found: Mapping[str, Mapping[str, Stored]]) -> Iterator[Item]:
    for key, members in found.items():
        planes: dict[str, Stored] = {}
        for member, place in members.items():
            name, _, suffix = member.rpartition(".")
            if suffix.lower() in SUFFIXES:
                planes[name or "picture"] = place
        if planes:
            ordered = sorted(planes, key=lambda name: (*PLANES, name).index(name))
            words = members.get("json") or members.get("txt")
            yield Item(key, {name: planes[name] for name in ordered}, words)
