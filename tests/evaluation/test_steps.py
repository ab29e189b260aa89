"""The steps part on a family that gets better with steps and worse with guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multiplane.core.request import LayerRequest, MadePlanes
from multiplane.engine import Model
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.parts import foregrounds, steps
from multiplane.evaluation.prompts import FixedPrompt

from .stage import COLORS, KnowingFamily, SeeingJudges, unmeasured, write_shards

OWN = {"steps": 16, "guidance": 2.5}


class Sampling(KnowingFamily):
    """Below 12 steps every disc is grey; above guidance 3 alpha is half. Counts its pictures."""

    made = 0

    def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
        self.made += 1
        picture = super().make(request, progress).foregrounds[0].copy()
        used = {
            "steps": request.steps or OWN["steps"],
            "guidance": request.guidance if request.guidance is not None else OWN["guidance"],
        }
        if used["steps"] < 12:
            picture[..., :3] = 0.5
        if used["guidance"] > 3:
            picture[..., 3] *= 0.6
        return MadePlanes((picture,), None, None, used)


@pytest.fixture(autouse=True)
def _own_cache_and_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    names = ("red", "blue", "cyan")
    found = [
        FixedPrompt("train", number, f"a {name} disc", name, "a dark plain")
        for number, name in enumerate(names)
    ]
    assert set(names) <= set(COLORS)
    for module in (steps, foregrounds):
        monkeypatch.setattr(module, "fixed_prompts", lambda limit=None: found[:limit])
    monkeypatch.setattr(foregrounds, "TOP", 1)  # of a gallery of six


def bench_of(family: KnowingFamily, folder: Path) -> Bench:
    write_shards(folder / "shards", 1)
    told: Any = family
    recorder = RecordingFamily(told)
    judges: Any = SeeingJudges()
    return Bench(Model(recorder), recorder, folder / "shards", folder, judges)


def test_the_curves_show_where_quality_goes(tmp_path: Path) -> None:
    write_shards(tmp_path / "first", 1)
    family = Sampling(tmp_path / "first")
    bench = bench_of(family, tmp_path)
    foregrounds.run(bench)
    found = steps.run(bench)
    assert found["prompts"] == 3
    assert found["own"] == OWN
    # the own pictures are those of the retrieval part, and those of 16 steps are the own ones
    assert family.made == 3 * (1 + len(steps.STEPS) - 1 + len(steps.GUIDANCE))
    assert unmeasured("steps", found) == []
    by_steps = {int(value): row for value, row in found["steps"].items()}
    assert list(by_steps) == list(steps.STEPS)
    for value, row in by_steps.items():
        assert (row["top5"] == 1.0) == (value >= 12), value
        assert row["seconds"] >= 0
    assert by_steps[4]["kid"] > by_steps[32]["kid"]
    by_guidance = {int(value): row for value, row in found["guidance"].items()}
    assert by_guidance[1]["soft alpha distance"] < 0.1 < by_guidance[5]["soft alpha distance"]
    assert by_guidance[3]["soft alpha distance"] == found["at own"]["soft alpha distance"]
    assert {"steps.png", "steps-guidance.png", "steps.md"} <= {
        path.name for path in tmp_path.iterdir()
    }
    text = (tmp_path / "steps.md").read_text("utf-8")
    assert "| **16** | 100.0% |" in text
    assert text.index("| 2 |") < text.index("| **2.5** |") < text.index("| 3 |")
    lines = "\n".join(lines_of({"parts": {"steps": found}}))
    assert "the weights' own guidance: 2.5" in lines
    assert "steps 32: top-5 100.0%; KID " in lines


def test_options_of_the_run_hold_where_a_curve_does_not_set_them(tmp_path: Path) -> None:
    write_shards(tmp_path / "first", 1)
    seen: set[tuple[int | None, float | None]] = set()

    class Watching(Sampling):
        def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
            seen.add((request.steps, request.guidance))
            return super().make(request, progress)

    bench = bench_of(Watching(tmp_path / "first"), tmp_path)
    bench.options["steps"] = 20
    steps.run(bench)
    assert (20, None) in seen
    assert {(value, None) for value in steps.STEPS} <= seen
    assert {(20, value) for value in steps.GUIDANCE} <= seen


def test_a_family_that_tells_nothing_has_its_own_row_last() -> None:
    row = {
        "top5": 0.5, "kid": None, "kid spread": None, "soft alpha distance": 0.25, "empty": 0,
        "seconds": 1.0,
    }  # fmt: skip
    figures = {
        "own": {"steps": None, "guidance": None},
        "at own": row,
        "steps": {"4": row, "32": row},
        "guidance": {"1": row},
    }
    lines = steps.markdown(figures).splitlines()
    assert lines[2:5] == [
        "| 4 | 50.0% | - | 0.2500 | 1.00 |",
        "| 32 | 50.0% | - | 0.2500 | 1.00 |",
        "| **own** | 50.0% | - | 0.2500 | 1.00 |",
    ]
