"""Archives opened safely: tar, zip (wheels) and Debian packages.

Nothing is written outside the target folder, links and devices are left out, and what an archive
claims to hold is bounded before it is written.
"""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MAX_UNPACKED_BYTES = 4 << 30
MAX_MEMBERS = 200_000
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class ArchiveError(Exception):
    """An archive that is damaged, of an unknown kind, or tries to write where it must not."""


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack `archive` (.tgz, .tar.*, .whl, .zip, .deb) into the existing empty `folder`.

    Raises ArchiveError; what was written until then stays, so hand it a folder to throw away."""
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, max_bytes)
        elif archive.suffix == ".deb":
            _unpack_deb(archive, folder, max_bytes)
        else:
            with tarfile.open(archive) as tar:
                _unpack_tar(tar, folder, max_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"{archive.name} cannot be unpacked: {error}") from error


def _target(folder: Path, name: str) -> Path:
    """Where a member goes. Raises ArchiveError for absolute names and names with `..`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ArchiveError(f"the archive holds a member that leads out of its folder: {name!r}")
    return folder.joinpath(*path.parts)


class _Budget:
    """Counts members and bytes; raises ArchiveError past the limits."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.members = 0

    def member(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise ArchiveError(f"the archive holds more than {MAX_MEMBERS} members")

    def write(self, source: IO[bytes], path: Path) -> None:
        """Copies a member by what it really holds, not by what its header says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            while block := source.read(1 << 20):
                self.bytes += len(block)
                if self.bytes > self.max_bytes:
                    raise ArchiveError(f"the archive unpacks to more than {self.max_bytes} bytes")
                target.write(block)


def _unpack_tar(tar: tarfile.TarFile, folder: Path, max_bytes: int) -> None:
    budget = _Budget(max_bytes)
    for info in tar:
        budget.member()
        path = _target(folder, info.name)
        if info.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif info.isfile():
            source = tar.extractfile(info)
            if source is not None:
                budget.write(source, path)


def _unpack_zip(archive: Path, folder: Path, max_bytes: int) -> None:
    budget = _Budget(max_bytes)
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            budget.member()
            path = _target(folder, info.filename)
            if info.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            elif not stat.S_ISLNK(info.external_attr >> 16):
                with packed.open(info) as source:
                    budget.write(source, path)


def _unpack_deb(archive: Path, folder: Path, max_bytes: int) -> None:
    """A .deb is an ar archive; its files are the tar called data.tar.*."""
    with archive.open("rb") as file:
        for name, size in _ar_members(file, archive.name):
            if not name.startswith("data.tar"):
                continue
            if name.endswith(".zst"):
                _unpack_with_dpkg(archive, folder, max_bytes)
            else:
                with tarfile.open(fileobj=_Window(file, size)) as tar:
                    _unpack_tar(tar, folder, max_bytes)
            return
    raise ArchiveError(f"{archive.name} holds no data.tar: it is no Debian package")


def _unpack_with_dpkg(archive: Path, folder: Path, max_bytes: int) -> None:
    """For zstd, which Python before 3.14 cannot read: dpkg-deb turns it into a plain tar."""
    if shutil.which("dpkg-deb") is None:
        raise ArchiveError(f"{archive.name} is packed with zstd: install dpkg-deb to unpack it")
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        _unpack_tar(tar, folder, max_bytes)
    if process.returncode != 0:
        raise ArchiveError(f"dpkg-deb cannot read {archive.name}")


def _ar_members(file: IO[bytes], name: str) -> Iterator[tuple[str, int]]:
    """(name, size) of each member, the file standing at its first byte."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ArchiveError(f"{name} is no Debian package: the ar header is missing")
    while header := file.read(_AR_HEADER):
        if len(header) < _AR_HEADER or header[58:] != b"`\n":
            raise ArchiveError(f"{name} is damaged: an ar header is cut short")
        size = int(header[48:58])
        start = file.tell()
        yield header[:16].decode("ascii", "replace").rstrip(" /"), size
        file.seek(start + size + size % 2)


class _Window(io.RawIOBase):
    """The next `size` bytes of a file as a file of their own."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.start = file.tell()
        self.size = size
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, base + offset)
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.file.seek(self.start + self.position)
        data = self.file.read(min(len(buffer), max(0, self.size - self.position)))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
