"""Masks turned into alpha, and masks grown: against coverage asked for pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from io_documents import layer_of, random_array
from multiplane.core.document import Group, Mask
from multiplane.core.pixels import to_float
from multiplane.io.bake import bounds, mask_in_alpha, rounded, spread

near = st.integers(-7, 7)
sides = st.integers(1, 6)
arrays = st.sampled_from([np.uint8, np.uint16, np.float32])


def coverage_at(mask: Mask, x: int, y: int) -> float:
    """What the mask says of the canvas pixel (x, y), by its definition."""
    column, row = x - mask.offset[0], y - mask.offset[1]
    height, width = mask.pixels.shape
    if 0 <= column < width and 0 <= row < height:
        return float(to_float(mask.pixels)[row, column])
    return mask.outside


@st.composite
def near_masks(draw: Any) -> Mask:
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    pixels = random_array(rng, (draw(sides), draw(sides)), draw(arrays))
    return Mask(pixels, (draw(near), draw(near)), draw(st.sampled_from([0.0, 0.25, 1.0])))


@settings(max_examples=80, deadline=None)
@given(near_masks(), near, near, sides, sides)
def test_spread_says_the_same_everywhere(mask: Mask, x: int, y: int, w: int, h: int) -> None:
    grown = spread(mask, (x, y, x + w, y + h))
    assert (grown.offset, grown.pixels.shape, grown.pixels.dtype) == (
        (x, y),
        (h, w),
        mask.pixels.dtype,
    )
    truth = [[coverage_at(mask, x + i, y + j) for i in range(w)] for j in range(h)]
    np.testing.assert_allclose(to_float(grown.pixels), truth, atol=0.51 / 255)


@settings(max_examples=60, deadline=None)
@given(near_masks(), near, near, arrays)
def test_the_mask_multiplies_the_alpha_alone(mask: Mask, x: int, y: int, dtype: Any) -> None:
    layer = layer_of(5, 4, dtype, mask=mask, offset=(x, y))
    baked = mask_in_alpha(layer)
    assert baked.dtype == dtype
    np.testing.assert_array_equal(baked[..., :3], layer.pixels[..., :3])
    truth = [[coverage_at(mask, x + i, y + j) for i in range(5)] for j in range(4)]
    alpha = to_float(layer.pixels[..., 3]) * np.array(truth)
    np.testing.assert_allclose(to_float(baked[..., 3]), alpha, atol=0.6 / 255)


def test_without_an_enabled_mask_nothing_changes() -> None:
    plain = layer_of(3, 3)
    off = layer_of(3, 3, mask=Mask(np.zeros((2, 2), np.uint8), enabled=False))
    assert mask_in_alpha(plain) is plain.pixels
    assert mask_in_alpha(off) is off.pixels
    assert rounded(plain.pixels) is plain.pixels


@pytest.mark.parametrize(("value", "stored"), [(0.0, 0), (0.5, 32768), (1.0, 65535)])
def test_floats_round_to_the_nearest_of_sixteen_bits(value: float, stored: int) -> None:
    assert rounded(np.full((1, 1, 4), value, np.float32))[0, 0, 0] == stored


def test_bounds_hold_everything() -> None:
    group = Group("g", (layer_of(4, 2, offset=(-3, 5)), Group("h", (layer_of(1, 9),))))
    assert bounds(group) == (-3, 0, 1, 9)
    assert bounds(Group("empty", ())) is None
