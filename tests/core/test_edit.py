"""Edits: what they promise about the picture, and that nothing else is touched."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.documents import documents, random_pixels
from multiplane.core import edit
from multiplane.core.composite import composite
from multiplane.core.document import Group, Layer, LayerDocument, Mask
from multiplane.core.pixels import premultiply
from multiplane.core.window import window_of_nodes


@pytest.fixture
def document():
    rng = np.random.default_rng(0)
    ground = random_pixels(rng, 30, 20)
    ground[..., 3] = 255
    mask = Mask(rng.integers(0, 256, (8, 9)).astype(np.uint8), (2, 3), outside=1.0)
    group = Group(
        "objects",
        (
            Layer("apple", random_pixels(rng, 10, 12), (-3, 5), blend="multiply", mask=mask),
            Layer("parrot", random_pixels(rng, 8, 8, np.float32), (12, 4), opacity=0.5),
        ),
        mask=mask,
    )
    dust = Layer("dust", random_pixels(rng, 30, 20, np.uint16), role="foreground")
    return LayerDocument((30, 20), (Layer("ground", ground), group, dust))


def premul(document):
    return premultiply(composite(document))


def untouched(before, after, *changed):
    """Every leaf but the named ones is the very same object."""
    return all(
        a is b
        for a, b in zip(before.leaves(), after.leaves(), strict=True)
        if b.name not in changed
    )


def test_nodes_are_found_by_name_and_by_path(document):
    assert edit.locate(document, "parrot") == (1, 1)
    assert edit.node_at(document, (1, 1)) is document.find("parrot")
    assert edit.node_at(document, "objects") is document.layers[1]
    with pytest.raises(KeyError, match=r"'pear'.*'apple' \(1, 0\)"):
        edit.locate(document, "pear")
    twins = edit.rename(document, "dust", "apple")
    with pytest.raises(KeyError, match="2 nodes are called"):
        edit.locate(twins, "apple")
    assert edit.node_at(twins, (2,)).name == "apple"


def test_replacing_one_layer_leaves_every_other_byte(document):
    pixels = np.full((4, 5, 4), 77, np.uint8)
    hashes = [layer.content_hash for layer in document.leaves()]
    edited = edit.replace_pixels(document, "parrot", pixels)
    parrot = edited.find("parrot")
    assert parrot.offset == (12, 4)
    assert parrot.opacity == 0.5
    np.testing.assert_array_equal(parrot.pixels, pixels)
    assert untouched(document, edited, "parrot")
    after = [layer.content_hash for layer in edited.leaves()]
    assert [a == b for a, b in zip(hashes, after, strict=True)] == [True, True, False, True]
    with pytest.raises(ValueError, match="is a group"):
        edit.replace_pixels(document, "objects", pixels)


def test_insert_remove_and_rename(document):
    bee = Layer("bee", np.zeros((2, 2, 4), np.uint8))
    names = [layer.name for layer in edit.insert(document, bee, above="apple").leaves()]
    assert names == ["ground", "apple", "bee", "parrot", "dust"]
    assert edit.insert(document, bee).layers[-1] is bee
    back = edit.remove(edit.insert(document, bee, above="ground"), "bee")
    assert untouched(document, back)
    assert [layer.name for layer in edit.remove(document, "objects").leaves()] == ["ground", "dust"]
    renamed = edit.rename(document, "objects", "things")
    assert renamed.layers[1].name == "things"
    assert untouched(document, renamed)


def test_reorder(document):
    assert [n.name for n in edit.reorder(document, "dust", 0).layers] == [
        "dust", "ground", "objects"]  # fmt: skip
    assert [n.name for n in edit.reorder(document, "ground", -1).layers] == [
        "objects", "dust", "ground"]  # fmt: skip
    inside = edit.reorder(document, "apple", 1)
    assert [layer.name for layer in inside.layers[1].layers] == ["parrot", "apple"]
    assert untouched(edit.reorder(inside, "apple", 0), document)
    with pytest.raises(ValueError, match="place 3"):
        edit.reorder(document, "dust", 3)


@settings(max_examples=40, deadline=None)
@given(documents(), st.integers(-5, 5), st.integers(-5, 5))
def test_moving_everything_moves_the_picture(document, dx, dy):
    moved = document
    for index in range(len(document.layers)):
        moved = edit.move(moved, (index,), dx, dy)
    size = (document.size[0] + 10, document.size[1] + 10)
    left, top = 5 + dx, 5 + dy
    around = edit.crop(moved, (-5, -5, size[0] - 5, size[1] - 5))
    part = premul(around)[top : top + document.size[1], left : left + document.size[0]]
    np.testing.assert_allclose(part, premul(document), atol=1e-6)
    hashes = [[layer.content_hash for layer in d.leaves()] for d in (document, around)]
    assert hashes[0] == hashes[1]


def test_crop_shares_the_pixels_and_can_be_undone(document):
    cropped = edit.crop(document, (5, 2, 25, 15))
    assert cropped.size == (20, 13)
    assert all(
        a.pixels is b.pixels for a, b in zip(cropped.leaves(), document.leaves(), strict=True)
    )
    np.testing.assert_array_equal(composite(cropped), composite(document)[2:15, 5:25])
    np.testing.assert_array_equal(
        composite(edit.crop(cropped, (-5, -2, 25, 18))), composite(document)
    )
    with pytest.raises(ValueError, match="cannot crop"):
        edit.crop(document, (5, 5, 5, 9))


def test_trim_cuts_clear_margins_and_no_more():
    pixels = np.zeros((9, 12, 4), np.uint8)
    pixels[2:5, 3:10] = (1, 2, 3, 200)
    document = LayerDocument((20, 15), (Layer("spot", pixels, (4, 1)),))
    trimmed = edit.trim(document)
    assert trimmed.size == (7, 3)
    np.testing.assert_array_equal(composite(trimmed), composite(document)[3:6, 7:14])
    cut = edit.trim_layer(document, "spot")
    assert cut.find("spot").size == (7, 3)
    assert cut.find("spot").offset == (7, 3)
    np.testing.assert_array_equal(composite(cut), composite(document))
    empty = LayerDocument((5, 5), (Layer("none", np.zeros((3, 3, 4), np.uint8)),))
    assert edit.trim(empty) is empty
    assert edit.trim_layer(empty, "none").find("none").size == (1, 1)


def test_resizing_the_document_scales_what_it_shows(document):
    flat = LayerDocument((6, 4), (Layer("half", np.full((4, 3, 4), 200, np.uint8), (3, 0)),))
    double = edit.resize_document(flat, (12, 8))
    assert double.find("half").offset == (6, 0)
    np.testing.assert_array_equal(
        composite(double), composite(flat).repeat(2, axis=0).repeat(2, axis=1)
    )
    small = edit.resize_document(document, (15, 10), "area")
    apple, parrot = small.find("apple"), small.find("parrot")
    assert apple.size == (6, 6)
    assert apple.offset == (-2, 2)  # edges -3..7 and 5..17, halved
    assert parrot.pixels.dtype == np.float32
    assert small.layers[1].mask.pixels.shape == (4, 5)
    assert edit.resize_document(document, (30, 20)) is document


def test_resizing_one_layer(document):
    bigger = edit.resize_layer(document, "apple", (20, 24))
    assert bigger.find("apple").size == (20, 24)
    assert bigger.find("apple").offset == (-3, 5)
    assert untouched(document, bigger, "apple")
    assert edit.resize_layer(document, "apple", (10, 12)).find("apple").pixels is (
        document.find("apple").pixels
    )


@settings(max_examples=60, deadline=None)
@given(documents(dtypes=(np.float32,)))
def test_merging_from_the_ground_up_keeps_the_picture(document):
    everything = [(i,) for i in range(len(document.layers))]
    assume(not document.layers[0].clip)
    if window_of_nodes(document.layers).is_empty:
        with pytest.raises(ValueError, match="nothing visible"):
            edit.merge(document, everything)
        return
    merged = edit.merge(document, everything, name="one")
    assert [layer.name for layer in merged.leaves()] == ["one"]
    np.testing.assert_allclose(premul(merged), premul(document), atol=1e-5)


def test_merging_normal_neighbours_in_a_group_keeps_the_picture():
    rng = np.random.default_rng(9)
    layers = tuple(
        Layer(name, random_pixels(rng, 9, 9, np.float32), (i * 3, i - 2))
        for i, name in enumerate("abc")
    )
    ground = Layer("ground", random_pixels(rng, 16, 12))
    document = LayerDocument((16, 12), (ground, Group("g", layers, opacity=0.5)))
    merged = edit.merge(document, ["c", "b"])
    assert [layer.name for layer in merged.leaves()] == ["ground", "a", "b"]
    assert merged.find("b").offset == (3, -1)  # nothing beyond the canvas is lost
    assert merged.find("a") is layers[0]
    np.testing.assert_allclose(premul(merged), premul(document), atol=1e-5)
    with pytest.raises(ValueError, match="neighbours"):
        edit.merge(document, ["a", "c"])
    with pytest.raises(ValueError, match="neighbours"):
        edit.merge(document, ["ground", "a"])


def test_merging_clipped_layers_keeps_them_clipped():
    rng = np.random.default_rng(10)
    base = Layer("base", random_pixels(rng, 6, 6, np.float32))
    clips = [Layer(n, random_pixels(rng, 6, 6, np.float32), clip=True) for n in "ab"]
    document = LayerDocument((6, 6), (base, *clips, Layer("top", base.pixels)))
    merged = edit.merge(document, ["a", "b"])
    assert merged.find("a").clip
    np.testing.assert_allclose(premul(merged), premul(document), atol=1e-5)
    with pytest.raises(ValueError, match="'b' is clipped"):
        edit.merge(document, ["b", "top"])


def test_flatten_is_one_layer_of_the_finest_dtype(document):
    flat = edit.flatten(document)
    assert len(flat.leaves()) == 1
    assert flat.leaves()[0].pixels.dtype == np.float32
    np.testing.assert_array_equal(composite(flat), composite(document))
    assert edit.flatten(LayerDocument((2, 2))).leaves()[0].pixels.dtype == np.uint8
