"""The fetcher against local clients: a real pip without an index, and stand-ins for npm and apt."""

from __future__ import annotations

import hashlib
import re
import stat
import sys
from pathlib import Path

import pytest

from made_archives import deb_bytes, files_under, tar_bytes, zip_bytes
from multiplane.weights import fetch as fetcher
from multiplane.weights.fetch import FetchError, Package, fetch, locate
from multiplane.weights.sources import GROUPS, SOURCES, source

FILES = {"package/data.json": b"{}", "package/art/one.png": b"png" * 100}


def package(data: bytes, registry: str = "npm", name: str = "@scope/fake", **changes) -> Package:
    values = {
        "registry": registry,
        "name": name,
        "version": "1.2.3",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "licence": "MIT",
        "licence_class": "A",
        "use": "tests",
    }
    return Package(**(values | changes))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MULTIPLANE_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; `stand_in` puts clients into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    script = folder / name
    script.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


def served(tmp_path: Path, data: bytes, file_name: str, where: str = "sys.argv[-2]") -> str:
    """The body of a client that leaves `data` under `file_name`."""
    shelf = tmp_path / "shelf"
    shelf.write_bytes(data)
    copy = f"pathlib.Path({str(shelf)!r}).read_bytes()"
    return f"(pathlib.Path({where}) / {file_name!r}).write_bytes({copy})"


def test_npm_once_then_from_the_cache(cache: Path, clients: Path, tmp_path: Path) -> None:
    data = tar_bytes(FILES)
    stand_in(clients, "npm", served(tmp_path, data, "scope-fake-1.2.3.tgz"))
    wanted = package(data)
    folder = locate(wanted)
    assert files_under(folder) == FILES
    (clients / "npm").unlink()
    assert locate(wanted) == folder
    assert fetch(wanted).read_bytes() == data
    assert not [path for path in cache.rglob(".*") if path != cache]


def test_npm_is_asked_for_the_exact_version(cache: Path, clients: Path, tmp_path: Path) -> None:
    data = tar_bytes(FILES)
    log = tmp_path / "asked"
    body = f"pathlib.Path({str(log)!r}).write_text(' '.join(sys.argv[1:]))\n"
    stand_in(clients, "npm", body + served(tmp_path, data, "f.tgz"))
    fetch(package(data))
    assert "@scope/fake@1.2.3" in log.read_text()
    assert "--ignore-scripts" in log.read_text()


def test_apt_package_is_unpacked_here(cache: Path, clients: Path, tmp_path: Path) -> None:
    data = deb_bytes({"./usr/share/fake/one.png": b"one"})
    stand_in(clients, "apt-get", served(tmp_path, data, "fake_1%3a1.2.3_all.deb", "'.'"))
    folder = locate(package(data, "apt", "fake", version="1:1.2.3"))
    assert files_under(folder) == {"usr/share/fake/one.png": b"one"}
    assert ":" not in folder.name


def test_pip_with_a_real_client(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = "fake_pkg-1.2.3.dist-info"
    members = {
        "fake_pkg/model.bin": b"weights",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: fake-pkg\nVersion: 1.2.3\n"
        b"Requires-Python: <3\nRequires-Dist: not-there\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    data = zip_bytes(members)
    shelf = tmp_path / "wheels"
    shelf.mkdir()
    (shelf / "fake_pkg-1.2.3-py3-none-any.whl").write_bytes(data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    folder = locate(package(data, "pip", "fake-pkg"))
    assert files_under(folder) == members


def test_a_source_archive_of_another_checksum_is_never_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip runs an archive's own code to learn its name: here that code would leave a mark."""
    mark = tmp_path / "was-run"
    setup = f"import pathlib; pathlib.Path({str(mark)!r}).touch()".encode()
    data = tar_bytes({"fake-pkg-1.2.3/setup.py": setup})
    shelf = tmp_path / "sources"
    shelf.mkdir()
    (shelf / "fake-pkg-1.2.3.tar.gz").write_bytes(data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    with pytest.raises(FetchError, match="HASHES"):
        fetch(package(data, "pip", "fake-pkg", sha256="0" * 64, sdist=True))
    assert not mark.exists()


def test_a_wrong_checksum_is_refused(cache: Path, clients: Path, tmp_path: Path) -> None:
    data = tar_bytes(FILES)
    stand_in(clients, "npm", served(tmp_path, data + b"!", "fake.tgz"))
    wanted = package(data)
    with pytest.raises(FetchError, match=f"expected {wanted.sha256}"):
        locate(wanted)
    assert files_under(cache) == {}


def test_a_damaged_cached_archive_is_fetched_again(
    cache: Path, clients: Path, tmp_path: Path
) -> None:
    data = tar_bytes(FILES)
    stand_in(clients, "npm", served(tmp_path, data, "fake.tgz"))
    archive = fetch(package(data))
    archive.write_bytes(bytes(len(data)))
    assert files_under(locate(package(data))) == FILES


def test_offline_says_what_is_missing(
    cache: Path, clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tar_bytes(FILES)
    stand_in(clients, "npm", served(tmp_path, data, "fake.tgz"))
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    wanted = package(data)
    with pytest.raises(FetchError, match="MULTIPLANE_OFFLINE"):
        locate(wanted)
    (cache / "archives").mkdir(parents=True)
    (cache / "archives" / "carried-by-hand.tgz").write_bytes(data)
    assert files_under(locate(wanted)) == FILES


@pytest.mark.parametrize(("registry", "client"), [("npm", "npm"), ("apt", "apt-get")])
def test_a_missing_client_is_named(cache: Path, clients: Path, registry: str, client: str) -> None:
    with pytest.raises(FetchError, match=f"needs {client}.*sha256"):
        fetch(package(b"x", registry, "fake"))


def test_a_failing_client_is_quoted(cache: Path, clients: Path) -> None:
    stand_in(clients, "npm", "print('E404 no such version', file=sys.stderr); sys.exit(1)")
    with pytest.raises(FetchError, match="E404 no such version"):
        fetch(package(b"x"))
    stand_in(clients, "npm", "")
    with pytest.raises(FetchError, match="left nothing"):
        fetch(package(b"x"))


def test_an_archive_that_cannot_be_unpacked_leaves_nothing(
    cache: Path, clients: Path, tmp_path: Path
) -> None:
    data = tar_bytes({"fine": b"1", "../escape": b"2"})
    stand_in(clients, "npm", served(tmp_path, data, "fake.tgz"))
    with pytest.raises(FetchError, match="leads out"):
        locate(package(data))
    assert list((cache / "unpacked").iterdir()) == []


def test_the_list_is_complete_and_consistent() -> None:
    assert len({entry.sha256 for entry in SOURCES.values()}) == len(SOURCES)
    assert len({entry.folder_name for entry in SOURCES.values()}) == len(SOURCES)
    for name, entry in SOURCES.items():
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256), name
        assert entry.size > 1000, name
        assert entry.licence, name
        assert entry.use, name
    assert {name for group in GROUPS.values() for name in group} == set(SOURCES)
    assert all(SOURCES[name].licence_class == "A" for name in GROUPS["training"])
    with pytest.raises(KeyError, match="fluent-emoji-3d"):
        source("nothing")


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path))
    assert fetcher.cache_folder() == tmp_path
    monkeypatch.delenv("MULTIPLANE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetcher.cache_folder() == tmp_path / ".cache" / "multiplane"
