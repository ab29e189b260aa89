"""The whole suite on a family that knows the truth, and on one that is wrong in a known way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multiplane.core.request import TASK_TABLE
from multiplane.engine import Model
from multiplane.evaluation import prompts as prompts_module
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.entries import parts_named
from multiplane.evaluation.folder import score_folder
from multiplane.evaluation.parts import (
    control,
    foregrounds,
    inpainting,
    iterative,
    native,
    rows,
    speed,
)
from multiplane.evaluation.suite import collect, run_suite, setting_of
from multiplane.io import planes

from .stage import COLORS, SIDE, KnowingFamily, SeeingJudges, prompts, unmeasured, write_shards

SCENES = 6


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, SCENES)
    return folder


@pytest.fixture(autouse=True)
def _own_cache_and_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    for module in (foregrounds, native):
        monkeypatch.setattr(module, "fixed_prompts", prompts)
    monkeypatch.setattr(iterative, "fixed_prompts", prompts)


def _bench(shards: Path, out: Path, composite_error: float = 0.0, **changes: Any) -> Bench:
    family = RecordingFamily(KnowingFamily(shards, composite_error))
    judges: Any = SeeingJudges()
    return replace(Bench(Model(family), family, shards, out, judges), **changes)


def test_rows_of_a_family_that_knows_are_perfect(shards: Path, tmp_path: Path) -> None:
    found = rows.run(_bench(shards, tmp_path))
    assert found["scenes"] == SCENES
    assert list(found["rows"]) == [str(task) for task in TASK_TABLE]
    for name, figures in found["rows"].items():
        assert figures["after, 255ths"]["max"] <= 1.0, name
        if "before" in figures:
            # the truth is stored in 8 bits: half a step each
            assert figures["before"]["max"]["max"] <= 0.51 / 255, name
    apart = found["rows"]["composite -> foreground background"]
    assert apart["foreground"]["mask iou"]["min"] == 1.0
    assert apart["foreground"]["alpha mae"]["max"] == 0.0
    assert apart["background"]["psnr behind the foreground"]["min"] == 100.0
    assert apart["to the given composite, 255ths"]["max"] <= 1.0
    given = found["rows"]["foreground -> background composite"]
    assert given["given planes unchanged"] == 1.0
    assert sorted(path.name for path in tmp_path.glob("rows-*.png"))[0].startswith("rows-")
    assert len(list(tmp_path.glob("rows-*.png"))) == len(TASK_TABLE)


def test_a_wrong_composite_is_reported_before_and_gone_after(shards: Path, tmp_path: Path) -> None:
    found = rows.run(_bench(shards, tmp_path, composite_error=0.1, limit=3))
    figures = found["rows"]["-> foreground background composite"]
    assert figures["before"]["max"]["mean"] == pytest.approx(0.1, abs=0.003)
    assert figures["before"]["mean"]["mean"] == pytest.approx(0.1 / 3, abs=0.002)
    assert figures["before"]["psnr"]["mean"] == pytest.approx(-10 * np.log10(0.01 / 3), abs=0.3)
    assert figures["after, 255ths"]["max"] <= 1.0


def test_foregrounds_are_found_and_counted(shards: Path, tmp_path: Path) -> None:
    found = foregrounds.run(_bench(shards, tmp_path))
    assert found["pictures"] == len(COLORS)
    retrieval = found["retrieval"]
    assert retrieval["gallery"] == len(COLORS)
    assert retrieval["all"]["top5"] == retrieval["all"]["ceiling"] == 1.0
    assert retrieval["all"]["floor"] == pytest.approx(5 / 6)
    assert retrieval["found"]["train-00"]["nearest"][0] == "red"
    # a disc of the same colour lies nearer to its training disc than any other colour does
    assert found["copying"]["rate"] == 1.0
    assert found["copying"]["nearest"]["train-02"]["asset"] == "foreground-train-blue"
    assert found["empty"] == 0
    assert found["soft alpha"]["distance of made to real"] < 0.1
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "foregrounds-train.png",
        "foregrounds-nearest.png",
    }


def test_silhouettes_that_are_followed_overlap_whole(shards: Path, tmp_path: Path) -> None:
    found = control.run(_bench(shards, tmp_path, limit=4))
    assert found["silhouettes"] == 4
    for words in ("own words", "other words"):
        assert found[words]["mask iou"]["min"] == 1.0
        assert found[words]["soft iou"]["min"] > 0.99


def test_native_planes_that_match_their_picture_reach_the_ceiling(
    shards: Path, tmp_path: Path
) -> None:
    found = native.run(_bench(shards, tmp_path, limit=4))
    assert found["prompts"] == 4
    assert found["judge on real scenes"]["mean"] > 0.9
    for name in ("native", "cut"):
        assert found[name]["mask iou with the judge"]["mean"] > 0.9
        assert found[name]["retrieval"]["top5"] == 1.0
        assert found[name]["judge found nothing"] == 0
    shadowed = found["like real scenes"]
    assert shadowed["scenes"] == 4
    assert shadowed["native"]["soft alpha distance"] < shadowed["cut"]["soft alpha distance"]
    # the cutter's matte is hard, the family's has a soft edge
    assert found["cut"]["soft alpha"]["soft share, made"]["max"] == 0.0
    assert found["native"]["soft alpha"]["soft share, made"]["min"] > 0.0


def test_layers_stay_and_inpainting_keeps_what_it_should(shards: Path, tmp_path: Path) -> None:
    layered = iterative.run(_bench(shards, tmp_path, limit=2))
    assert layered["scenes"] == 2
    assert layered["earlier layers unchanged"] == 1.0
    assert layered["empty layers"] == 0
    assert layered["after, 255ths"]["max"] <= 1.0
    painted = inpainting.run(_bench(shards, tmp_path, limit=4))
    assert painted["kept part unchanged"] == 1.0
    assert painted["mask iou with the real half"]["min"] > 0.7


def test_seams_are_seen() -> None:
    smooth = np.zeros((16, 16, 4), np.float32)
    smooth[..., :3] = np.linspace(0, 1, 16)[:, None, None]
    smooth[..., 3] = 1.0
    assert inpainting.seam(smooth, "top") == pytest.approx(0.0, abs=1e-6)
    broken = smooth.copy()
    broken[8:, :, :3] = np.clip(broken[8:, :, :3] + 0.3, 0, 1)
    assert inpainting.seam(broken, "top") > 0.2
    assert inpainting.seam(broken.transpose(1, 0, 2), "left") > 0.2
    assert inpainting.half_mask(16, "bottom")[8:].min() == 255
    assert inpainting.half_mask(16, "right")[:, :8].max() == 0


def test_speed_names_what_the_weights_cannot_do(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KnowingFamily, "tasks", frozenset(TASK_TABLE))
    found = speed.run(_bench(shards, tmp_path))
    assert found["left out"] == ["without the composite plane"]
    three = found["cases"]["three planes"]
    assert three["seconds"] > 0
    assert sum(three["stages"].values()) == pytest.approx(three["seconds"], rel=0.7)
    assert three["stages"]["file"] > 0


def test_a_finished_part_is_not_run_again(shards: Path, tmp_path: Path) -> None:
    reported: list[str] = []

    def report(part: str, done: int, total: int) -> None:
        reported.append(part)

    bench = _bench(shards, tmp_path, limit=2, report=report)
    parts = parts_named(["control", "inpainting"])
    first = run_suite(bench, parts)
    assert set(reported) == {"control", "inpainting"}
    reported.clear()
    assert run_suite(bench, parts) == first
    assert reported == []
    (tmp_path / "control.json").write_text("{ torn")
    assert run_suite(bench, parts)["parts"].keys() == first["parts"].keys()
    assert set(reported) == {"control"}
    reported.clear()
    run_suite(bench, parts, fresh=True)
    assert set(reported) == {"control", "inpainting"}
    other = replace(bench, weights="others")
    assert collect(tmp_path, setting_of(other))["parts"] == {}
    assert json.loads((tmp_path / "control.json").read_text())["figures"]["silhouettes"] == 2


def test_the_digest_tells_every_part(shards: Path, tmp_path: Path) -> None:
    names = ["retrieval", "rows", "control", "native", "iterative", "inpainting", "speed"]
    found = run_suite(_bench(shards, tmp_path, limit=2), parts_named(names))
    text = "\n".join(lines_of(found))
    for line in (
        "top-5, all: 100.0% of 2; real assets 100.0%, chance 83.33%: 100% of the ceiling",
        "-> composite: after 0.00/255 at most",
        "mask iou with the silhouette, own words: 1.000 (1.000 to 1.000, n = 2)",
        "earlier layers unchanged: 100%; 0 of 10 layers empty",
        "kept part unchanged: 100%",
        "one plane: ",
    ):
        assert line in text, line
    for name in names:
        assert unmeasured(name, found["parts"][name]) == []


def test_unknown_parts_are_named() -> None:
    with pytest.raises(ValueError, match="called 'sped'; there are all, speed"):
        parts_named(["rows", "sped"])
    assert [entry.name for entry in parts_named(["rows", "speed"])] == ["speed", "rows"]


def test_a_folder_of_planes_is_scored_against_the_truth(shards: Path, tmp_path: Path) -> None:
    bench = _bench(shards, tmp_path)
    made = tmp_path / "made"
    for scene in bench.scenes(3):
        folder = made / scene.key
        folder.mkdir(parents=True)
        for kind in ("foreground", "background", "composite"):
            Image.fromarray(scene.plane(kind)).save(folder / f"{kind}.png")
    halved = np.asarray(Image.open(made / "scene-0001" / "foreground.png")).copy()
    halved[..., 3] //= 2
    Image.fromarray(halved).save(made / "scene-0001" / "foreground.png")
    judges: Any = SeeingJudges()
    found = score_folder(made, shards, tmp_path / "out", judges, bench.report)["parts"]["planes"]
    assert found["pictures"] == 3
    truth = found["against truth"]
    assert truth["scenes"] == 3
    assert truth["foreground"]["soft iou"]["max"] == 1.0
    assert truth["foreground"]["soft iou"]["min"] == pytest.approx(0.5, abs=0.01)
    assert truth["background"]["psnr"]["min"] == 100.0
    apart = found["composite against over(foreground, background)"]
    assert apart["max, 255ths"]["min"] <= 0.51
    assert apart["max, 255ths"]["max"] > 50
    assert (tmp_path / "out" / "planes.json").is_file()
    lines = list(lines_of({"parts": {"planes": found}}))
    assert lines[0] == "planes"
    assert "  true foreground: soft iou 0.833 (0.498 to 1.000, n = 3)" in lines


def test_written_documents_are_scored_like_loose_planes(shards: Path, tmp_path: Path) -> None:
    bench = _bench(shards, tmp_path)
    scene = bench.scenes(1)[0]
    from multiplane.evaluation.scenes import request_for

    document, _, _ = bench.run(request_for(scene, TASK_TABLE[1], 0, "knowing"))
    planes.write(document, tmp_path / "made" / scene.key)
    judges: Any = SeeingJudges()
    found = score_folder(tmp_path / "made", shards, tmp_path / "out", judges, bench.report)
    assert found["parts"]["planes"]["against truth"]["foreground"]["mask iou"]["min"] == 1.0
    with pytest.raises(FileNotFoundError, match="no planes in"):
        score_folder(shards, shards, tmp_path / "out", judges, bench.report)


def test_the_fixed_prompts_are_the_committed_ones() -> None:
    found = prompts_module.fixed_prompts()
    counts = {each: sum(prompt.set == each for prompt in found) for each in prompts_module.SETS}
    assert counts == {"train": 64, "heldout": 16, "combined": 16}
    assert all(prompt.concept and prompt.background for prompt in found)
    few = prompts_module.fixed_prompts(12)
    assert [prompt.set for prompt in few] == ["train"] * 8 + ["heldout"] * 2 + ["combined"] * 2
    assert found[:8] == few[:8]
    assert SIDE == 32
