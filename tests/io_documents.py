"""Random documents for the tests of file formats, and what must be equal after a trip."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
from multiplane.io.metadata import ROLES

MODES = tuple(BLEND_MODES)
U8, U16, F32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Noise over the whole range, with clear, solid and half-clear spots in the last channel."""
    dtype = np.dtype(dtype)
    if dtype == F32:
        array = rng.random(shape, dtype=np.float32)
        full: Any = np.float32(1)
    else:
        full = np.iinfo(dtype).max
        array = rng.integers(0, full + 1, shape).astype(dtype)
    spots = rng.integers(0, 3, shape[:2])
    alpha = array[..., 3] if len(shape) == 3 else array
    alpha[spots == 0] = 0
    alpha[spots == 1] = full
    return array


def layer_of(width: int, height: int, dtype: Any = np.uint8, seed: int = 0, **fields: Any) -> Layer:
    pixels = random_array(np.random.default_rng(seed), (height, width, 4), dtype)
    return Layer(fields.pop("name", "layer"), pixels, **fields)


def texts(control: bool) -> st.SearchStrategy[str]:
    excluded: tuple[Any, ...] = ("Cs",) if control else ("Cs", "Cc")
    letters = st.characters(
        exclude_categories=excluded, exclude_characters="" if control else "\ufffe\uffff"
    )
    return st.one_of(
        st.sampled_from(
            ["", "layer", "图层", "苹果 🍎", "</stack>", 'a "b" & <c>', "../x", "x" * 300]
        ),
        st.text(letters, max_size=12),
    )


FULL_OR_EMPTY = st.sampled_from([0.0, 1.0])
seeds = st.integers(0, 2**32 - 1)
# Mostly such that layers, masks and canvas meet, sometimes far off.
places = st.one_of(st.integers(-6, 6), st.integers(-6, 6), st.integers(-30, 30))
offsets = st.tuples(places, places)
opacities = st.one_of(st.just(1.0), st.floats(0, 1), st.sampled_from([0.0, 0.5, 127 / 255]))


@st.composite
def masks(draw: Any, dtypes: tuple[Any, ...], outsides: Any) -> Mask:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    pixels = random_array(np.random.default_rng(draw(seeds)), shape, draw(st.sampled_from(dtypes)))
    return Mask(pixels, draw(offsets), draw(outsides), draw(st.booleans()))


@st.composite
def documents(
    draw: Any,
    dtypes: tuple[Any, ...] = (U8,),
    modes: tuple[str, ...] = MODES,
    layer_masks: bool = True,
    group_masks: bool = True,
    outsides: Any = FULL_OR_EMPTY,
    clips: str = "any",  # "any", "plain" (normal layers alone) or "none"
    faded_pass_through: bool = True,
    control_names: bool = False,
    space: str = "srgb",
) -> LayerDocument:
    names = texts(control_names)

    def shared(is_group: bool) -> dict[str, Any]:
        masked = draw(st.booleans()) and (group_masks if is_group else layer_masks)
        clip = clips != "none" and draw(st.booleans()) and (clips == "any" or not is_group)
        blends = [*modes, "pass-through"] if is_group else modes
        fields: dict[str, Any] = {
            "name": draw(names),
            "opacity": draw(opacities),
            "blend": "normal" if clip and clips == "plain" else draw(st.sampled_from(blends)),
            "visible": draw(st.booleans()),
            "clip": clip,
            "mask": draw(masks(dtypes, outsides)) if masked else None,
        }
        if fields["blend"] == "pass-through" and not faded_pass_through:
            fields["opacity"] = 1.0
        return fields

    def nodes(depth: int) -> tuple[Layer | Group, ...]:
        made: list[Layer | Group] = []
        for _ in range(draw(st.integers(0, 3))):
            if depth < 3 and draw(st.integers(0, 3)) == 0:
                made.append(Group(layers=nodes(depth + 1), **shared(True)))
                continue
            shape = draw(st.integers(1, 12)), draw(st.integers(1, 12)), 4
            dtype = draw(st.sampled_from(dtypes))
            pixels = random_array(np.random.default_rng(draw(seeds)), shape, dtype)
            role = draw(st.sampled_from([None, *ROLES]))
            fields = shared(False)
            made.append(Layer(pixels=pixels, offset=draw(offsets), role=role, **fields))
        return tuple(made)

    size = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return LayerDocument(size, nodes(0), space, draw(st.none() | provenances()))  # pyright: ignore


def provenances() -> st.SearchStrategy[Provenance]:
    plain = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(-1e9, 1e9)
        | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )
    tables = st.dictionaries(st.text(max_size=9), plain, max_size=3)
    return st.builds(
        Provenance,
        st.text(max_size=9),
        st.text(max_size=5),
        st.none() | st.integers(),
        tables,
        tables,
    )


def assert_same(made: LayerDocument, back: LayerDocument) -> None:
    """Everything equal: tree, every field, dtypes and every stored byte."""
    assert back.size == made.size
    assert back.space == made.space
    assert back.provenance == made.provenance
    ours, theirs = list(made.walk()), list(back.walk())
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        assert type(a) is type(b), path
        for field in ("name", "opacity", "blend", "visible", "clip"):
            assert getattr(a, field) == getattr(b, field), (path, field)
        if isinstance(a, Layer) and isinstance(b, Layer):
            assert (a.offset, a.role) == (b.offset, b.role), path
            assert_same_array(a.pixels, b.pixels)
        assert (a.mask is None) == (b.mask is None), path
        if a.mask is not None and b.mask is not None:
            for field in ("offset", "outside", "enabled"):
                assert getattr(a.mask, field) == getattr(b.mask, field), (path, field)
            assert_same_array(a.mask.pixels, b.mask.pixels)


def assert_same_array(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
