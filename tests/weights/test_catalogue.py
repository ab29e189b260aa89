"""Networks listed, got and verified: embedded, as packages, on the hub."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from made_archives import tar_bytes
from multiplane.weights import catalogue, fetch, hub
from multiplane.weights.catalogue import EMBEDDED, Embedded, get, network_folder, verify
from multiplane.weights.fetch import FetchError, Package
from multiplane.weights.hub import HubError, HubFile
from multiplane.weights.offline import offline, working_offline
from multiplane.weights.sources import SOURCES

FILES = {"package/dist/net.onnx": b"network" * 50, "package/readme": b"read me"}
ARCHIVE = tar_bytes(FILES)
NET = hashlib.sha256(FILES["package/dist/net.onnx"]).hexdigest()
PACKAGE = Package(
    registry="npm",
    name="@scope/net",
    version="1.0.0",
    sha256=hashlib.sha256(ARCHIVE).hexdigest(),
    size=len(ARCHIVE),
    licence="MIT",
    licence_class="A",
    use="tests",
    kind="weights",
)
ON_HUB = HubFile("owner/net", "net.onnx", NET)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the archive of the package `net`, and nothing unpacked."""
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    monkeypatch.setitem(SOURCES, "net", PACKAGE)
    archives = tmp_path / "cache" / "archives"
    archives.mkdir(parents=True)
    (archives / "net.tgz").write_bytes(ARCHIVE)
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A hub: what is put into it is what it serves; it keeps files as the real cache does."""
    shelf: dict[str, bytes] = {}

    def download(repository: str, filename: str, local_files_only: bool) -> str:
        if filename not in shelf:
            raise LocalEntryNotFoundError("the hub is out of reach")
        blob = tmp_path / "hub" / hashlib.sha256(shelf[filename]).hexdigest()
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(shelf[filename])
        link = tmp_path / "hub" / "snapshot" / filename
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        return str(link)

    def kept(repository: str, filename: str) -> str | None:
        link = tmp_path / "hub" / "snapshot" / filename
        return str(link) if link.exists() else None

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", kept)
    return shelf


def test_the_embedded_networks_are_whole_and_none_is_without_a_checksum() -> None:
    folders = {path for path in EMBEDDED[0].folder.parent.iterdir() if path.is_dir()}
    assert {item.folder for item in EMBEDDED} == {path for path in folders if any(path.iterdir())}
    for item in EMBEDDED:
        finding = verify(item.name)
        assert finding is not None
        assert finding.problem == ""
        networks = {
            path.relative_to(item.folder).as_posix()
            for path in item.folder.rglob("*")
            if path.suffix in (".safetensors", ".onnx", ".json")
        }
        assert networks == set(item.checksums())
        assert get(item.name) == item.folder


def test_a_damaged_embedded_file_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EMBEDDED[1]
    shutil.copytree(real.folder, tmp_path / "copy")
    monkeypatch.setattr(Embedded, "folder", tmp_path / "copy")
    assert verify(real.name) is not None
    (tmp_path / "copy" / "u2netp.onnx").write_bytes(b"short")
    finding = verify(real.name)
    assert finding is not None
    assert "damaged" in finding.problem
    assert "u2netp.onnx; install multiplane again" in finding.problem


def test_a_package_is_listed_got_and_verified(cache: Path) -> None:
    entry = next(entry for entry in catalogue.catalogue() if entry.name == "net")
    assert entry.kept == cache / "archives" / "net.tgz"
    folder = get("net")
    assert (folder / "dist" / "net.onnx").read_bytes() == FILES["package/dist/net.onnx"]
    finding = verify("net")
    assert finding is not None
    assert (finding.checked, finding.problem) == (2, "")
    assert not list((cache / "unpacked").glob(".verify-*"))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_to_an_unpacked_file_is_found(cache: Path, damage: str) -> None:
    network = get("net") / "dist" / "net.onnx"
    if damage == "changed":
        network.write_bytes(b"NETWORK" + network.read_bytes()[7:])  # of the same length
    else:
        network.unlink()
    finding = verify("net")
    assert finding is not None
    assert "package/dist/net.onnx; remove" in finding.problem
    assert "multiplane weights get net" in finding.problem
    shutil.rmtree(fetch.unpacked_folder(PACKAGE))  # what it says to do
    get("net")
    again = verify("net")
    assert again is not None
    assert again.problem == ""


def test_a_package_without_its_archive_cannot_be_checked_and_says_so(cache: Path) -> None:
    get("net")
    (cache / "archives" / "net.tgz").write_bytes(b"damaged")
    finding = verify("net")
    assert finding is not None
    assert "its archive is gone or damaged" in finding.problem


def test_what_is_not_here_is_not_verified(cache: Path) -> None:
    (cache / "archives" / "net.tgz").unlink()
    assert verify("net") is None
    with pytest.raises(FetchError, match="MULTIPLANE_OFFLINE"):
        get("net")
    with pytest.raises(KeyError, match="no weights are called 'nothing'; there are tiny"):
        verify("nothing")


def test_the_hub_comes_first_and_the_package_where_it_is_out_of_reach(
    cache: Path, served: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "net", replace(PACKAGE, hub=(ON_HUB,)))
    served["net.onnx"] = FILES["package/dist/net.onnx"]
    folder = network_folder("net")
    assert folder.name == "snapshot"
    assert (folder / "net.onnx").read_bytes() == served["net.onnx"]
    served.clear()
    folder = network_folder("net")
    assert folder == fetch.unpacked_folder(PACKAGE) / "package" / "dist"
    assert (folder / "net.onnx").is_file()


def test_other_bytes_on_the_hub_are_refused(
    cache: Path,
    served: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    served["net.onnx"] = b"something else"
    with pytest.raises(HubError, match=f"expected {NET}: it is refused"):
        hub.download(ON_HUB)
    monkeypatch.setitem(SOURCES, "net", replace(PACKAGE, hub=(ON_HUB,)))
    assert network_folder("net").name == "dist"  # the package, whose bytes are known
    assert "refused" in caplog.text


def test_a_file_of_the_hub_is_held_to_the_name_it_is_kept_under(served: dict[str, bytes]) -> None:
    name = "vae_transparent_encoder"
    file = catalogue.PUBLISHED[name].filename
    assert verify(name) is None
    with pytest.raises(HubError, match="out of reach"):
        get(name)
    served[file] = b"tensors"
    path = get(name)
    whole = verify(name)
    assert whole is not None
    assert (whole.checked, whole.problem) == (1, "")
    path.resolve().write_bytes(b"TENSORS")
    damaged = verify(name)
    assert damaged is not None
    assert str(path.resolve()) in damaged.problem


def test_the_offline_switch_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTIPLANE_OFFLINE", raising=False)
    with working_offline():
        assert offline()
    assert not offline()
    with working_offline(False):
        assert not offline()
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "0")
    with working_offline():
        assert offline()
    assert not offline()
