from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from multiplane.training import checkpoint


def saved(folder: Path, step: int, value: float = 1.0) -> Path:
    return checkpoint.save(folder, step, {"weight": torch.full((2,), value)}, {"config": {"a": 1}})


def test_what_is_saved_comes_back_with_its_step(tmp_path: Path) -> None:
    path = saved(tmp_path / "run", 7, 3.0)
    assert checkpoint.newest(tmp_path / "run") == path
    assert checkpoint.load(path)["weight"].tolist() == [3.0, 3.0]
    meta = json.loads((path / checkpoint.META).read_text())
    assert meta == {"config": {"a": 1}, "step": 7}


def test_the_newest_two_are_kept_by_number(tmp_path: Path) -> None:
    for step in (5, 90, 1000, 12000):
        saved(tmp_path, step)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-0001000", "step-0012000"]


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_one_cut_short_is_not_seen_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies in the middle of the second: the first still is the newest, and whole."""
    first = saved(tmp_path, 1)

    def dies(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            saved(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2  # the first and what is left of the second
    assert checkpoint.newest(tmp_path) == first
    assert checkpoint.load(first)["weight"].tolist() == [1.0, 1.0]
    again = saved(tmp_path, 2, 5.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, again.name]
    assert checkpoint.load(again)["weight"].tolist() == [5.0, 5.0]


def test_a_step_saved_twice_holds_the_later_one(tmp_path: Path) -> None:
    saved(tmp_path, 3, 1.0)
    assert checkpoint.load(saved(tmp_path, 3, 2.0))["weight"].tolist() == [2.0, 2.0]
