"""Every row of the task table, several foregrounds, kept pixels, reports: on flat shapes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

import multiplane
from flat_family import CUT_ONLY, FLAT, FlatFamily, color_of
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError, Task
from multiplane.engine import Model
from multiplane.engine.generate import run_request

WIDTH, HEIGHT = 48, 32


def opaque(seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    return pixels


def cut(seed: int = 0) -> np.ndarray:
    pixels = opaque(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels[..., 3] = np.clip(300 - 25 * np.hypot(rows - 14, columns - 20), 0, 255)
    return pixels


def pillow_composite(*planes: np.ndarray) -> np.ndarray:
    """What planes show, bottom to top, by another program."""
    shown = Image.fromarray(planes[0], "RGBA")
    for plane in planes[1:]:
        shown = Image.alpha_composite(shown, Image.fromarray(plane, "RGBA"))
    return np.asarray(shown)


def assert_near(found: np.ndarray, expected: np.ndarray, steps: int) -> None:
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= steps


@pytest.fixture
def model() -> Model:
    return Model(FlatFamily())


def requests_of(model: Model) -> list[LayerRequest]:
    assert isinstance(model.family, FlatFamily)
    return model.family.requests


ROWS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"foreground": "a cat"}, [("a cat", "foreground")]),
    (
        {"foreground": "a cat", "background": "a hill"},
        [("a hill", "background"), ("a cat", "foreground")],
    ),
    (
        {"foreground": cut(), "background": "a hill"},
        [("a hill", "background"), ("Foreground", "foreground")],
    ),
    (
        {"foreground": "a cat", "background": opaque()},
        [("Background", "background"), ("a cat", "foreground")],
    ),
    (
        {"foreground": "the dog", "composite": opaque()},
        [("Background", "background"), ("the dog", "foreground")],
    ),
    (
        {"foreground": cut(), "background": True, "composite": opaque()},
        [("Background", "background"), ("Foreground", "foreground")],
    ),
    (
        {"foreground": "a cat", "background": opaque(), "composite": opaque(1)},
        [("Background", "background"), ("a cat", "foreground")],
    ),
    ({"composite": "a garden"}, [("a garden", "composite")]),
]


@pytest.mark.parametrize(("planes", "layers"), ROWS)
def test_every_row_of_the_table(
    model: Model, planes: dict[str, Any], layers: list[tuple[str, str]]
) -> None:
    document = model.run(model.request(**planes, seed=1))
    found = [(layer.name, layer.role) for layer in document.leaves()]
    assert [each for each in found if each[1] != "residual"] == layers
    assert document.size == (WIDTH, HEIGHT)
    for layer in document.leaves():
        assert layer.pixels.dtype == np.uint8
        assert layer.size == (WIDTH, HEIGHT)
    for name, value in planes.items():
        if isinstance(value, np.ndarray) and name != "composite":
            (given,) = [layer for layer in document.leaves() if layer.role == name]
            np.testing.assert_array_equal(given.pixels, value)
    shown = pillow_composite(*(layer.pixels for layer in document.leaves()))
    if isinstance(planes.get("composite"), np.ndarray):
        assert_near(shown, planes["composite"], 2)  # Pillow rounds by itself: one step more


def test_the_family_sees_what_was_given(model: Model) -> None:
    background = opaque(3)
    model.generate("a cat", background, seed=7, steps=5, guidance=2.0)
    (request,) = requests_of(model)
    assert request.background.pixels is not None
    np.testing.assert_array_equal(request.background.pixels, background)
    assert (request.seed, request.steps, request.guidance) == (7, 5, 2.0)
    assert request.size == (WIDTH, HEIGHT)


def test_made_pixels_are_the_familys_rounded(model: Model) -> None:
    document = model.generate("a cat", seed=1)
    solid = document.find("a cat").pixels[..., 3] == 255
    expected = np.rint(color_of("a cat") * 255).astype(np.uint8)
    assert solid.any()
    assert (document.find("a cat").pixels[solid][:, :3] == expected).all()


def test_same_seed_same_bytes_and_another_seed_others(model: Model) -> None:
    def hashes(seed: int) -> list[str]:
        document = model.generate("a cat", "a hill", seed=seed)
        return [layer.content_hash for layer in document.leaves()]

    assert hashes(1) == hashes(1)
    assert hashes(1) != hashes(2)


def test_given_pixels_keep_their_dtype_and_bytes(model: Model) -> None:
    deep = opaque().astype(np.uint16) * 257
    deep[0, 0, :3] = (1, 2, 3)  # no 8-bit value
    document = model.generate("a cat", deep)
    background = document.find("Background")
    assert background.pixels.dtype == np.uint16
    header = f"{deep.dtype.str}{deep.shape}".encode()
    assert background.content_hash == hashlib.sha256(header + deep.tobytes()).hexdigest()


def test_the_size_follows_the_given_planes_or_the_family_or_the_asker(model: Model) -> None:
    assert model.generate("a cat").size == (WIDTH, HEIGHT)
    assert model.generate("a cat", size=(20, 60)).size == (20, 60)
    wide = np.full((10, 90, 4), 255, np.uint8)
    assert model.generate("a cat", wide).size == (90, 10)
    with pytest.raises(RequestError, match=r"asked size is 20 x 60, the given background is 90 x"):
        model.generate("a cat", wide, size=(20, 60))


def test_count_gives_a_list_with_seeds_counting_up(model: Model) -> None:
    documents = model.generate("a cat", count=3, seed=10)
    assert isinstance(documents, list)
    seeds = [document.provenance.seed for document in documents if document.provenance]
    assert seeds == [10, 11, 12]
    alone = model.generate("a cat", seed=11)
    assert alone.leaves()[0].content_hash == documents[1].leaves()[0].content_hash
    with pytest.raises(RequestError, match="count must be at least 1, got 0"):
        model.generate("a cat", count=0)


def test_provenance_says_how_it_was_made(model: Model) -> None:
    document = model.generate("a cat", "a hill", seed=4, steps=6)
    provenance = document.provenance
    assert provenance is not None
    assert (provenance.model, provenance.version, provenance.seed) == ("flat", "1", 4)
    again = model.run(LayerRequest.from_json(provenance.request))
    assert [a.content_hash for a in again.leaves()] == [d.content_hash for d in document.leaves()]
    report = provenance.report
    assert report["task"] == "-> foreground background composite"
    assert report["family"] == {"steps": 6}
    # the family's composite is off by uniform noise of 0.04: mean 0.02
    assert report["disagreement"]["mean"] == pytest.approx(0.02, abs=0.002)
    assert report["disagreement"]["maximum"] == pytest.approx(0.04, abs=0.002)
    assert report["recomposition"]["maximum"] <= 1 / 255
    assert [entry["prompt"] for entry in report["layers"]] == ["a hill", "a cat"]


def test_progress_counts_every_step_once(model: Model) -> None:
    calls: list[tuple[int, int, bool]] = []
    model.generate(
        ["a cat", "a dog", "a parrot"],
        "a hill",
        steps=4,
        progress=lambda step, total, preview: calls.append((step, total, preview is not None)),
    )
    assert calls == [(step, 12, True) for step in range(1, 13)]


def test_several_foregrounds_are_layered_one_by_one(model: Model) -> None:
    document = model.generate(["a cat", "a dog", "a parrot"], "a hill", seed=3)
    layers = document.leaves()
    assert [layer.name for layer in layers] == ["a hill", "a cat", "a dog", "a parrot"]
    tasks = [str(request.task) for request in requests_of(model)]
    assert (
        tasks == ["-> foreground background composite"] + ["background -> foreground composite"] * 2
    )
    planes = [layer.pixels for layer in layers]
    for number, request in enumerate(requests_of(model)[1:], start=2):
        assert request.background.pixels is not None
        assert_near(request.background.pixels, pillow_composite(*planes[:number]), 1)
    seeds = {request.seed for request in requests_of(model)}
    assert len(seeds) == 3
    assert document.provenance is not None
    assert document.provenance.report["recomposition"]["maximum"] <= 1 / 255
    assert document.provenance.report["disagreement"]["mean"] == pytest.approx(0.02, abs=0.002)
    assert len(document.provenance.report["stages"]) == 3


def test_layering_without_a_composite_plane(model: Model) -> None:
    model.family.tasks |= {Task.of("-> foreground background")}  # type: ignore[misc]
    document = model.generate(["a cat", "a dog"], "a hill", None)
    assert [layer.name for layer in document.leaves()] == ["a hill", "a cat", "a dog"]
    tasks = [str(request.task) for request in requests_of(model)]
    assert tasks == ["-> foreground background", "background -> foreground composite"]


def test_given_and_wanted_foregrounds_mix(model: Model) -> None:
    given = cut(2)
    document = model.generate([given, "a dog"], "a hill", seed=3)
    assert [layer.name for layer in document.leaves()] == ["a hill", "Foreground", "a dog"]
    np.testing.assert_array_equal(document.find("Foreground").pixels, given)
    first, second = requests_of(model)
    assert str(first.task) == "foreground -> background composite"
    assert str(second.task) == "background -> foreground composite"
    assert second.background.pixels is not None
    below = pillow_composite(document.find("a hill").pixels, given)
    assert_near(second.background.pixels, below, 1)


def test_several_given_foregrounds_get_one_background(model: Model) -> None:
    low, high = cut(1), np.roll(cut(2), 9, axis=1)
    document = model.generate([low, high], "a hill")
    (request,) = requests_of(model)
    (shown,) = request.foregrounds
    assert shown.pixels is not None
    expected = pillow_composite(low, high)
    seen = expected[..., 3] > 40  # thin alpha magnifies the rounding of colour
    assert_near(shown.pixels[seen], expected[seen], 3)
    np.testing.assert_array_equal(document.leaves()[1].pixels, low)
    np.testing.assert_array_equal(document.leaves()[2].pixels, high)


def test_foregrounds_alone_are_made_each_alone(model: Model) -> None:
    document = model.generate(["a cat", "a cat"], seed=1)
    assert [layer.name for layer in document.leaves()] == ["a cat", "a cat 2"]
    assert [str(request.task) for request in requests_of(model)] == ["-> foreground"] * 2
    first, second = document.leaves()
    assert first.content_hash != second.content_hash


def test_a_picture_is_taken_apart_from_the_top(model: Model) -> None:
    picture = opaque(8)
    document = model.generate(["the table", "the cup", "the spoon"], composite=picture, seed=2)
    names = [layer.name for layer in document.leaves() if layer.role != "residual"]
    assert names == ["Background", "the table", "the cup", "the spoon"]
    prompts = [request.foregrounds[0].prompt for request in requests_of(model)]
    assert prompts == ["the spoon", "the cup", "the table"]
    assert {str(request.task) for request in requests_of(model)} == {
        "composite -> foreground background"
    }
    shown = pillow_composite(*(layer.pixels for layer in document.leaves()))
    assert_near(shown, picture, 3)  # four roundings by Pillow
    assert document.provenance is not None
    assert document.provenance.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6


def test_taking_apart_before_a_given_background(model: Model) -> None:
    background, picture = opaque(1), opaque(2)
    document = model.generate(["the cup", "the spoon"], background, picture, seed=2)
    tasks = [str(request.task) for request in requests_of(model)]
    assert tasks == ["composite -> foreground background", "background composite -> foreground"]
    np.testing.assert_array_equal(document.find("Background").pixels, background)
    assert document.provenance is not None
    assert document.provenance.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6


def test_controls_reach_the_run_they_steer(model: Model) -> None:
    shape = np.zeros((HEIGHT, WIDTH), np.uint8)
    shape[8:20, 10:30] = 255
    document = model.generate(["a cat", "a dog"], "a hill", silhouette={"foreground:1": shape})
    first, second = requests_of(model)
    assert first.controls == ()
    assert [(c.plane, c.kind) for c in second.controls] == [("foreground", "silhouette")]
    np.testing.assert_array_equal(document.find("a dog").pixels[..., 3], shape)
    assert (document.find("a cat").pixels[..., 3] != shape).any()


def test_kept_pixels_keep_their_bytes_and_the_rest_is_made(model: Model) -> None:
    given = opaque(4)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 30:] = 255
    mask[:, 28:30] = 128  # half painted
    document = model.generate(
        None, None, given, mask=mask, prompt="a garden", strength=None, seed=1
    )
    made = document.leaves()[0].pixels
    np.testing.assert_array_equal(made[:, :28], given[:, :28])
    garden = np.rint(color_of("a garden") * 255)
    assert (made[:, 30:, :3] == garden).all()
    half = 127 / 255 * given[:, 28:30, :3] + 128 / 255 * garden
    assert np.abs(made[:, 28:30, :3] - half).max() <= 1.0


def test_half_kept_alpha_mixes_premultiplied(model: Model) -> None:
    given = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    given[..., :3] = (255, 0, 0)  # red, and clear everywhere
    mask = np.full((HEIGHT, WIDTH), 128, np.uint8)
    document = model.generate(given, None, None, mask=mask, prompt="a cat", seed=1)
    made = document.leaves()[0].pixels
    painted = made[..., 3] > 120
    assert painted.any()
    expected = np.rint(color_of("a cat") * 255).astype(int)
    assert np.abs(made[painted][:, :3].astype(int) - expected).max() <= 1  # no red bleeds in
    assert made[..., 3].max() == 128


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.generate(), "no plane is wanted"),
        (lambda m: m.generate(cut(), opaque(), None), "no plane is wanted"),
        (lambda m: m.generate("a cat", cut()), "the given background is see-through"),
        (lambda m: m.generate("a cat", frames=4), "makes stills: frames must be 1, got 4"),
        (lambda m: m.generate("a cat", steps=1001), "steps must be 1..1000, got 1001"),
        (lambda m: m.generate("a cat", guidance=-1.0), "guidance must be 0.0..100.0"),
        (lambda m: m.generate("a cat", seed=-1), "seed must be 0.."),
        (lambda m: m.generate("a cat", composite=opaque(), background=None), "cannot do"),
        (
            lambda m: m.run(LayerRequest((Plane(wanted=True),), model="tiny")),
            "for the model 'tiny' and this is 'flat'",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    model: Model, ask: Callable[[Model], Any], message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        ask(model)
    assert requests_of(model) == []  # nothing was begun


def test_another_pair_names_the_families_that_can() -> None:
    for entry in (FLAT, CUT_ONLY):
        multiplane.register(entry)
    cut_only = multiplane.load("cut-only")
    assert cut_only.generate("a cat").leaves()[0].role == "foreground"
    with pytest.raises(
        RequestError,
        match=r"'cut-only' cannot do 'background -> foreground composite'.*families that can: "
        r"flat, layerdiffuse-sd15, layerdiffuse-sdxl, layerflow, tiny",
    ):
        cut_only.generate("a cat", opaque())


def test_every_run_is_checked_before_the_first_is_begun(model: Model) -> None:
    model.family.tasks = frozenset({Task.of("-> foreground background composite")})  # type: ignore[misc]
    with pytest.raises(RequestError, match="cannot do 'background -> foreground composite'"):
        model.generate(["a cat", "a dog"], "a hill")
    assert requests_of(model) == []


def test_a_pair_no_family_can_do_says_what_this_one_does() -> None:
    multiplane.register(CUT_ONLY)
    cut_only = multiplane.load("cut-only")
    with pytest.raises(RequestError, match=r"no family here can; 'cut-only' does -> foreground$"):
        cut_only.generate(cut(), opaque(), True)


class BrokenFamily(FlatFamily):
    """Hands back what a family must not."""

    def __init__(self, spoil: Callable[[np.ndarray], np.ndarray | None]) -> None:
        super().__init__()
        self.spoil = spoil

    def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
        made = super().make(request, progress)
        spoiled = tuple(self.spoil(plane) for plane in made.foregrounds)
        return MadePlanes(spoiled, made.background, made.composite)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda plane: plane * np.nan, "finite False"),
        (lambda plane: plane[:-1], "of shape (31, 48, 4)"),
        (lambda plane: None, "left out the foreground"),
    ],
)
def test_a_family_that_makes_nonsense_is_found_out(spoil: Any, message: str) -> None:
    request = LayerRequest((Plane(wanted=True),), model="flat")
    with pytest.raises(RuntimeError, match=re.escape(message)):
        run_request(BrokenFamily(spoil), request)


def test_values_beyond_the_range_are_cut_off() -> None:
    family = BrokenFamily(lambda plane: plane * 3.0 - 0.5)
    outcome = run_request(family, LayerRequest((Plane(wanted=True),), model="flat"))
    assert outcome.foregrounds[0].dtype == np.uint8
    assert outcome.foregrounds[0].max() == 255
