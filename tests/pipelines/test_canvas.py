"""The square canvas: nothing of the request's canvas is lost or moved."""

from __future__ import annotations

import numpy as np
import pytest

from multiplane.core.pixels import premultiply
from multiplane.pipelines.canvas import SquareCanvas


def gradient(width: int, height: int) -> np.ndarray:
    """(height, width, 4) float32: smooth colours under a smooth alpha of at least a half."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    planes = [x / width, y / height, (x + y) / (width + height), 0.5 + 0.5 * y / height]
    return np.stack(planes, axis=2).astype(np.float32)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (32, 20), (11, 32)])
def test_at_its_own_size_a_picture_comes_back(width: int, height: int) -> None:
    canvas, pixels = SquareCanvas(width, height, 32), gradient(width, height)
    np.testing.assert_allclose(canvas.outward(canvas.inward(pixels)), pixels, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (120, 64), (60, 128)])
def test_scaled_down_and_up_a_smooth_picture_stays_in_its_place(width: int, height: int) -> None:
    canvas, pixels = SquareCanvas(width, height, 64), gradient(width, height)
    back = canvas.outward(canvas.inward(pixels, extend=True))
    assert back.shape == pixels.shape
    np.testing.assert_allclose(back, pixels, atol=0.03)
    np.testing.assert_allclose(back[8:-8, 8:-8], pixels[8:-8, 8:-8], atol=0.004)


def test_the_canvas_lies_in_the_middle_of_the_square() -> None:
    canvas = SquareCanvas(32, 10, 32)
    assert canvas.side == 32
    assert canvas.origin == (0, 11)
    inside = canvas.inward(np.ones((10, 32, 4), np.float32))
    np.testing.assert_array_equal(inside[11:21], 1)
    assert float(np.abs(inside[:11]).max()) == float(np.abs(inside[21:]).max()) == 0


def test_extended_borders_run_on_and_others_are_clear() -> None:
    canvas, pixels = SquareCanvas(12, 32, 32), gradient(12, 32)
    extended, clear = canvas.inward(pixels, extend=True), canvas.inward(pixels)
    premul = premultiply(pixels)
    np.testing.assert_allclose(extended[:, :10], np.repeat(premul[:, :1], 10, axis=1), atol=1e-6)
    np.testing.assert_allclose(extended[:, 22:], np.repeat(premul[:, -1:], 10, axis=1), atol=1e-6)
    assert float(np.abs(clear[:, :10]).max()) == 0
    np.testing.assert_allclose(clear[:, 10:22], premul, atol=1e-6)


def test_integers_mean_what_floats_mean() -> None:
    canvas = SquareCanvas(16, 8, 16)
    stored = np.full((8, 16, 4), 51, np.uint8)
    floats = np.full((8, 16, 4), 0.2, np.float32)
    np.testing.assert_allclose(canvas.inward(stored), canvas.inward(floats), atol=1e-6)
    assert canvas.inward(stored)[6, 6].tolist() == pytest.approx([0.04, 0.04, 0.04, 0.2])
    assert canvas.inward_coverage(stored[..., 0])[6, 6] == pytest.approx(0.2)


def test_beyond_the_canvas_nothing_is_kept() -> None:
    inside = SquareCanvas(16, 8, 16).inward_coverage(np.full((8, 16), 255, np.uint8))
    assert inside.mean() == 0.5
    np.testing.assert_array_equal(inside[4:12], 1)


def test_what_a_model_paints_out_of_range_is_clipped() -> None:
    premul = np.full((8, 8, 4), 1.5, np.float32)
    premul[..., 3] = 0.5
    out = SquareCanvas(8, 8, 8).outward(premul)
    np.testing.assert_array_equal(out[..., :3], 1)
    np.testing.assert_array_equal(out[..., 3], 0.5)
