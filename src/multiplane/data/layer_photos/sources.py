"""Where photographs and their captions come from: a folder, a table, or webdataset tars.

A source is a name and a place, cheap to list and to send to another process; the picture itself is
read where it is worked on.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiplane.io.image import FLAT_SUFFIXES

CAPTIONS = (".txt", ".json")
LONGEST_CAPTION = 4096  # bytes read of a caption's file


@dataclass(frozen=True)
class PhotoSource:
    """One picture and its caption. name: its path in the folder, or TAR/KEY. offset, size: where
    its bytes lie in the file. fault: why it cannot be used, known from the listing alone."""

    name: str
    path: str
    offset: int
    size: int
    caption: str
    fault: str = ""


def photo_sources(given: Path, captions: Path | None = None) -> Iterator[PhotoSource]:
    """Every picture of a folder of pictures, a folder of webdataset tars, or one tar, in the order
    of their names; listed as they are asked for.

    captions: a table, `NAME<tab>CAPTION` a line, names as paths in the folder; the pictures are
    those it lists. Without it the caption of `cat.jpg` is the first line of `cat.txt`, else
    "caption" in `cat.json`, else the file's name; in a tar there must be one.

    Raises FileNotFoundError, and ValueError when there is no picture or a tar is damaged."""
    if given.is_file() and tarfile.is_tarfile(given):
        if captions is not None:
            raise ValueError("a table of captions goes with a folder; a tar holds its own")
        return _some(_tars([given]), given)
    if not given.is_dir():
        raise FileNotFoundError(f"{given} is no folder and no tar of pictures: check the name")
    if captions is not None:
        return _some(_listed(given, captions), given)
    tars = sorted(given.glob("*.tar"))
    return _some(_tars(tars) if tars else _folder(given), given)


def _some(sources: Iterator[PhotoSource], given: Path) -> Iterator[PhotoSource]:
    empty = True
    for source in sources:
        empty = False
        yield source
    if empty:
        raise ValueError(f"no picture in {given}: expected {', '.join(FLAT_SUFFIXES)}")


def _folder(folder: Path) -> Iterator[PhotoSource]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in FLAT_SUFFIXES and path.is_file() and not hidden:
            caption, fault = _beside(path)
            size = path.stat().st_size
            yield PhotoSource(inside.as_posix(), str(path), 0, size, caption, fault)


def _beside(path: Path) -> tuple[str, str]:
    """(caption, fault) of a picture's own files, or of its name."""
    for suffix in CAPTIONS:
        text = path.with_suffix(suffix)
        if text.is_file():
            with text.open("rb") as file:
                return _caption(suffix, file.read(LONGEST_CAPTION + 1))
    return path.stem.replace("_", " ").replace("-", " ").strip(), ""


def _caption(suffix: str, data: bytes) -> tuple[str, str]:
    """(caption, fault) of a caption file's bytes."""
    if len(data) > LONGEST_CAPTION and suffix == ".json":
        return "", f"its caption's file holds more than {LONGEST_CAPTION} bytes"
    text = data[:LONGEST_CAPTION].decode("utf-8", "replace")
    if suffix == ".json":
        try:
            value = json.loads(text)
        except ValueError as error:
            return "", f"its caption is no JSON: {error}"
        text = value.get("caption", "") if isinstance(value, dict) else ""
        text = text if isinstance(text, str) else ""
    lines = text.strip().splitlines()
    return (lines[0].strip(), "") if lines else ("", "it has no caption")


def _listed(folder: Path, captions: Path) -> Iterator[PhotoSource]:
    with captions.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, tab, caption = line.rstrip("\n").partition("\t")
            if not tab or not caption.strip():
                raise ValueError(f"{captions}, line {number}: expected NAME<tab>CAPTION")
            path = folder / name
            there = path.is_file()
            size = path.stat().st_size if there else 0
            fault = "" if there else "no such file"
            yield PhotoSource(name, str(path), 0, size, caption.strip(), fault)


def _tars(paths: list[Path]) -> Iterator[PhotoSource]:
    for path in paths:
        try:
            with tarfile.open(path) as tar:
                yield from _members(path, tar)
        except tarfile.TarError as error:
            raise ValueError(f"{path} cannot be read as a tar: {error}") from error


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[PhotoSource]:
    """The samples of one tar: members that stand together and share the name up to its first
    dot, as webdataset has them."""
    key = ""
    found: dict[str, Any] = {}
    for info in tar:
        if not info.isfile():
            continue
        folder, slash, last = info.name.rpartition("/")
        stem, _, suffix = last.partition(".")
        name = f"{folder}{slash}{stem}"
        if name != key:
            yield from _sample(path, key, found)
            key, found = name, {}
        suffix = f".{suffix.lower()}"
        if suffix in CAPTIONS:
            file = tar.extractfile(info)
            found[suffix] = file.read(LONGEST_CAPTION + 1) if file is not None else b""
        elif suffix in FLAT_SUFFIXES:
            found.setdefault("picture", (info.offset_data, info.size))
    yield from _sample(path, key, found)


def _sample(path: Path, key: str, found: Mapping[str, Any]) -> Iterator[PhotoSource]:
    if "picture" not in found:
        return
    offset, size = found["picture"]
    caption, fault = "", "it has no caption"
    for suffix in CAPTIONS:
        if suffix in found:
            caption, fault = _caption(suffix, found[suffix])
            break
    yield PhotoSource(f"{path.name}/{key}", str(path), offset, size, caption, fault)
