"""Archives opened safely: what they hold comes out, and nothing leads out of the folder."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from made_archives import deb_bytes, files_under, tar_bytes, zip_bytes
from multiplane.weights.unpack import ArchiveError, unpack

MEMBERS = {"package/a.txt": b"alpha", "package/deep/b.bin": bytes(range(256)) * 500}


def unpacked(tmp_path: Path, name: str, data: bytes, max_bytes: int = 1 << 20) -> dict[str, bytes]:
    archive = tmp_path / name
    archive.write_bytes(data)
    folder = tmp_path / "inside"
    folder.mkdir()
    unpack(archive, folder, max_bytes)
    return files_under(folder)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.tgz", tar_bytes(MEMBERS)),
        ("x.tar.xz", tar_bytes(MEMBERS, "w:xz")),
        ("x.whl", zip_bytes(MEMBERS)),
        ("x.deb", deb_bytes(MEMBERS, "xz")),
        ("odd.deb", deb_bytes({"a": b"1"} | MEMBERS, "gz")),
    ],
)
def test_members_come_out_as_they_went_in(tmp_path: Path, name: str, data: bytes) -> None:
    found = unpacked(tmp_path, name, data)
    assert {key: found[key] for key in MEMBERS} == MEMBERS


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd"])
def test_reads_what_dpkg_writes(tmp_path: Path, compression: str) -> None:
    tree = tmp_path / "tree"
    for name, data in MEMBERS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: fake\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
    )
    deb = tmp_path / "made.deb"
    command = ["dpkg-deb", f"-Z{compression}", "--build", str(tree), str(deb)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip(f"this dpkg-deb cannot write {compression}")
    assert unpacked(tmp_path, "copy.deb", deb.read_bytes()) == MEMBERS


@pytest.mark.parametrize("bad", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "a\\..\\out.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip", "deb"])
def test_names_that_lead_out_are_refused(tmp_path: Path, bad: str, kind: str) -> None:
    make = {"tar": tar_bytes, "zip": zip_bytes, "deb": deb_bytes}[kind]
    with pytest.raises(ArchiveError, match="leads out"):
        unpacked(tmp_path, f"x.{kind}", make({"fine": b"1", bad: b"2"}))
    assert not (tmp_path / "out.txt").exists()


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        fifo = tarfile.TarInfo("fifo")
        fifo.type = tarfile.FIFOTYPE
        tar.addfile(fifo)
    unpacked(tmp_path, "x.tar", buffer.getvalue())
    assert list((tmp_path / "inside").iterdir()) == []


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes, deb_bytes])
def test_an_archive_that_grows_too_large_is_stopped(tmp_path: Path, make) -> None:
    with pytest.raises(ArchiveError, match="more than 100000 bytes"):
        unpacked(
            tmp_path, "x.deb" if make is deb_bytes else "x.a", make({"z": b"0" * 10**6}), 10**5
        )
    written = sum(len(data) for data in files_under(tmp_path / "inside").values())
    assert written <= 10**5


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.deb", deb_bytes(MEMBERS)[:-2000]),
        ("x.deb", deb_bytes(MEMBERS)[:100]),
        ("x.deb", b"!<arch>\n"),
        ("x.deb", b"not a package"),
        ("x.tgz", tar_bytes(MEMBERS)[:300]),
        ("x.tgz", b""),
        ("x.whl", zip_bytes(MEMBERS)[:-30]),
    ],
)
def test_damaged_archives_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(ArchiveError, match=name):
        unpacked(tmp_path, name, data)
