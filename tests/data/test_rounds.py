"""Rounds: nothing is made twice, what is picked is drawn twice as often."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flat_family import CutOnlyFamily, FlatFamily
from multiplane.core.request import LayerRequest
from multiplane.data.assets import read_assets
from multiplane.data.labels import Label
from multiplane.data.prompt_lists import ScenePrompt
from multiplane.data.round_set import commonest_style, drawn_share, write_round_set
from multiplane.data.rounds import (
    Round,
    RoundSettings,
    begin_round,
    close_round,
    make_pictures,
    rounds_in,
)
from multiplane.data.shards import read_shard
from multiplane.training.pools import ForegroundPool
from small_world import write_shards

PROMPTS = [ScenePrompt(f"a thing {n}", concept=f"thing-{n}", root=f"thing-{n}") for n in range(7)]


def settings(**more: object) -> RoundSettings:
    values: dict = {"count": 5, "prompts": "test", "model": "flat", "size": (32, 32), "steps": 1}
    return RoundSettings(**(values | more))


def labels(made: Round, good: list[int], bad: list[int] | None = None) -> dict[str, Label]:
    answers = dict.fromkeys(good, "good") | dict.fromkeys(bad or [], "bad")
    keys = {made.pictures[n].key: answer for n, answer in answers.items()}
    return {key: Label(key, answer, (), "") for key, answer in keys.items()}  # pyright: ignore


class Counting(FlatFamily):
    """Stops at a given call, as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at

    def make(self, request: LayerRequest, progress=None):
        if len(self.requests) == self.stop_at:
            raise KeyboardInterrupt
        return super().make(request, progress)


def a_closed_round(folder: Path, good: list[int], **more: object) -> Round:
    made = begin_round(folder, settings(**more), PROMPTS)
    make_pictures(made, FlatFamily())
    return close_round(made, labels(made, good))


def test_a_plan_is_fixed_when_the_round_begins(tmp_path: Path) -> None:
    begun = begin_round(tmp_path, settings(), PROMPTS)
    assert rounds_in(tmp_path) == [begun]
    assert len({picture.prompt for picture in begun.pictures}) == 5
    assert len({picture.seed for picture in begun.pictures}) == 5
    other = begin_round(tmp_path / "other", settings(seed=1), PROMPTS)
    assert [p.seed for p in other.pictures] != [p.seed for p in begun.pictures]
    with pytest.raises(ValueError, match="still open"):
        begin_round(tmp_path, settings(), PROMPTS)


def test_heldout_concepts_are_never_made(tmp_path: Path) -> None:
    heldout = frozenset(f"thing-{n}" for n in range(5))
    begun = begin_round(tmp_path, settings(count=6), PROMPTS, heldout)
    assert {picture.root for picture in begun.pictures} == {"thing-5", "thing-6"}
    with pytest.raises(ValueError, match="is empty"):
        begin_round(tmp_path / "none", settings(), PROMPTS[:2], heldout)


@pytest.mark.parametrize("stop_at", [0, 2, 4])
def test_nothing_is_made_twice(tmp_path: Path, stop_at: int) -> None:
    whole = begin_round(tmp_path / "whole", settings(), PROMPTS)
    make_pictures(whole, FlatFamily())
    part = begin_round(tmp_path / "part", settings(), PROMPTS)
    with pytest.raises(KeyboardInterrupt):
        make_pictures(part, Counting(stop_at))
    assert len(part.missing()) == 5 - stop_at
    after = Counting()
    (again,) = rounds_in(tmp_path / "part")
    make_pictures(again, after)
    assert len(after.requests) == 5 - stop_at
    for one, other in zip(whole.pictures, again.pictures, strict=True):
        assert whole.picture(one).read_bytes() == again.picture(other).read_bytes()
        about = json.loads(again.picture(other).with_suffix(".json").read_text())
        expected = {"seed": other.seed, "model": "flat", "version": "1", "round": 0}
        assert {name: about[name] for name in expected} == expected
        assert about["caption"] == about["prompt"] == other.prompt
    make_pictures(again, Counting(stop_at=0))  # nothing left to ask for


def test_only_what_is_whole_and_known_closes_a_round(tmp_path: Path) -> None:
    made = begin_round(tmp_path, settings(), PROMPTS)
    with pytest.raises(ValueError, match="5 pictures of round 0 are not made"):
        close_round(made, labels(made, [0]))
    with pytest.raises(ValueError, match="made by 'flat', not 'cut-only'"):
        make_pictures(made, CutOnlyFamily())
    make_pictures(made, FlatFamily())
    strange = Label("r001-00000", "good", (), "")
    with pytest.raises(ValueError, match="'r001-00000' is no picture of round 0"):
        close_round(made, {strange.item: strange})
    close_round(made, labels(made, [0, 3], [1]))
    assert made.picked() == {
        made.pictures[n].key: answer for n, answer in ((0, "good"), (1, "bad"), (3, "good"))
    }
    close_round(made, labels(made, [0, 3], [1]))  # the same again
    with pytest.raises(ValueError, match="closed with other picks"):
        close_round(made, labels(made, [0]))


def test_the_set_holds_the_base_and_what_was_picked(tmp_path: Path) -> None:
    write_shards(tmp_path / "base")
    assert commonest_style(tmp_path / "base") == "3d"
    before = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    more = {"base": str(tmp_path / "base"), "style": "3d"}
    made = a_closed_round(tmp_path / "rounds", [0, 2, 4], **more)
    manifest = write_round_set(made)
    names = [note["name"] for note in manifest["shards"]]
    assert names[:-1] == [n["name"] for n in json.loads(before["manifest.json"])["shards"]]
    assert names[-1] == "foreground-3d-train-round000-000.tar"
    found = {}
    for key, members in read_shard(made.assets / names[-1]):
        found[key] = json.loads(members["json"])
        assert Image.open(io.BytesIO(members["webp"])).size == (256, 256)
    assert sorted(found) == [made.pictures[n].key for n in (0, 2, 4)]
    for planned in (made.pictures[n] for n in (0, 2, 4)):
        about = found[planned.key]
        assert (about["weight"], about["split"], about["style"]) == (2.0, "train", "3d")
        assert about["caption"] == planned.prompt
        assert about["made"]["seed"] == planned.seed
        assert about["made"]["prompt"] == planned.prompt
    assert {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()} == before
    pool = read_assets(made.assets, size=32)
    assert len(pool) == 6
    weights = dict(zip(pool.keys, pool.weights / pool.weights.min(), strict=True))
    assert sorted(weights.values()) == [1, 1, 1, 2, 2, 2]
    assert drawn_share(made.assets, "3d", 0) == pytest.approx(6 / 9)
    torch_pool = ForegroundPool.build(
        torch.from_numpy(pool.pixels), pool.roots, pool.styles, [[0]] * 6, pool.weights.tolist()
    )
    drawn = torch_pool.draw(6000, {"3d": 1.0}, torch.Generator().manual_seed(0)).numpy()
    new = np.array([key in found for key in pool.keys])[drawn]
    assert new.mean() == pytest.approx(6 / 9, abs=0.02)


def test_the_share_told_is_the_one_drawn(tmp_path: Path) -> None:
    """Two pictures picked of a concept the base has, one of a new concept."""
    write_shards(tmp_path / "base")
    prompts = [
        ScenePrompt("a red ball", concept="red ball", root="red ball"),
        ScenePrompt("a cat", concept="cat", root="cat"),
    ]
    more = {"base": str(tmp_path / "base"), "style": "3d", "count": 4}
    made = begin_round(tmp_path / "rounds", settings(**more), prompts)
    make_pictures(made, FlatFamily())
    balls = [n for n, planned in enumerate(made.pictures) if planned.concept == "red ball"]
    cats = [n for n in range(4) if n not in balls]
    write_round_set(close_round(made, labels(made, [*balls, cats[0]])))
    pool = read_assets(made.assets, size=32)
    turns = ForegroundPool.build(
        torch.from_numpy(pool.pixels),
        pool.roots,
        pool.styles,
        [[0]] * len(pool),
        pool.weights.tolist(),
    )
    drawn = turns.draw(20_000, {"3d": 1.0}, torch.Generator().manual_seed(0)).numpy()
    new = np.array([key.startswith("r000") for key in pool.keys])[drawn].mean()
    assert drawn_share(made.assets, "3d", 0) == pytest.approx((2 * 4 / 5 + 2) / 6)
    assert new == pytest.approx((2 * 4 / 5 + 2) / 6, abs=0.01)


def test_the_next_round_halves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "rounds"
    first = a_closed_round(folder, [0, 1])
    write_round_set(first)
    untouched = {path.name: path.read_bytes() for path in first.assets.iterdir()}
    second = a_closed_round(folder, [2, 3, 4], seed=3)
    assert second.number == 1
    write_round_set(second)
    weights = {}
    for path in second.assets.glob("*.tar"):
        for key, members in read_shard(path):
            weights[key] = json.loads(members["json"])["weight"]
    expected = {first.pictures[n].key: 1.0 for n in (0, 1)}
    expected |= {second.pictures[n].key: 2.0 for n in (2, 3, 4)}
    assert weights == expected
    assert {path.name: path.read_bytes() for path in first.assets.iterdir()} == untouched
    (assets,) = [p for p in second.assets.iterdir() if p.name == "manifest.json"]
    recipe = json.loads(assets.read_text())["recipe"]
    assert recipe["rounds"] == [
        {"round": 0, "made": 5, "picked": 2},
        {"round": 1, "made": 5, "picked": 3},
    ]


def test_a_set_that_cannot_be_is_said(tmp_path: Path) -> None:
    nothing = a_closed_round(tmp_path / "nothing", [])
    with pytest.raises(ValueError, match="nothing was picked"):
        write_round_set(nothing)
    gone = a_closed_round(tmp_path / "gone", [0], base=str(tmp_path / "moved"))
    with pytest.raises(FileNotFoundError, match="moved or was not built"):
        write_round_set(gone)
    write_shards(tmp_path / "base")
    with (tmp_path / "base" / "foreground-train-000.tar").open("ab") as file:
        file.write(b"more")
    changed = a_closed_round(tmp_path / "changed", [0], base=str(tmp_path / "base"))
    with pytest.raises(ValueError, match="not what its manifest says"):
        write_round_set(changed)
    (tmp_path / "gone" / "round-000" / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="no plan of a round"):
        rounds_in(tmp_path / "gone")
