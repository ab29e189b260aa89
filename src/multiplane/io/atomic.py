"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
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


@contextmanager
def replacing_folder(
    path: str | os.PathLike[str], is_ours: Callable[[Path], bool]
) -> Iterator[Path]:
    """A new folder beside `path` to write into; it takes the place of `path` when the block ends
    well. When it does not, it goes and the folder `path` stays as it was.

    is_ours: whether an existing folder that is not empty holds nothing but what may be replaced.
    Raises FileExistsError for a file, and for a folder that is not ours."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file: name a folder")
    if target.is_dir() and any(target.iterdir()) and not is_ours(target):
        raise FileExistsError(
            f"{target} holds files that this would not replace: choose another name, or empty it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name[:32]}.{secrets.token_hex(8)}"
    temporary, old = target.with_name(f"{stem}.tmp"), target.with_name(f"{stem}.old")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
