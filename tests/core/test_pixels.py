"""Conversions against arithmetic written out, and the algebra they must obey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiplane.core import pixels


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_survive_the_way_to_float_and_back(dtype, scale):
    values = np.arange(scale + 1, dtype=dtype).reshape(1, -1)
    floats = pixels.to_float(values)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[0], np.arange(scale + 1) / scale, atol=1e-7)
    np.testing.assert_array_equal(pixels.to_dtype(floats, values.dtype), values)


def test_rounding_is_to_nearest_and_clipped():
    values = np.array([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 254.51 / 255, 1.0, 7.0], np.float32)
    np.testing.assert_array_equal(pixels.to_u8(values), [0, 0, 0, 1, 255, 255, 255])
    assert pixels.to_u8(np.array([32896], np.uint16))[0] == 128  # 257 x 128
    assert pixels.to_u16(np.array([128], np.uint8))[0] == 32896


def test_a_foreign_dtype_is_named():
    with pytest.raises(ValueError, match="int64"):
        pixels.to_float(np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="float only"):
        pixels.premultiply(np.zeros((2, 2, 4), np.uint8))  # type: ignore[arg-type]


def test_premultiplied_and_back_wherever_there_is_alpha():
    rng = np.random.default_rng(0)
    straight = rng.random((9, 7, 4), dtype=np.float32)
    straight[0, :, 3] = 0.0
    premul = pixels.premultiply(straight)
    np.testing.assert_array_equal(premul[..., 1], straight[..., 1] * straight[..., 3])
    back = pixels.unpremultiply(premul)
    np.testing.assert_allclose(back[1:], straight[1:], atol=1e-6)
    assert not back[0].any()


@given(st.floats(0, 1, width=32))
def test_the_curve_inverts(value):
    encoded = np.array([value], np.float32)
    linear = pixels.srgb_to_linear(encoded)
    np.testing.assert_allclose(pixels.linear_to_srgb(linear), encoded, atol=2e-6)


def test_the_curve_at_published_points():
    # IEC 61966-2-1: 8-bit 188 is the code nearest to half the light, 128 holds 0.2158605.
    assert pixels.to_u8(pixels.linear_to_srgb(np.array([0.5], np.float32)))[0] == 188
    linear = pixels.srgb_to_linear(np.array([0.0, 128 / 255, 1.0], np.float32))
    np.testing.assert_allclose(linear, [0.0, 0.2158605, 1.0], atol=1e-6)
    table = pixels.curve_table(pixels.srgb_to_linear, np.dtype(np.uint8))
    np.testing.assert_allclose(table[128], 0.2158605, atol=1e-6)


def test_area_resize_by_a_whole_factor_is_the_premultiplied_mean():
    rng = np.random.default_rng(1)
    picture = rng.random((8, 12, 4), dtype=np.float32)
    small = pixels.resize(picture, (3, 2), "area")
    premul = picture.astype(np.float64)
    premul[..., :3] *= premul[..., 3:]
    mean = premul.reshape(2, 4, 3, 4, 4).mean(axis=(1, 3))
    mean[..., :3] /= mean[..., 3:]
    np.testing.assert_allclose(small, mean, atol=1e-5)


@pytest.mark.parametrize("method", ["lanczos", "area"])
@pytest.mark.parametrize("size", [(5, 9), (40, 31)])
def test_no_colour_bleeds_from_under_clear_pixels(method, size):
    picture = np.zeros((20, 16, 4), np.uint8)
    picture[...] = (0, 255, 0, 0)  # clear, but green underneath
    picture[4:15, 3:12] = (200, 10, 30, 255)
    resized = pixels.resize(picture, size, method)
    assert resized.dtype == np.uint8
    assert resized.shape == (size[1], size[0], 4)
    shown = resized[resized[..., 3] > 2].astype(int)
    assert np.abs(shown[:, :3] - (200, 10, 30)).max() <= 1


def test_resize_to_the_same_size_is_the_same_object():
    coverage = np.zeros((4, 6), np.uint16)
    assert pixels.resize(coverage, (6, 4)) is coverage
    assert pixels.resize(coverage, (3, 2)).dtype == np.uint16
    with pytest.raises(ValueError, match="0 x 2"):
        pixels.resize(coverage, (0, 2))
    with pytest.raises(ValueError, match="nearest"):
        pixels.resize(coverage, (3, 2), "nearest")  # type: ignore[arg-type]


def test_checkerboard():
    board = pixels.checkerboard((5, 4), square=2)
    assert board.shape == (4, 5, 4)
    assert board[0, 0, 0] == 1.0
    assert board[0, 2, 0] == np.float32(0.8)
    assert board[2, 2, 0] == 1.0
    assert (board[..., 3] == 1).all()
