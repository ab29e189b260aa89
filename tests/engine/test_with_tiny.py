"""The whole interface on the weights that ship: few steps, since only the joints are tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multiplane
from multiplane.core.composite import composite_u8
from multiplane.core.request import TASK_TABLE
from multiplane.engine import GeneratedDocument, Model

STEPS = 2


@pytest.fixture(scope="module")
def model() -> Model:
    return multiplane.load("tiny")


@pytest.fixture(scope="module")
def scene(model: Model) -> GeneratedDocument:
    return model.generate("a red apple", "a misty valley", seed=1, steps=STEPS)


def hashes(document: multiplane.LayerDocument) -> dict[str, str]:
    return {layer.name: layer.content_hash for layer in document.leaves()}


def test_what_the_list_of_families_says_is_what_the_weights_do(model: Model) -> None:
    assert model.tasks == multiplane.families()["tiny"].tasks
    assert model.tasks >= set(TASK_TABLE)


def test_three_planes_that_add_up(scene: GeneratedDocument) -> None:
    background, foreground = scene.leaves()
    assert (background.role, foreground.role) == ("background", "foreground")
    assert (background.pixels[..., 3] == 255).all()
    assert scene.provenance is not None
    assert scene.provenance.report["recomposition"]["maximum"] <= 1 / 255
    assert scene.provenance.report["disagreement"]["mean"] > 0


def test_same_seed_same_bytes(model: Model, scene: GeneratedDocument) -> None:
    again = model.generate("a red apple", "a misty valley", seed=1, steps=STEPS)
    assert hashes(again) == hashes(scene)
    other = model.generate("a red apple", "a misty valley", seed=2, steps=STEPS)
    assert hashes(other) != hashes(scene)


@pytest.mark.slow
def test_every_row_and_every_size(model: Model, scene: GeneratedDocument) -> None:
    cut, room = scene.find("a red apple").pixels, scene.find("a misty valley").pixels
    wide = np.repeat(np.repeat(room[:40], 3, axis=0), 2, axis=1)  # 256 x 120
    picture = composite_u8(scene)
    for planes in (
        ("a dog", False, False),
        (cut, "a beach", True),
        ("a dog", wide, True),
        ("the apple", True, picture),
        (cut, True, picture),
        ("the apple", room, picture),
        (False, False, "a garden"),
    ):
        document = model.generate(*planes, seed=3, steps=STEPS)
        for given in planes:
            if isinstance(given, np.ndarray):
                assert document.size == (given.shape[1], given.shape[0])
        figure = document.provenance.report["recomposition"] if document.provenance else None
        assert figure is None or figure["maximum"] <= 1 / 255 + 1e-6


@pytest.mark.slow
def test_add_regenerate_inpaint_keep_the_other_layers(
    scene: GeneratedDocument, tmp_path: Path
) -> None:
    more = scene.add("a parrot", seed=4, steps=STEPS)
    assert hashes(scene).items() <= hashes(more).items()
    again = more.regenerate("a red apple", seed=5, steps=STEPS)
    assert {n for n, h in hashes(again).items() if h != hashes(more)[n]} == {"a red apple"}
    mask = np.zeros(scene.size[::-1], bool)
    mask[:, :64] = True
    painted = again.inpaint("a misty valley", mask, "a lake", seed=6, steps=STEPS)
    assert {n for n, h in hashes(painted).items() if h != hashes(again)[n]} == {"a misty valley"}
    np.testing.assert_array_equal(
        painted.find("a misty valley").pixels[:, 64:], again.find("a misty valley").pixels[:, 64:]
    )
    painted.save(tmp_path / "a.psd")
    assert hashes(multiplane.read(tmp_path / "a.psd")) == hashes(painted)


@pytest.mark.slow
def test_a_silhouette_steers_the_shape(model: Model) -> None:
    rows, columns = np.mgrid[:128, :128]
    shape = np.hypot(rows - 64, columns - 64) < 40

    def overlap(**settings: Any) -> float:
        document = model.run(model.request("a red ball", seed=1, steps=8, **settings))
        found = document.leaves()[0].pixels[..., 3] > 127
        return float((found & shape).sum() / (found | shape).sum())

    steered = overlap(silhouette=shape)
    assert steered > 0.6
    assert steered > overlap()
