"""Qt resource archives, made here by hand from the format's description."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest

from multiplane.data.qt_resources import read_resources

FILES = {"one.txt": (b"plain", 0), "deep/two.webp": (b"packed " * 40, 1)}


def archive(version: int = 2, files: dict[str, tuple[bytes, int]] | None = None) -> bytes:
    """A root with the files of FILES; `deep` is a folder of one."""
    (plain, _), (packed, flags) = (files or FILES).values()
    stored = struct.pack(">I", len(packed)) + zlib.compress(packed) if flags & 1 else packed
    data = b"".join(struct.pack(">I", len(part)) + part for part in (plain, stored))
    names, at = b"", {}
    for name in ("", "deep", "one.txt", "two.webp"):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    changed = b"\0" * 8 if version > 1 else b""

    def folder(name: str, count: int, first: int) -> bytes:
        return struct.pack(">IHII", at[name], 2, count, first) + changed

    def file(name: str, flags: int, offset: int) -> bytes:
        return struct.pack(">IHHHI", at[name], flags, 0, 0, offset) + changed

    tree = folder("", 2, 1) + folder("deep", 1, 3) + file("one.txt", 0, 0)
    tree += file("two.webp", flags, 4 + len(plain))
    extra = b"\0" * 4 if version > 2 else b""
    start = 20 + len(extra)
    places = (start, start + len(tree), start + len(tree) + len(data))
    return b"qres" + struct.pack(">4I", version, *places) + extra + tree + data + names


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_file_with_its_path(version: int) -> None:
    assert dict(read_resources(archive(version))) == {
        "deep/two.webp": b"packed " * 40,
        "one.txt": b"plain",
    }


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="no Qt resource archive"):
        list(read_resources(b"PK\3\4" + bytes(40)))
    with pytest.raises(ValueError, match="version 9"):
        list(read_resources(b"qres" + struct.pack(">4I", 9, 20, 20, 20)))
    zstandard = {**FILES, "deep/two.webp": (b"x", 4)}
    with pytest.raises(ValueError, match=r"two\.webp is compressed with Zstandard"):
        list(read_resources(archive(files=zstandard)))


def test_damage_is_said_and_never_loops() -> None:
    whole = archive()
    for length in range(4, len(whole)):
        with pytest.raises(ValueError, match=r"no Qt resource archive|damaged"):
            list(read_resources(whole[:length]))
    for place in range(20, len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        with suppress(ValueError):  # some bytes (a hash, a date) mean nothing here
            list(read_resources(bytes(broken)))
    selfish = bytearray(whole)
    selfish[20 + 10 : 20 + 14] = struct.pack(">I", 0)  # the root's first child is the root
    with pytest.raises(ValueError, match="a folder holds itself"):
        list(read_resources(bytes(selfish)))
