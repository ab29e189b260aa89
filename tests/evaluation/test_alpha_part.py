"""The alpha part on families whose faults are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multiplane.core.request import LayerRequest, MadePlanes
from multiplane.data.assets import AssetPool
from multiplane.engine import Model
from multiplane.evaluation.assets import PicturePool
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.parts import alpha, foregrounds

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


class Faulty(KnowingFamily):
    """Makes discs with haze over the canvas, a hole and a white fringe."""

    def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
        picture = super().make(request, progress).foregrounds[0].copy()
        soft = (picture[..., 3] > 0.02) & (picture[..., 3] < 0.98)
        picture[soft, :3] = 1.0
        picture[14:18, 14:18, 3] = 0.2
        picture[:4, :, 3] = 0.1
        return MadePlanes((picture,), None, None)


class Softening(KnowingFamily):
    """Has an autoencoder that thins alpha."""

    def through_autoencoder(self, pictures: np.ndarray) -> np.ndarray:
        return pictures * np.array([1, 1, 1, 0.6], np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, 1)
    return folder


@pytest.fixture(autouse=True)
def _own_cache_and_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    for module in (alpha, foregrounds):
        monkeypatch.setattr(module, "fixed_prompts", prompts)


def bench_of(family: KnowingFamily, shards: Path, out: Path) -> Bench:
    told: Any = family
    recorder = RecordingFamily(told)
    judges: Any = SeeingJudges()
    return Bench(Model(recorder), recorder, shards, out, judges)


def test_planted_faults_stand_beside_clean_assets(shards: Path, tmp_path: Path) -> None:
    found = alpha.run(bench_of(Faulty(shards), shards, tmp_path))
    assert set(found["groups"]) == {"made", "real, same concepts", "real, held out"}
    made = found["groups"]["made"]
    assert made["pictures"] == made["residue, max"]["n"] == len(COLORS)
    assert made["residue, max"]["mean"] == pytest.approx(0.1, abs=1 / 255)
    assert made["residue, share"]["min"] > 0.1
    assert made["holes"]["min"] > 0.05
    assert made["halo, lightness"]["min"] > 0.05
    for name in ("real, same concepts", "real, held out"):
        real = found["groups"][name]
        assert real["residue, max"]["max"] == 0.0
        assert real["holes"]["max"] == 0.0
        assert made["halo"]["mean"] > 10 * real["halo"]["mean"]
    assert (tmp_path / "alpha.png").is_file()
    lines = list(lines_of({"parts": {"alpha": found}}))
    assert lines[0] == "alpha"
    assert lines[1].startswith("  made: residue mean 0.0")
    assert lines[2].startswith("  made: halo 0.")


def test_an_empty_picture_is_counted_and_has_no_faults(shards: Path, tmp_path: Path) -> None:
    picture = np.zeros((SIDE, SIDE, 4), np.float32)
    found = alpha.faults_of([picture], np.eye(1, 13)[0])
    assert found["empty"] == found["pictures"] == 1
    assert found["halo"] == found["holes"] == found["residue, max"] == {}
    assert found["soft alpha distance"] is None
    assert "halo -, lightness -" in "\n".join(
        lines_of({"parts": {"alpha": {"groups": {"made": found}, "see-through": {"concepts": 0}}}})
    )


def test_the_autoencoder_has_its_own_figures(shards: Path, tmp_path: Path) -> None:
    found = alpha.run(bench_of(Softening(shards), shards, tmp_path))
    through = found["groups"]["held out, encoded and decoded"]
    assert through["soft share"]["min"] == 1.0
    assert found["groups"]["real, held out"]["soft share"]["max"] < 0.5
    assert set(unmeasured("alpha", found)) == {
        # without a solid pixel there is no halo, without glass nothing to see through
        "groups/held out, encoded and decoded/halo/mean",
        "groups/held out, encoded and decoded/halo, lightness/mean",
        "see-through/made/soft share/mean",
        "see-through/made/see-through share/mean",
    }


def test_retrieval_and_alpha_look_at_the_same_pictures(shards: Path, tmp_path: Path) -> None:
    family = KnowingFamily(shards)
    calls: list[int] = []
    make = family.make

    def counted(request: LayerRequest, progress: Any = None) -> MadePlanes:
        calls.append(request.seed)
        return make(request, progress)

    family.make = counted
    bench = bench_of(family, shards, tmp_path)
    foregrounds.run(bench)
    assert len(calls) == len(COLORS)
    alpha.run(bench)
    assert len(calls) == len(set(calls)) == len(COLORS)


def pool_of(pictures: list[np.ndarray], concepts: list[str], roots: list[str]) -> PicturePool:
    count = len(pictures)
    return PicturePool(
        AssetPool(
            pixels=np.stack([picture.transpose(2, 0, 1) for picture in pictures]),
            keys=concepts,
            captions=[[f"a {concept}"] for concept in concepts],
            concepts=concepts,
            roots=roots,
            groups=["things"] * count,
            styles=["3d"] * count,
            weights=np.ones(count, np.float32),
        )
    )


def test_see_through_concepts_are_ranked_one_a_root() -> None:
    def glass(radius: int, opacity: int) -> np.ndarray:
        picture = disc((0.5, 0.7, 0.9), 12, 16, 16)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        picture[np.hypot(rows - 16, columns - 16) < radius, 3] = opacity
        return picture

    pictures = [glass(0, 0), glass(6, 90), glass(9, 90), glass(8, 120), glass(2, 90)]
    concepts = ["stone", "bowl", "tall glass", "bubble", "lamp"]
    pool = pool_of(pictures, concepts, ["stone", "bowl", "glass", "glass", "lamp"])
    found = alpha.see_through_concepts(pool, 10)
    assert [each.concept for each in found] == ["tall glass", "bowl"]  # a lamp's spot is too small
    assert found[0].words == "a tall glass"
    assert [each.concept for each in alpha.see_through_concepts(pool, 1)] == ["tall glass"]
    made = [pool.picture(0), pool.picture(1)]
    told = alpha.see_through_figures(found, made, [pool.picture(2), pool.picture(1)])
    assert told["made"]["see-through share"]["min"] == 0.0
    assert told["each"]["bowl"]["made"] == told["each"]["bowl"]["real"] > 0.05
    assert told["real"]["see-through share"]["mean"] > told["made"]["see-through share"]["mean"]


def test_backdrops_show_through() -> None:
    picture = np.zeros((24, 24, 4), np.float32)
    picture[:12] = (1.0, 1.0, 1.0, 0.5)
    for name, color in alpha.BACKDROPS.items():
        shown = alpha.on_backdrop(picture, name)
        assert np.allclose(shown[20, 5], color)
        assert np.allclose(shown[3, 5], (np.array(color) + 1) / 2)
    assert len(np.unique(alpha.on_backdrop(picture, "checkerboard")[12:].round(2))) == 2
