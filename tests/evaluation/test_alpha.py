"""Hand-worked cases of the matte measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from skimage.metrics import peak_signal_noise_ratio

from multiplane.evaluation import alpha as measures


def _matte(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_mask_iou_counts_pixels() -> None:
    made = _matte((1.0, 0.6, 0.2, 0.0))
    truth = _matte((0.9, 0.4, 0.7, 0.0))
    # at 0.5: made {0, 1}, truth {0, 2}: one shared of three
    assert measures.mask_iou(made, truth) == pytest.approx(1 / 3)
    # at 0.3: made {0, 1}, truth {0, 1, 2}
    assert measures.mask_iou(made, truth, threshold=0.3) == pytest.approx(2 / 3)


def test_soft_iou_is_min_over_max() -> None:
    made = _matte((1.0, 0.6, 0.2, 0.0))
    truth = _matte((0.5, 0.8, 0.2, 0.0))
    assert measures.soft_iou(made, truth) == pytest.approx((0.5 + 0.6 + 0.2) / (1.0 + 0.8 + 0.2))


def test_two_empty_mattes_do_not_match() -> None:
    empty = np.zeros((3, 3), np.float32)
    assert measures.mask_iou(empty, empty) == 0.0
    assert measures.soft_iou(empty, empty) == 0.0


def test_alpha_error_by_hand() -> None:
    error = measures.alpha_error(_matte((0.0, 1.0), (0.5, 0.5)), _matte((0.0, 0.0), (1.0, 0.5)))
    assert error.mae == pytest.approx(1.5 / 4)
    assert error.mse == pytest.approx(1.25 / 4)
    assert error.sad == pytest.approx(1.5 / 1000)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2, 3\)"):
        measures.soft_iou(np.zeros((2, 2)), np.zeros((2, 3)))


def test_soft_share_leaves_out_clear_canvas() -> None:
    matte = _matte((0.0, 0.0, 0.0, 0.0), (0.5, 1.0, 1.0, 0.3))
    assert measures.soft_share(matte) == pytest.approx(2 / 4)
    assert measures.soft_share(np.zeros((2, 2), np.float32)) == 0.0


def test_histogram_of_a_known_matte() -> None:
    # two bins over 0.04..0.96: below and above 0.5; then the solid place
    histogram = measures.alpha_histogram([_matte((0.2, 0.8, 0.9, 1.0, 0.0))], bins=2)
    assert histogram == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    with pytest.raises(ValueError, match="empty"):
        measures.alpha_histogram([np.zeros((2, 2), np.float32)])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5),
    st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5),
)
def test_histogram_distance_is_earth_movers(left: list[float], right: list[float]) -> None:
    a, b = np.array(left) / sum(left), np.array(right) / sum(right)
    places = np.linspace(0.0, 1.0, 5)
    assert measures.histogram_distance(a, b) == pytest.approx(
        wasserstein_distance(places, places, a, b), abs=1e-9
    )


def test_histogram_distance_of_opposites_is_one() -> None:
    assert measures.histogram_distance(np.array([1.0, 0, 0]), np.array([0, 0, 1.0])) == 1.0


def test_psnr_equals_an_independent_one() -> None:
    random = np.random.default_rng(1)
    a, b = random.random((8, 9, 3)), random.random((8, 9, 3))
    assert measures.psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0))
    assert measures.psnr(a, a) == 100.0


def test_solid_backgrounds_see_alpha_and_colour() -> None:
    truth = np.zeros((4, 4, 4), np.float32)
    truth[1:3, 1:3] = (0.2, 0.4, 0.6, 1.0)
    other_hidden = truth.copy()
    other_hidden[0, 0, :3] = 0.9  # colour under alpha 0 shows on no background
    assert measures.solid_background_psnr(other_hidden, truth) == 100.0
    hole = truth.copy()
    hole[1, 1, 3] = 0.0
    # one of 16 pixels shows the background instead of the colour
    expected = [
        -10 * np.log10(np.square(np.subtract(color, (0.2, 0.4, 0.6))).mean() / 16)
        for color in measures.SOLID_BACKGROUNDS
    ]
    assert measures.solid_background_psnr(hole, truth) == pytest.approx(np.mean(expected), abs=1e-4)


def test_edge_colour_error_weighs_only_the_soft_band() -> None:
    truth = np.zeros((1, 4, 4), np.float32)
    truth[0, :, 3] = (0.0, 0.25, 0.75, 1.0)
    made = truth.copy()
    made[0, 0, :3] = 1.0  # clear: not counted
    made[0, 3, :3] = 1.0  # solid: not counted
    made[0, 1, :3] = 0.8
    assert measures.edge_color_error(made, truth) == pytest.approx(0.8 * 0.25 / 1.0, abs=1e-6)
    truth[0, :, 3] = (0.0, 0.0, 1.0, 1.0)
    assert measures.edge_color_error(made, truth) is None
