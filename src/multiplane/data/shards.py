"""Webdataset tars, written whole or not at all, and the manifest that describes them.

A shard is finished when its tar and its note (`NAME.tar.json`) are there: the tar is renamed into
place first, the note after it, so a kill at any moment costs the shard in work and no other.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from multiplane.io.atomic import replacing
from multiplane.io.checksum import sha256_of

Member: TypeAlias = tuple[str, bytes]  # (suffix, content)
Sample: TypeAlias = tuple[str, Callable[[], list[Member]]]  # (key, what makes its members)


@dataclass(frozen=True)
class ShardNote:
    """What the manifest says of one shard. skipped: (key, reason) of every broken source."""

    name: str
    count: int
    sha256: str
    bytes: int
    skipped: tuple[tuple[str, str], ...]
    plan: str
    about: dict[str, Any]


class BrokenSource(Exception):
    """A source picture that cannot be used; the text says why."""


def write_shard(
    folder: Path, name: str, samples: Iterable[Sample], *, plan: str, about: dict[str, Any]
) -> ShardNote:
    """Write `folder/name`; a sample whose make raises BrokenSource is skipped and noted.

    Members get no dates and no owners: same samples, same bytes."""
    skipped: list[tuple[str, str]] = []
    count = 0
    (folder / f"{name}.json").unlink(missing_ok=True)
    with replacing(folder / name) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, make in samples:
                try:
                    members = make()
                except BrokenSource as error:
                    skipped.append((key, str(error)))
                    continue
                count += 1
                for suffix, data in members:
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    info.mode = 0o644
                    tar.addfile(info, io.BytesIO(data))
        size, digest = partial.stat().st_size, sha256_of(partial)
    note = ShardNote(name, count, digest, size, tuple(skipped), plan, about)
    write_json(folder / f"{name}.json", asdict(note))
    return note


def finished_shard(folder: Path, name: str, plan: str) -> ShardNote | None:
    """The note of a shard already written by this plan, or None when it must be written."""
    path = folder / f"{name}.json"
    if not path.exists() or not (folder / name).exists():
        return None
    note = json.loads(path.read_text("utf-8"))
    if note["plan"] != plan or (folder / name).stat().st_size != note["bytes"]:
        return None
    return ShardNote(**{**note, "skipped": tuple(tuple(pair) for pair in note["skipped"])})


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_shard(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {suffix: bytes}) of every sample, in the order written."""
    key, members = "", {}
    with tarfile.open(path) as tar:
        for info in tar:
            name, _, suffix = info.name.partition(".")
            if name != key and members:
                yield key, members
                members = {}
            key = name
            file = tar.extractfile(info)
            if file is not None:
                members[suffix] = file.read()
    if members:
        yield key, members
