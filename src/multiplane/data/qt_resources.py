"""Files inside a Qt resource archive (.rcc), the container Qt programs keep their pictures in.

A header ("qres", version, offsets of three parts), then a tree of nodes, the names in UTF-16, and
the data with a length before each file; all numbers big-endian. Versions 1 to 3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_COMPRESSED, _FOLDER, _ZSTANDARD = 1, 2, 4
_NODE = {1: 14, 2: 22, 3: 22}  # bytes a node; from version 2 on with the time of the last change
MAX_DEPTH = 32
MAX_FILE = 64 << 20


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file, in the archive's order.

    Raises ValueError for what is no such archive, is damaged, or holds a file compressed in a way
    this does not read (Zstandard)."""
    if data[:4] != b"qres" or len(data) < 20:
        raise ValueError("no Qt resource archive: it does not begin with 'qres'")
    version, tree, content, names = struct.unpack_from(">4I", data, 4)
    if version not in _NODE:
        raise ValueError(f"Qt resource archive of version {version}; 1 to 3 are known")
    try:
        yield from _walk(data, (tree, content, names), _NODE[version], 0, "", 0)
    except (struct.error, zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the Qt resource archive is damaged: {error}") from error


def _walk(
    data: bytes, parts: tuple[int, int, int], node: int, index: int, folder: str, depth: int
) -> Iterator[tuple[str, bytes]]:
    """Everything below the node `index`. parts: where tree, content and names begin."""
    tree, content, names = parts
    place = tree + index * node
    name_at, flags = struct.unpack_from(">IH", data, place)
    path = folder if index == 0 else f"{folder}/{_name(data, names + name_at)}".lstrip("/")
    if flags & _FOLDER:
        if depth == MAX_DEPTH:
            raise ValueError(f"the Qt resource archive is damaged: over {MAX_DEPTH} folders deep")
        count, first = struct.unpack_from(">2I", data, place + 6)
        if first <= index and count:
            raise ValueError("the Qt resource archive is damaged: a folder holds itself")
        for child in range(first, first + count):
            yield from _walk(data, parts, node, child, path, depth + 1)
        return
    (offset,) = struct.unpack_from(">I", data, place + 10)
    yield path, _file(data, content + offset, flags, path)


def _name(data: bytes, place: int) -> str:
    """Length in characters, a hash nobody needs here, then UTF-16."""
    (length,) = struct.unpack_from(">H", data, place)
    stored = data[place + 6 : place + 6 + 2 * length]
    if len(stored) != 2 * length:
        raise ValueError("the Qt resource archive is damaged: its names are cut short")
    return stored.decode("utf-16-be")


def _file(data: bytes, place: int, flags: int, path: str) -> bytes:
    (length,) = struct.unpack_from(">I", data, place)
    stored = data[place + 4 : place + 4 + length]
    if len(stored) != length:
        raise ValueError(f"the Qt resource archive is damaged: {path} is cut short")
    if flags & _ZSTANDARD:
        raise ValueError(f"{path} is compressed with Zstandard, which this does not read")
    if not flags & _COMPRESSED:
        return stored
    reader = zlib.decompressobj()
    opened = reader.decompress(stored[4:], MAX_FILE)  # the first four bytes are the length
    if reader.unconsumed_tail:
        raise ValueError(f"{path} is over {MAX_FILE >> 20} MiB")
    return opened
