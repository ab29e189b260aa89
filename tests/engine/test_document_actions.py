"""add, regenerate, inpaint: one layer changes, every other keeps its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flat_family import FlatFamily, color_of
from multiplane.core.composite import composite_u8
from multiplane.core.document import Group, Layer, LayerDocument
from multiplane.core.request import LayerRequest, RequestError
from multiplane.engine import GeneratedDocument, Model
from multiplane.io.registry import read

WIDTH, HEIGHT = 48, 32


@pytest.fixture
def model() -> Model:
    return Model(FlatFamily())


@pytest.fixture
def scene(model: Model) -> GeneratedDocument:
    return model.generate(["a cat", "a dog"], "a hill", seed=1)


def last_request(model: Model) -> LayerRequest:
    assert isinstance(model.family, FlatFamily)
    return model.family.requests[-1]


def hashes(document: LayerDocument) -> dict[str, str]:
    return {layer.name: layer.content_hash for layer in document.leaves()}


def others_are_untouched(before: LayerDocument, after: LayerDocument, name: str) -> bool:
    kept = {layer.name: layer for layer in after.leaves() if layer.name != name}
    return all(kept[each.name] is each for each in before.leaves() if each.name != name)


def rgb(prompt: str) -> np.ndarray:
    return np.rint(color_of(prompt) * 255).astype(int)


def test_adding_five_layers_one_by_one_leaves_the_earlier_ones(model: Model) -> None:
    document = model.generate("a cat", "a hill", seed=1)
    for number, prompt in enumerate(["a dog", "a parrot", "a hat", "a cup", "a bell"]):
        before = document
        document = before.add(prompt, seed=number)
        assert hashes(before).items() <= hashes(document).items()
        assert document.leaves()[-1].name == prompt
        seen = last_request(model).background.pixels
        assert seen is not None
        np.testing.assert_array_equal(seen, composite_u8(before))
    assert len(document.leaves()) == 7
    assert document.provenance is not None
    assert [edit["layer"] for edit in document.provenance.report["edits"]] == [
        "a dog",
        "a parrot",
        "a hat",
        "a cup",
        "a bell",
    ]


def test_what_is_added_is_made_of_its_prompt(scene: GeneratedDocument) -> None:
    added = scene.add("a parrot", seed=3).find("a parrot")
    solid = added.pixels[..., 3] == 255
    near = np.abs(added.pixels[solid][:, :3].astype(int) - rgb("a parrot")).max()
    assert near <= 255 * 0.05 + 1  # the light of the background moves it by at most that


def test_adding_where_there_is_no_background_is_done_alone(model: Model) -> None:
    document = model.generate("a cat", seed=1).add("a dog", seed=2)
    assert str(last_request(model).task) == "-> foreground"
    assert [layer.name for layer in document.leaves()] == ["a cat", "a dog"]
    assert document.size == (WIDTH, HEIGHT)


def test_names_stay_single(scene: GeneratedDocument) -> None:
    names = [layer.name for layer in scene.add("a cat").add("a cat").leaves()]
    assert names == ["a hill", "a cat", "a dog", "a cat 2", "a cat 3"]


def test_silhouette_of_what_is_added(scene: GeneratedDocument) -> None:
    shape = np.zeros((HEIGHT, WIDTH), bool)
    shape[4:12, 5:25] = True
    added = scene.add("a hat", silhouette=shape).find("a hat")
    np.testing.assert_array_equal(added.pixels[..., 3], np.where(shape, 255, 0))


@pytest.mark.parametrize("name", ["a hill", "a cat", "a dog"])
def test_regenerating_one_layer_leaves_every_other_byte(
    scene: GeneratedDocument, name: str
) -> None:
    after = scene.regenerate(name, seed=99)
    assert others_are_untouched(scene, after, name)
    assert hashes(after)[name] != hashes(scene)[name]
    assert [layer.name for layer in after.leaves()] == [layer.name for layer in scene.leaves()]
    assert after.find(name).role == scene.find(name).role


def test_a_foreground_is_remade_for_what_lies_below_it(
    model: Model, scene: GeneratedDocument
) -> None:
    scene.regenerate("a cat", seed=5)
    request = last_request(model)
    assert str(request.task) == "background -> foreground composite"
    assert request.foregrounds[0].prompt == "a cat"
    assert request.background.pixels is not None
    np.testing.assert_array_equal(request.background.pixels, scene.find("a hill").pixels)


def test_a_background_is_remade_for_what_lies_above_it(
    model: Model, scene: GeneratedDocument
) -> None:
    scene.regenerate("a hill", seed=5)
    request = last_request(model)
    assert str(request.task) == "foreground -> background composite"
    assert request.background.prompt == "a hill"
    (front,) = request.foregrounds
    assert front.pixels is not None
    pillow = Image.alpha_composite(
        Image.fromarray(scene.find("a cat").pixels, "RGBA"),
        Image.fromarray(scene.find("a dog").pixels, "RGBA"),
    )
    np.testing.assert_allclose(front.pixels[..., 3], np.asarray(pillow)[..., 3], atol=1)


def test_another_prompt_and_none_at_all(model: Model, scene: GeneratedDocument) -> None:
    renewed = scene.regenerate("a cat", "a fox", seed=2)
    assert last_request(model).foregrounds[0].prompt == "a fox"
    assert "a cat" in hashes(renewed)  # the name is the user's to change
    renewed.regenerate("a cat", seed=3)
    assert last_request(model).foregrounds[0].prompt == "a fox"  # what it was last made from
    renewed.regenerate("a cat", "", seed=3)
    assert last_request(model).foregrounds[0].prompt == ""


def test_a_flat_picture_is_remade_as_one(model: Model) -> None:
    flat = model.generate(composite="a garden", seed=1)
    after = flat.regenerate("a garden", "a forest", seed=2)
    assert str(last_request(model).task) == "-> composite"
    (layer,) = after.leaves()
    assert (layer.pixels[..., :3] == rgb("a forest")).all()


def test_everything_else_about_a_layer_stays(model: Model, scene: GeneratedDocument) -> None:
    cat = replace(scene.find("a cat"), opacity=0.5, blend="multiply", offset=(3, -2))
    other = Group("empty", (replace(scene.find("a dog"), name="another dog"),))
    layers = (scene.layers[0], Group("animals", (cat, scene.layers[2]), blend="normal"), other)
    grouped = replace(scene, layers=layers)
    after = grouped.regenerate(cat, seed=8)
    remade = after.find("a cat")
    assert (remade.opacity, remade.blend, remade.offset) == (0.5, "multiply", (0, 0))
    group = after.layers[1]
    assert isinstance(group, Group)
    assert group.layers[1] is scene.layers[2]
    assert after.layers[0] is scene.layers[0]
    assert after.layers[2] is other


def test_inpainting_touches_only_the_white_of_the_mask(scene: GeneratedDocument) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 24:] = 255
    after = scene.inpaint("a cat", mask, "a fox", seed=6)
    assert others_are_untouched(scene, after, "a cat")
    before, painted = scene.find("a cat").pixels, after.find("a cat").pixels
    np.testing.assert_array_equal(painted[:, :24], before[:, :24])
    assert (painted[:, 24:] != before[:, 24:]).any()
    assert (painted[:, 24:, 3] != before[:, 24:, 3]).any()  # the alpha too


def test_inpainting_a_background_sees_what_stands_before_it(
    model: Model, scene: GeneratedDocument
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:8] = True
    after = scene.inpaint("a hill", mask, "a lake", seed=6)
    request = last_request(model)
    assert str(request.task) == "foreground -> background composite"
    assert request.background.prompt == "a lake"
    np.testing.assert_array_equal(after.find("a hill").pixels[8:], scene.find("a hill").pixels[8:])
    assert (after.find("a hill").pixels[:8, :, 3] == 255).all()


def test_inpainting_keeps_sixteen_bits_and_what_lies_beyond_the_canvas(model: Model) -> None:
    rng = np.random.default_rng(2)
    deep = rng.integers(0, 65536, (10, 12, 4), dtype=np.uint16)
    layer = Layer("a bird", deep, offset=(-4, 28), role="foreground")
    hill = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    document = LayerDocument((WIDTH, HEIGHT), (Layer("sky", hill, role="background"), layer))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[0:2, 0:2] = True
    after = model.inpaint(document, "a bird", mask, "a kite")
    painted = after.find("a bird")
    assert painted.pixels.dtype == np.uint16
    x, y = layer.offset[0] - painted.offset[0], layer.offset[1] - painted.offset[1]
    np.testing.assert_array_equal(painted.pixels[y : y + 10, x : x + 12], deep)
    assert after.leaves()[0] is document.leaves()[0]


def test_actions_work_on_a_file_that_was_read(
    model: Model, scene: GeneratedDocument, tmp_path: Path
) -> None:
    scene.save(tmp_path / "scene.psd", tmp_path / "scene.ora")
    for name in ("scene.psd", "scene.ora"):
        document = read(tmp_path / name)
        after = model.regenerate(document, "a dog", seed=4)
        assert last_request(model).foregrounds[0].prompt == "a dog"  # from the file's provenance
        assert others_are_untouched(document, after, "a dog")
        assert hashes(document) == hashes(scene)


def test_a_layer_drawn_by_hand_needs_a_prompt(model: Model) -> None:
    white = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    document = LayerDocument((WIDTH, HEIGHT), (Layer("Layer 1", white),))
    with pytest.raises(RequestError, match="no prompt is recorded for the layer 'Layer 1'"):
        model.regenerate(document, "Layer 1")
    after = model.regenerate(document, "Layer 1", "a hill")
    assert str(last_request(model).task) == "-> composite"  # opaque and lowest: a background
    assert (after.leaves()[0].pixels[..., :3] == rgb("a hill")).all()


def test_strange_provenance_does_no_harm(model: Model, scene: GeneratedDocument) -> None:
    assert scene.provenance is not None
    for report in ({"layers": 5, "edits": "x"}, {"layers": [3, {"name": 4}, {}]}, {}):
        odd = replace(scene, provenance=replace(scene.provenance, report=report))
        with pytest.raises(RequestError, match="no prompt is recorded"):
            odd.regenerate("a cat")
        assert odd.add("a hat").provenance is not None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda d: d.regenerate("a cow"),
            "no layer is called 'a cow'; the document holds 'a hill'",
        ),
        (lambda d: d.regenerate(replace(d.layers[0])), "is not in this document"),
        (
            lambda d: d.inpaint("a cat", np.ones((4, 5), bool)),
            "mask is 5 x 4, the document 48 x 32",
        ),
        (lambda d: d.add("cat.png"), "looks like a file name"),
        (lambda d: d.add(""), "is empty"),
        (lambda d: d.add("a cat", seed=-4), "seed must be 0.."),
        (lambda d: replace(d, space="linear").add("a cat"), "this document's space is 'linear'"),
        (
            lambda d: replace(
                d, layers=(*d.layers, replace(d.layers[1], name="rest", role="residual"))
            ).regenerate("rest", ""),
            "no model makes it",
        ),
    ],
)
def test_what_cannot_be_acted_on(
    scene: GeneratedDocument, act: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        act(scene)


def test_a_document_without_its_model_says_so(scene: GeneratedDocument) -> None:
    alone = replace(scene, model=None)
    with pytest.raises(ValueError, match=r"use Model\.add"):
        alone.add("a cat")


def test_the_image_is_what_the_document_shows(scene: GeneratedDocument) -> None:
    image = scene.image()
    assert image.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(image), composite_u8(scene))
