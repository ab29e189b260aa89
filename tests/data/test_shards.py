"""Shards: readable by others, the same bytes every time, finished or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from multiplane.data.shards import BrokenSource, finished_shard, read_shard, write_shard

SAMPLES = {"a": {"json": b"{}", "composite.png": b"123"}, "b": {"json": b"[]", "webp": b"x" * 999}}


def samples():
    def broken() -> list[tuple[str, bytes]]:
        raise BrokenSource("cut short")

    made = [
        (key, lambda members=members: list(members.items())) for key, members in SAMPLES.items()
    ]
    return [made[0], ("bad", broken), made[1]]


def written(folder: Path, plan: str = "p"):
    return write_shard(folder, "x.tar", samples(), plan=plan, about={"kind": "foreground"})


def test_round_trip_and_note(tmp_path: Path) -> None:
    note = written(tmp_path)
    assert dict(read_shard(tmp_path / "x.tar")) == SAMPLES
    assert note.count == 2
    assert note.skipped == (("bad", "cut short"),)
    assert note.sha256 == hashlib.sha256((tmp_path / "x.tar").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "x.tar.json").read_text())["sha256"] == note.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar", "x.tar.json"]


def test_webdataset_reads_it(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    written(tmp_path)
    found = {
        sample["__key__"]: {k: v for k, v in sample.items() if not k.startswith("__")}
        for sample in webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False)
    }
    assert found == SAMPLES


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "other")
    assert one == other
    assert (tmp_path / "one/x.tar").read_bytes() == (tmp_path / "other/x.tar").read_bytes()


def test_only_a_whole_shard_of_the_same_plan_is_finished(tmp_path: Path) -> None:
    note = written(tmp_path)
    assert finished_shard(tmp_path, "x.tar", "p") == note
    assert finished_shard(tmp_path, "x.tar", "another plan") is None
    assert finished_shard(tmp_path, "y.tar", "p") is None
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[:-512])
    assert finished_shard(tmp_path, "x.tar", "p") is None


def test_a_failure_leaves_no_shard(tmp_path: Path) -> None:
    def fails() -> list[tuple[str, bytes]]:
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path, "x.tar", [("a", fails)], plan="p", about={})
    assert list(tmp_path.iterdir()) == []
