"""Layer pairs: each plane from the one before, and shards that survive whatever happens."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flat_family import CutOnlyFamily, FlatFamily, color_of
from multiplane.core.request import LayerRequest, RequestError
from multiplane.data import kept_records
from multiplane.data.kept_records import MAX_FAILURES, TooManyFailures
from multiplane.data.layer_pairs import (
    LayerPair,
    PairConfig,
    Score,
    check_foreground,
    eroded,
    make_pair,
    set_down,
)
from multiplane.data.pair_shards import PairJob, build_pairs
from multiplane.data.pictures import disagreement
from multiplane.data.prompt_lists import BadPrompt, ScenePrompt
from multiplane.data.shards import BrokenSource, read_shard

PROMPT = ScenePrompt("a cat", "a cat in a garden", "a garden", "cat", "cat")
CONFIG = PairConfig(erode=2, steps=1)


def triples(count: int) -> list[ScenePrompt]:
    return [
        ScenePrompt(f"a cat {n}", f"a cat {n} in a garden", "a garden", f"cat-{n}", "cat")
        for n in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), pixels=st.integers(0, 9), share=st.floats(0.5, 0.99))
def test_erosion_is_that_of_scipy(seed: int, pixels: int, share: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(seed).random((13, 17)) < share
    square = np.ones((2 * pixels + 1, 2 * pixels + 1))
    truth = ndimage.binary_erosion(mask, square, border_value=1)
    np.testing.assert_array_equal(eroded(mask, pixels), truth)


def test_each_plane_goes_by_the_one_before() -> None:
    """The flat family paints one colour a prompt, so every pixel tells where it came from."""
    config = PairConfig(erode=3, steps=1)
    pair = make_pair(FlatFamily(), PROMPT, 11, config)
    alpha = pair.foreground[..., 3] / 255.0
    solid = alpha >= config.solid
    np.testing.assert_array_equal(pair.composite[solid], pair.foreground[solid][:, :3])
    garden = np.round(color_of("a cat in a garden") * 255)
    assert np.abs(pair.composite[~solid] - garden).max() <= 1
    kept = eroded(alpha <= config.clear, 3)
    assert 0 < kept.sum() < (alpha <= config.clear).sum()
    np.testing.assert_array_equal(pair.background[kept], pair.composite[kept])
    assert np.abs(pair.background[~kept] - color_of("a garden") * 255).max() <= 1


def test_by_planes_the_family_makes_the_rest_in_one_request() -> None:
    family = FlatFamily()
    pair = make_pair(family, PROMPT, 11, PairConfig(road="planes", steps=1))
    first, second = family.requests
    assert second.foregrounds[0].state == "given"
    assert (second.background.prompt, second.composite.prompt) == (
        "a garden",
        "a cat in a garden",
    )
    ramp = np.linspace(-0.2, 0.2, first.size[1])[:, None, None] * 255  # pyright: ignore
    assert np.abs(pair.background - color_of("a garden") * 255 - ramp).max() < 8
    alpha = pair.foreground[..., 3:] / 255.0
    truth = pair.foreground[..., :3] * alpha + pair.background * (1 - alpha)
    assert np.abs(truth - pair.composite).max() <= 0.51
    assert disagreement(pair.foreground, pair.background, pair.composite)["max"] <= 0.51


def test_the_same_seed_is_the_same_pair() -> None:
    one, same, other = (make_pair(FlatFamily(), PROMPT, seed, CONFIG) for seed in (1, 1, 2))
    for plane in ("foreground", "background", "composite"):
        np.testing.assert_array_equal(getattr(one, plane), getattr(same, plane))
    assert (one.foreground != other.foreground).any()


def test_each_step_has_a_seed_of_its_own() -> None:
    family = FlatFamily()
    make_pair(family, PROMPT, 5, CONFIG)
    assert len({request.seed for request in family.requests}) == 3
    prompts = [request.foregrounds[0].prompt for request in family.requests[:1]]
    prompts += [request.composite.prompt for request in family.requests[1:]]
    assert prompts == ["a cat", "a cat in a garden", "a garden"]


def test_a_foreground_of_no_use_is_left_out() -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    full = np.full((20, 20, 4), 255, np.uint8)
    ghost = np.full((20, 20, 4), 90, np.uint8)
    ghost[:5, :, 3] = 0
    for pixels, said in ((clear, "nothing visible"), (full, "no transparency"), (ghost, "nothing")):
        with pytest.raises(BrokenSource, match=said):
            check_foreground(pixels, CONFIG)
    good = full.copy()
    good[:2] = 0
    check_foreground(good, CONFIG)


def test_no_surroundings_are_no_pair() -> None:
    config = PairConfig(erode=40, steps=1)
    with pytest.raises(BrokenSource, match="no surroundings"):
        make_pair(FlatFamily(), PROMPT, 0, config)
    with pytest.raises(BrokenSource, match="three prompts"):
        make_pair(FlatFamily(), ScenePrompt("a cat"), 0, CONFIG)


def test_an_object_is_set_down_smaller_and_whole() -> None:
    plane = np.zeros((40, 60, 4), np.uint8)
    plane[5:35, 10:50] = (200, 100, 50, 255)
    assert set_down(plane, (1.0, 1.0), 3) is plane
    for seed in range(20):
        small = set_down(plane, (0.5, 0.5), seed)
        assert small.shape == plane.shape
        assert small[..., 3].sum() / 255 == pytest.approx(30 * 40 / 4, rel=0.02)
        assert (small[small[..., 3] == 255][:, :3] == (200, 100, 50)).all()
        rows = np.flatnonzero(small[..., 3].any(axis=1))
        assert rows[-1] > 25  # near the ground


@pytest.mark.parametrize(
    "wrong",
    [
        {"erode": -1},
        {"scale": (0.0, 1.0)},
        {"scale": (0.9, 0.5)},
        {"solid": 0.01},
        {"road": "x"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"must|needed"):
        PairConfig(**wrong)


def test_a_family_that_cannot_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="layer pairs need '-> composite'"):
        build_pairs(PairJob(CutOnlyFamily(), CONFIG), triples(2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_disagreement_is_that_of_the_planes() -> None:
    foreground = np.zeros((4, 4, 4), np.uint8)
    foreground[0, 0] = (200, 0, 0, 255)
    background = np.full((4, 4, 3), 50, np.uint8)
    composite = background.copy()
    composite[0, 0] = (200, 0, 0)
    pair = LayerPair(PROMPT, 0, foreground, background, composite)
    assert disagreement(pair.foreground, pair.background, pair.composite) == {
        "mean": 0.0,
        "max": 0.0,
    }
    composite[3, 3, 1] = 146
    assert disagreement(pair.foreground, pair.background, pair.composite) == {
        "mean": 2.0,
        "max": 96.0,
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_shards_hold_the_pairs_in_the_form_of_scenes(tmp_path: Path) -> None:
    family = FlatFamily()
    manifest = build_pairs(PairJob(family, CONFIG, 7), triples(5), tmp_path, per_shard=2)
    assert [note["count"] for note in manifest["shards"]] == [2, 2, 1]
    assert manifest["counts"] == {"scene-made-train": 5}
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written == json.loads(json.dumps(manifest))
    keys = []
    for note in manifest["shards"]:
        for key, members in read_shard(tmp_path / note["name"]):
            about = json.loads(members["json"])
            pair = make_pair(family, triples(5)[len(keys)], about["seed"], CONFIG)
            for plane in ("foreground", "background", "composite"):
                stored = np.asarray(Image.open(io.BytesIO(members[f"{plane}.png"])))
                np.testing.assert_array_equal(stored, getattr(pair, plane))
            assert about["foreground"] == f"a cat {len(keys)}"
            assert about["made"]["model"] == "flat"
            assert about["disagreement"]["mean"] > 0
            keys.append(key)
    assert keys == [f"pair-{n:06d}" for n in range(5)]
    assert not (tmp_path / ".records").exists()


class Stopped(BaseException):
    """A kill in the middle of a record."""


class Counting(FlatFamily):
    """Stops at a given call, as a kill would; counts what it was asked for."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at

    def make(self, request: LayerRequest, progress=None):
        if self.stop_at is not None and len(self.requests) == self.stop_at:
            raise Stopped
        return super().make(request, progress)


@pytest.mark.parametrize("stop_at", [0, 1, 4, 8, 9, 16])
def test_a_stop_anywhere_costs_the_record_at_hand_alone(tmp_path: Path, stop_at: int) -> None:
    job = PairJob(FlatFamily(), CONFIG, 7)
    build_pairs(job, triples(6), tmp_path / "whole", per_shard=4)
    stopped = Counting(stop_at)
    with pytest.raises(Stopped):
        build_pairs(PairJob(stopped, CONFIG, 7), triples(6), tmp_path / "part", per_shard=4)
    after = Counting()
    build_pairs(PairJob(after, CONFIG, 7), triples(6), tmp_path / "part", per_shard=4)
    assert len(after.requests) == 3 * (6 - stop_at // 3)
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")
    again = Counting()
    build_pairs(PairJob(again, CONFIG, 7), triples(6), tmp_path / "part", per_shard=4)
    assert again.requests == []


def test_another_prompt_or_setting_makes_its_records_anew(tmp_path: Path) -> None:
    build_pairs(PairJob(FlatFamily(), CONFIG, 7), triples(4), tmp_path, per_shard=2)
    changed = triples(4)
    changed[3] = PROMPT
    family = Counting()
    build_pairs(PairJob(family, CONFIG, 7), changed, tmp_path, per_shard=2)
    assert len(family.requests) == 6  # the second shard alone
    build_pairs(PairJob(family, CONFIG, 7), changed[:2], tmp_path, per_shard=2)
    assert len(family.requests) == 6
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["scene-made-train-0000.tar"]


class Moody(FlatFamily):
    """Fails for some prompts, each in another way."""

    def make(self, request: LayerRequest, progress=None):
        made = super().make(request, progress)
        said = request.foregrounds[0].prompt if request.foregrounds else ""
        if said.endswith("cat 1"):
            raise RequestError("words of a kind it does not take")
        if said.endswith("cat 2"):
            made.foregrounds[0][...] = np.nan
        if said.endswith("cat 3"):
            made.foregrounds[0][..., 3] = 0
        return made


def test_a_bad_record_costs_itself_only(tmp_path: Path) -> None:
    prompts = [*triples(5), BadPrompt(6, "expected one text"), ScenePrompt("alone")]
    manifest = build_pairs(PairJob(Moody(), CONFIG), prompts, tmp_path, per_shard=3)
    assert manifest["counts"] == {"scene-made-train": 2}
    reasons = {each["key"]: each["reason"] for each in manifest["skipped"]}
    assert sorted(reasons) == [f"pair-{n:06d}" for n in (1, 2, 3, 5, 6)]
    assert "does not take" in reasons["pair-000001"]
    assert "finite False" in reasons["pair-000002"]
    assert "nothing visible" in reasons["pair-000003"]
    assert reasons["pair-000005"] == "line 6: expected one text"
    assert "three prompts" in reasons["pair-000006"]


class Dead(FlatFamily):
    def make(self, request: LayerRequest, progress=None):
        raise RuntimeError("the device fell off")


def test_a_model_that_always_fails_is_not_taken_for_bad_records(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailures, match="fell off"):
        build_pairs(PairJob(Dead(), CONFIG), triples(MAX_FAILURES + 3), tmp_path)
    manifest = build_pairs(PairJob(Counting(), CONFIG), triples(MAX_FAILURES + 3), tmp_path)
    assert manifest["skipped"] == []
    assert manifest["counts"] == {"scene-made-train": MAX_FAILURES + 3}


def test_scores_are_noted_and_leave_out_the_low(tmp_path: Path) -> None:
    def width(pair: LayerPair) -> float:
        return float(int(pair.prompt.foreground[-1]))

    def nothing(pair: LayerPair) -> float:
        return float("nan") if pair.prompt.foreground.endswith("3") else 1.0

    scores = (Score("width", width, 1), Score("nothing", nothing, 0.5), Score("noted", width))
    manifest = build_pairs(PairJob(FlatFamily(), CONFIG, scores=scores), triples(4), tmp_path)
    assert [each["key"] for each in manifest["skipped"]] == ["pair-000000", "pair-000003"]
    assert manifest["skipped"][0]["reason"] == "width 0 is below 1"
    (shard,) = tmp_path.glob("*.tar")
    kept = [json.loads(members["json"])["scores"] for _, members in read_shard(shard)]
    assert kept == [{"width": n, "nothing": 1, "noted": n} for n in (1.0, 2.0)]


def test_prompts_are_read_as_they_are_needed(tmp_path: Path) -> None:
    read = 0

    def endless() -> Iterator[ScenePrompt]:
        nonlocal read
        while True:
            read += 1
            yield ScenePrompt(f"a cat {read}", "a cat outside", "outside", "cat", "cat")

    build_pairs(PairJob(FlatFamily(), CONFIG), endless(), tmp_path, count=5, per_shard=2)
    assert read == 5
    with pytest.raises(ValueError, match="no prompt"):
        build_pairs(PairJob(FlatFamily(), CONFIG), [], tmp_path / "none")
    assert kept_records.WORK not in {path.name for path in tmp_path.iterdir()}
