"""Archives made by hand, so that what reads them is checked against somebody else's writer."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path


def tar_bytes(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def deb_bytes(members: dict[str, bytes], compression: str = "xz") -> bytes:
    """A Debian package as deb(5) describes it: an ar archive of three members."""
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar_bytes({"./control": b"Package: fake\n"}),
        f"data.tar.{compression}": tar_bytes(members, f"w:{compression}"),
    }
    packed = b"!<arch>\n"
    for name, data in parts.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        packed += data + b"\n" * (len(data) % 2)
    return packed


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
