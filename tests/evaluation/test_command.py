"""`multiplane evaluate` from the command line: what it is asked wrongly, and a folder scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.apps.cli.main import main
from multiplane.evaluation import bench

from .stage import SeeingJudges, disc, write_shards


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *arguments])
    return int(left.value.code or 0)


def test_missing_shards_and_unknown_parts_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("-o", str(tmp_path / "out"), "--shards", str(tmp_path)) == 1
    assert "multiplane data build tiny -o" in capsys.readouterr().err
    assert _run("-o", str(tmp_path / "out"), "--suite", "row") == 1
    assert "no part of the suite is called 'row'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_judges_that_cannot_be_had_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    write_shards(tmp_path / "shards", 1)
    _write_planes(tmp_path / "made" / "one")
    code = _run(
        "-o", str(tmp_path / "out"), "--shards", str(tmp_path / "shards"),
        "--planes", str(tmp_path / "made"),
    )  # fmt: skip
    message = capsys.readouterr().err
    assert code == 1
    assert "efficientnet-lite0" in message
    assert "multiplane data fetch judges" in message


def test_a_folder_is_scored_and_printed_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench.Judges, "features", SeeingJudges.features)
    monkeypatch.setattr(bench.Judges, "judge", SeeingJudges.judge)
    write_shards(tmp_path / "shards", 1)
    _write_planes(tmp_path / "made" / "one")
    code = _run(
        "-o", str(tmp_path / "out"), "--shards", str(tmp_path / "shards"),
        "--planes", str(tmp_path / "made"), "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["planes"]["pictures"] == 1
    assert json.loads((tmp_path / "out" / "planes.json").read_text()) == found
    assert np.asarray(Image.open(tmp_path / "out" / "planes.png")).ndim == 3


def _write_planes(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.fromarray(disc((0.9, 0.2, 0.1), 9, 16, 16)).save(folder / "foreground.png")
