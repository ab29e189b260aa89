"""The cutout evaluation end to end on small scenes, with networks that see the truth or nothing."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multiplane.apps.cli.main import main
from multiplane.core.pixels import to_float
from multiplane.evaluation import cutout_methods
from multiplane.evaluation.bench import Judges
from multiplane.evaluation.cutout import CutoutRun, lines_of
from multiplane.evaluation.cutout_methods import Contest, Method, opencv_completion
from multiplane.evaluation.cutout_scenes import (
    CutoutRecipe,
    CutoutScene,
    Group,
    SceneStock,
    compose,
)
from multiplane.evaluation.cutout_sheets import write_sheets

from .test_cutout_measures import MeanColours
from .test_cutout_scenes import disc

RECIPE = CutoutRecipe(size=64, photographs=3, renders=2)


class _Red:
    """Cuts what is red, which is exactly the objects of these scenes; `blind`: finds nothing."""

    def __init__(self, name: str, blind: bool = False) -> None:
        self.name, self.version, self.blind, self.calls = name, "1", blind, 0

    def cut(self, picture: np.ndarray) -> np.ndarray:
        self.calls += 1
        red = np.clip((picture[..., 0] - picture[..., 2]) / 0.7, 0, 1).astype(np.float32)
        return np.zeros_like(red) if self.blind else red


class StandIns(Judges):
    @cached_property
    def judge(self) -> Any:
        return _Red("isnet")

    @cached_property
    def cutter(self) -> Any:
        return _Red("u2net", blind=True)

    @cached_property
    def features(self) -> Any:
        return MeanColours()


def _scenes(stock: SceneStock) -> Any:
    rng = np.random.default_rng(0)
    groups: tuple[tuple[Group, int], ...] = (
        ("photo", stock.recipe.photographs),
        ("3d", stock.recipe.renders),
    )
    for group, count in groups:
        for index in range(count):
            grey = rng.integers(60, 180, (64, 64, 1), np.uint8).repeat(3, axis=2)
            cutout = disc(24, 10, (230, 30, 30))
            corner = (8 * index + 4, 30)
            yield compose(f"{group}-{index:03d}", group, "a disc", cutout, grey, corner)


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> Contest:
    monkeypatch.setattr(SceneStock, "scenes", _scenes)
    monkeypatch.setattr(
        cutout_methods, "family_completion", lambda method, threads: opencv_completion("ns")
    )
    monkeypatch.setattr(
        cutout_methods.SalientSegmenter, "load", lambda name, threads: _Red(name, name == "u2net")
    )
    return Contest(StandIns(1))


def test_figures_of_a_matte_that_is_right_and_of_one_that_is_empty(
    tmp_path: Path, contest: Contest
) -> None:
    run = CutoutRun(RECIPE, contest, tmp_path)
    found = run.run()
    assert found == json.loads((tmp_path / "cutout.json").read_text("utf-8"))
    groups = found["parts"]["cutout"]
    assert (groups["photo"]["scenes"], groups["3d"]["scenes"]) == (3, 2)
    right, empty = (groups["photo"]["methods"][name] for name in ("multiplane", "u2net + opencv"))
    assert right["mask iou"]["min"] > 0.95
    assert right["missed"] == []
    assert empty["mask iou"]["max"] == 0.0
    assert empty["missed"] == ["photo-000", "photo-001", "photo-002"]
    assert right["alpha mae"]["mean"] < 0.01 < empty["alpha mae"]["mean"]
    known = groups["photo"]["true alpha"]
    own, estimated = (
        known[name]["edge colour error"]["mean"]
        for name in ("picture's own colours", "estimated colours")
    )
    assert estimated < own / 2
    assert empty["edge colour error"]["mean"] == pytest.approx(own)
    assert set(groups["3d"]["completions"]) == {"migan", "diffuse", "telea", "ns"}
    steps = found["seconds"]["steps"]
    assert set(steps["multiplane"]) == {"matte", "edge", "colours", "background"}
    assert set(steps["u2net + opencv"]) == {"matte", "background"}
    text = "\n".join(lines_of(found))
    assert "u2net + opencv: mask IoU median 0.000, mean 0.000, under 0.5: 3" in text
    assert "3d: 2 scenes" in text


def test_a_finished_scene_is_not_measured_again(tmp_path: Path, contest: Contest) -> None:
    CutoutRun(RECIPE, contest, tmp_path, limit=1, groups=("photo",)).run()
    calls = contest.judges.judge.calls  # pyright: ignore[reportAttributeAccessIssue]
    first = CutoutRun(RECIPE, contest, tmp_path, groups=("photo",))
    found = first.run()
    assert contest.judges.judge.calls == 3 * calls  # pyright: ignore[reportAttributeAccessIssue]
    assert found["parts"]["cutout"]["photo"]["scenes"] == 3
    assert CutoutRun(RECIPE, contest, tmp_path, groups=("photo",)).run() == found
    assert contest.judges.judge.calls == 3 * calls  # pyright: ignore[reportAttributeAccessIssue]
    recipe = CutoutRecipe(size=64, photographs=3, renders=2, seed=9)
    other = CutoutRun(recipe, contest, tmp_path, limit=1)
    other.run()  # another recipe: its figures are others'
    assert contest.judges.judge.calls > 3 * calls  # pyright: ignore[reportAttributeAccessIssue]


def test_sheets_show_every_missed_object(tmp_path: Path, contest: Contest) -> None:
    run = CutoutRun(RECIPE, contest, tmp_path)
    written = write_sheets(run, run.run())
    assert [path.name for path in written] == [
        *("cutout-photo.png", "cutout-photo-missed.png", "cutout-3d.png", "cutout-3d-missed.png")
    ]
    assert all(path.stat().st_size > 1000 for path in written)


def test_steps_are_clocked_and_left_out_where_there_are_none() -> None:
    def busy(picture: np.ndarray, matte: np.ndarray) -> np.ndarray:
        return np.sort(np.tile(matte, (40, 40)))[: len(matte), : matte.shape[1]]

    scene: CutoutScene = next(iter(_scenes(SceneStock(RECIPE))))
    picture = to_float(scene.composite)
    made = Method("m", "n", _Red("n").cut, refine=busy)(picture)
    assert set(made.seconds) == {"edge"}
    assert made.seconds["edge"] > 0
    assert made.colours is picture
    assert Method("m", "n", _Red("n").cut)(picture).seconds == {}


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", "cutout", *arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    assert ask()[0] == 2
    code, _, error = ask("-o", str(tmp_path), "--group", "paintings")
    assert (code, "no group is called 'paintings'" in error) == (2, True)
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    code, _, error = ask("-o", str(tmp_path / "out"), "--limit", "1")
    assert code == 1
    assert "multiplane data fetch cutout-scenes cutout judges" in error
