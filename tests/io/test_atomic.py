"""Files appear whole or not at all, also when several processes write one name."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from io_documents import layer_of
from multiplane import io
from multiplane.core.document import LayerDocument
from multiplane.io import atomic, ora, psd


def test_what_was_there_survives_a_write_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic.replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made_and_links_are_written_through(tmp_path: Path) -> None:
    real = tmp_path / "deep" / "er" / "real.bin"
    atomic.write_bytes(real, b"1")
    link = tmp_path / "link.bin"
    link.symlink_to(real)
    atomic.write_bytes(link, b"2")
    assert link.is_symlink()
    assert real.read_bytes() == b"2"


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="name a file"):
        atomic.write_bytes(tmp_path, b"")


def test_the_longest_names_work(tmp_path: Path) -> None:
    for name in ("x" * 255, "图" * 85):
        atomic.write_bytes(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_files_get_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def write_many(folder: str, seed: int) -> None:
    for name in ("a.psd", "a.ora", "a.png"):
        layer = layer_of(30, 20, seed=seed)
        io.write(LayerDocument((30, 20), (layer,)), Path(folder) / name)


def test_writers_of_one_name_never_mix(tmp_path: Path) -> None:
    hashes = {layer_of(30, 20, seed=seed).content_hash for seed in range(6)}
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(write_many, [str(tmp_path)] * 6, range(6)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_many, [str(tmp_path)] * 6, range(6)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ora", "a.png", "a.psd"]
    for file in tmp_path.iterdir():
        assert io.read(file).leaves()[0].content_hash in hashes


@pytest.mark.parametrize("name", ["a.psd", "a.ora"])
def test_a_document_that_fails_half_way_leaves_the_old_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    io.write(LayerDocument((4, 4), (layer_of(4, 4),)), path)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(psd.Container, "write", full_disk)
    monkeypatch.setattr(ora.png, "encode", full_disk)
    with pytest.raises(OSError, match="No space"):
        io.write(LayerDocument((9, 9), (layer_of(9, 9),)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
