"""The materials part on a family that takes words at their word, and on one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multiplane.core.pixels import to_float
from multiplane.core.request import LayerRequest, MadePlanes
from multiplane.engine import Model
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.parts import materials

from .stage import (
    COLORS,
    SIDE,
    KnowingFamily,
    SeeingJudges,
    disc,
    prompts,
    unmeasured,
    write_shards,
)


class Glazier(KnowingFamily):
    """Makes discs; what it hears is of glass, it makes of glass."""

    def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
        words = request.foregrounds[0].prompt
        picture = to_float(disc((0.8, 0.3, 0.2), SIDE * 0.35, SIDE / 2, SIDE / 2))
        if "glass" in words:
            picture = materials.real_in("glass", [picture])[0]
        return MadePlanes((picture,), None, None)


@pytest.fixture(autouse=True)
def _own_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materials, "fixed_prompts", prompts)


def test_glass_that_was_made_is_told_from_glass_that_was_not(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 1)
    told: Any = Glazier(tmp_path / "shards")
    recorder, judges = RecordingFamily(told), SeeingJudges()
    bench = Bench(Model(recorder), recorder, tmp_path / "shards", tmp_path / "out", judges)  # pyright: ignore[reportArgumentType]
    found = materials.run(bench)
    assert found["things"] == len(COLORS)
    plain, glass, glow = (found["materials"][name] for name in ("plain", "glass", "glow"))
    assert plain["see-through, made"]["mean"] == 0.0
    assert glass["see-through, made"]["mean"] > 0.3
    assert glass["see-through, real"]["mean"] > 0.3
    assert glass["soft alpha distance"] < 0.1 < glow["soft alpha distance"]
    assert glow["soft share, real"]["mean"] > 2 * glow["soft share, made"]["mean"]
    assert (tmp_path / "out" / "materials.png").is_file()
    assert unmeasured("materials", found) == []
    lines = list(lines_of({"parts": {"materials": found}}))
    assert [line.split(":")[0].strip() for line in lines] == ["materials", "plain", "glass", "glow"]


def test_nothing_made_has_no_distance() -> None:
    empty = np.zeros((SIDE, SIDE, 4), np.float32)
    real = to_float(disc((0.5, 0.5, 0.5), 8, 16, 16))
    found = materials.figures_of([empty], [real])
    assert (found["empty"], found["soft alpha distance"]) == (1, None)
