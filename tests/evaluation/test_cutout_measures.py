"""Measures of taking photographs apart, against cases worked by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from multiplane.evaluation.cutout_measures import (
    box_around,
    colour_figures,
    completion_figures,
    hole_of,
    matte_figures,
    unknown_band,
)
from multiplane.pipelines.cutout.complete import default_grow


class MeanColours:
    """Features that are the mean colour of a picture."""

    name = "mean colours"

    def of(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([picture.mean(axis=(0, 1)) for picture in pictures]).astype(np.float32)


def square(side: int = 40, low: int = 10, high: int = 30) -> np.ndarray:
    alpha = np.zeros((side, side), np.float32)
    alpha[low:high, low:high] = 1.0
    return alpha


def test_the_band_runs_on_both_sides_of_the_edge() -> None:
    band = unknown_band(square(), 3)
    row = np.flatnonzero(band[20])
    assert row.tolist() == [7, 8, 9, 10, 11, 12, 27, 28, 29, 30, 31, 32]
    soft = square()
    soft[20, 20] = 0.5
    assert unknown_band(soft, 3)[20, 20]
    assert not unknown_band(np.zeros((4, 4), np.float32)).any()
    assert not unknown_band(np.ones((4, 4), np.float32)).any()


def test_a_matte_one_pixel_too_large() -> None:
    figures = matte_figures(square(low=9, high=31), square())
    assert figures["mask iou"] == pytest.approx(400 / 484)
    assert figures["alpha mae"] == pytest.approx(84 / 1600)
    assert figures["alpha mae in the band"] == pytest.approx(84 / unknown_band(square()).sum())
    same = matte_figures(square(), square())
    assert same["mask iou"] == 1.0
    assert same["alpha mae in the band"] == 0.0


def test_the_hole_is_the_object_and_a_rim_as_the_family_takes_it() -> None:
    hole = hole_of(square(160, 60, 100))
    grow = default_grow((160, 160))
    assert np.flatnonzero(hole[80]).tolist() == list(range(60 - grow, 100 + grow))
    assert not hole_of(np.zeros((8, 8), np.float32)).any()


def test_colours_count_only_where_alpha_is_soft() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[..., 0], truth[1, 1, 3], truth[2, 2, 3] = 255, 128, 255
    colours = np.zeros((4, 4, 3), np.float32)  # wrong everywhere: red is 1
    assert colour_figures(colours, truth)["edge colour error"] == pytest.approx(1 / 3)
    colours[1, 1, 0] = 1.0
    assert colour_figures(colours, truth)["edge colour error"] == 0.0
    truth[1, 1, 3] = 255
    assert colour_figures(colours, truth) == {}


def test_a_completion_is_measured_inside_its_hole() -> None:
    truth = np.full((20, 20, 3), 0.5, np.float32)
    hole = np.zeros((20, 20), bool)
    hole[8:12, 8:12] = True
    made = truth.copy()
    made[8:12, 8:12] += 0.1
    made[0, 0] = 1.0  # outside of it
    figures = completion_figures(made, truth, hole, MeanColours())
    assert figures["psnr"] == pytest.approx(20.0, abs=1e-3)
    assert figures["l1"] == pytest.approx(0.1, abs=1e-6)
    assert figures["feature distance"] == pytest.approx(0.0, abs=1e-6)  # grey beside grey
    made[8:12, 8:12, 0] = 1.0
    assert completion_figures(made, truth, hole, MeanColours())["feature distance"] > 1e-3
    with pytest.raises(ValueError, match="no hole"):
        completion_figures(made, truth, np.zeros((20, 20), bool), MeanColours())


def test_the_box_has_a_quarter_more_where_there_is_room() -> None:
    hole = np.zeros((40, 20), bool)
    hole[10:18, 0:12] = True
    assert box_around(hole) == (slice(8, 20), slice(0, 15))
