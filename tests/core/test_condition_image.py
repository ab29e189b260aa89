"""Condition pictures, against the reference data and against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from multiplane.core.condition_image import FITS, Fit, condition_image, over_grey
from multiplane.core.resample import area, lanczos
from parity_rule import case

SIZES = [
    ((40, 56), (64, 64)),
    ((40, 56), (16, 24)),
    ((40, 56), (13, 17)),
    ((40, 56), (20, 28)),
    ((40, 56), (64, 20)),
    ((37, 53), (24, 64)),
    ((3, 5), (64, 128)),
    ((1, 1), (8, 8)),
    ((64, 64), (64, 64)),
]


@pytest.mark.parity
def test_reference() -> None:
    stored = {name: tensor.numpy() for name, tensor in case("condition_image_a").items()}
    np.testing.assert_allclose(over_grey(stored["rgba"]), stored["grey_blend"], atol=1e-6)
    for fit in FITS:
        found = condition_image(stored["rgba"], 64, 64, fit)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, stored[fit], atol=2e-6)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resampling_as_opencv(old: tuple[int, int], new: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(1).random((*old, 3), dtype=np.float32)
    height, width = new
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area(picture, height, width), expected, atol=3e-6)
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LANCZOS4)
    found = lanczos(lanczos(picture, width, 1), height, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_every_fit_has_the_size_asked_for(
    fit: Fit, old: tuple[int, int], new: tuple[int, int]
) -> None:
    flat = np.full((*old, 4), (255, 0, 51, 255), np.uint8)
    found = condition_image(flat, *new, fit)
    assert found.shape == (*new, 3)
    np.testing.assert_allclose(found, np.broadcast_to([1, 0, 0.2], found.shape), atol=1e-6)


def test_clear_is_grey_and_rgb_is_as_it_is() -> None:
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (over_grey(clear) == 0.5).all()
    rgb = np.random.default_rng(2).random((4, 4, 3), dtype=np.float32)
    assert np.array_equal(over_grey(rgb), rgb)


def test_what_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
        over_grey(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ValueError, match="resize, crop, fill"):
        condition_image(np.zeros((4, 4, 3), np.uint8), 8, 8, "stretch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 x 8"):
        condition_image(np.zeros((4, 4, 3), np.uint8), 8, 0)
