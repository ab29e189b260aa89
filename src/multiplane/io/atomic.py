"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed onto `path` when the block ends well.

    When it does not, the temporary file goes and what `path` held stays. The name is drawn at
    random, so processes that write the same file at once never share one: the last rename wins.
    Missing parent folders are made. Raises IsADirectoryError when `path` is a folder."""
    target = Path(os.path.realpath(path))  # write through a link, never replace the link itself
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: name a file to write")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` through `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
