"""Documents are frozen, checked where they are made, and hash what they store."""

import dataclasses

import numpy as np
import pytest

from multiplane.core.document import Group, Layer, LayerDocument, Mask


def layer(name="layer", **fields):
    return Layer(name, np.zeros((2, 3, 4), np.uint8), **fields)


def test_stored_pixels_cannot_change_under_a_layer():
    mine = np.zeros((2, 3, 4), np.uint8)
    made = Layer("mine", mine)
    mine[...] = 9
    assert not made.pixels.any()
    with pytest.raises(ValueError, match="read-only"):
        made.pixels[0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.opacity = 0.5
    # What is frozen already is shared, not copied.
    assert dataclasses.replace(made, name="other").pixels is made.pixels


def test_the_hash_is_over_dtype_shape_and_bytes():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    same = Layer("a", pixels, (5, 5), opacity=0.3)
    assert Layer("b", pixels.copy()).content_hash == same.content_hash
    hidden = pixels.copy()
    hidden[..., 3] = 0
    others = [pixels.reshape(3, 2, 4), pixels.astype(np.uint16), pixels + 1, hidden]
    recoloured = hidden.copy()
    recoloured[0, 0, 0] = 77  # colour under alpha 0 is data
    hashes = {Layer("c", other).content_hash for other in (pixels, *others, recoloured)}
    assert len(hashes) == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixels": np.zeros((2, 3, 3), np.uint8)}, r"\(H, W, 4\), got \(2, 3, 3\)"),
        ({"pixels": np.zeros((2, 3, 4), np.float64)}, "got float64"),
        ({"pixels": np.zeros((0, 3, 4), np.uint8)}, "at least one pixel"),
        ({"opacity": 1.2}, "'layer' must be 0..1, got 1.2"),
        ({"opacity": float("nan")}, "must be 0..1"),
        ({"blend": "dissolve"}, "unknown blend mode 'dissolve' of 'layer': use one of normal, "),
        ({"blend": "pass-through"}, "unknown blend mode 'pass-through'"),
        ({"offset": (0.5, 1)}, "two whole numbers"),
        ({"offset": (1, 2, 3)}, "two whole numbers"),
    ],
)
def test_a_layer_refuses(fields, message):
    whole = {"name": "layer", "pixels": np.zeros((2, 3, 4), np.uint8), **fields}
    with pytest.raises(ValueError, match=message):
        Layer(**whole)


def test_masks_groups_and_documents_refuse():
    with pytest.raises(ValueError, match=r"\(H, W\), got \(2, 2, 4\)"):
        Mask(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(ValueError, match=r"got -0\.1"):
        Mask(np.zeros((2, 2), np.uint8), outside=-0.1)
    with pytest.raises(ValueError, match="offset of a mask"):
        Mask(np.zeros((2, 2), np.uint8), offset=(0.0, 1.0))
    with pytest.raises(ValueError, match="use one of pass-through, normal"):
        Group("g", (), blend="passthrough")
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        LayerDocument((0, 5))


def test_walk_leaves_and_find():
    inner = Group("inner", [layer("a"), layer("b")])
    document = LayerDocument((3, 2), [layer("ground"), Group("outer", (inner, layer("c")))])
    assert [(path, node.name) for path, node in document.walk()] == [
        ((0,), "ground"),
        ((1,), "outer"),
        ((1, 0), "inner"),
        ((1, 0, 0), "a"),
        ((1, 0, 1), "b"),
        ((1, 1), "c"),
    ]
    assert [leaf.name for leaf in document.leaves()] == ["ground", "a", "b", "c"]
    assert document.find("b") is inner.layers[1]
    with pytest.raises(KeyError, match=r"no layer is called 'inner'.*'ground', 'a', 'b', 'c'"):
        document.find("inner")
    twins = LayerDocument((3, 2), (layer("a"), layer("a")))
    with pytest.raises(KeyError, match="2 layers are called 'a'"):
        twins.find("a")
