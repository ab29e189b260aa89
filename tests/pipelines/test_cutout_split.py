"""Objects told apart: every part of the alpha is somewhere, and only once."""

from __future__ import annotations

import numpy as np
import pytest

from known_scenes import ball_on_lawn
from multiplane.pipelines.cutout.split import split_alpha
from multiplane.pipelines.cutout.words import colour_word, place_word


def laid_over_each_other(parts: list[np.ndarray]) -> np.ndarray:
    return 1.0 - np.prod([1.0 - part for part in parts], axis=0)


def test_two_balls_are_two_layers_that_cover_what_one_did() -> None:
    _, alpha, *_ = ball_on_lawn((300, 160), ((80, 80), (210, 80)), 50, 8.0)
    parts = split_alpha(alpha)
    assert len(parts) == 2
    np.testing.assert_allclose(laid_over_each_other(parts), alpha, atol=1e-5)
    assert {place_word(part) for part in parts} == {"left", "right"}
    assert not ((parts[0] > 0.05) & (parts[1] > 0.05)).any()


def test_a_soft_bridge_is_shared_smoothly() -> None:
    _, alpha, *_ = ball_on_lawn((300, 160), ((105, 80), (195, 80)), 40, 40.0)
    alpha = np.minimum(alpha, 0.999)  # nothing is opaque: the seam must not show anywhere
    alpha[:, 145:155] *= 0.4  # what lies between is no object of its own
    parts = split_alpha(alpha)
    assert len(parts) == 2
    np.testing.assert_allclose(laid_over_each_other(parts), alpha, atol=1e-4)
    seam = np.abs(np.diff(parts[0][80, 140:160])).max()
    assert seam < np.abs(np.diff(alpha[80, 140:160])).max() + 0.3


def test_specks_join_what_is_near() -> None:
    alpha = np.zeros((100, 100), np.float32)
    alpha[20:60, 20:60] = 1.0
    alpha[64:66, 64:66] = 1.0
    (whole,) = split_alpha(alpha)
    np.testing.assert_array_equal(whole, alpha)


def test_no_more_parts_than_asked_for() -> None:
    alpha = np.zeros((60, 400), np.float32)
    for index in range(8):
        alpha[20:40, 50 * index + 10 : 50 * index + 40] = 1.0
    parts = split_alpha(alpha, most=3)
    assert len(parts) == 3
    np.testing.assert_array_equal(laid_over_each_other(parts), alpha)


@pytest.mark.parametrize(
    ("colour", "word"),
    [
        ((0.9, 0.1, 0.1), "red"),
        ((0.95, 0.55, 0.1), "orange"),
        ((0.45, 0.3, 0.2), "brown"),
        ((0.2, 0.6, 0.2), "green"),
        ((0.2, 0.3, 0.8), "blue"),
        ((0.05, 0.05, 0.05), "black"),
        ((0.95, 0.95, 0.95), "white"),
        ((0.5, 0.5, 0.52), "grey"),
    ],
)
def test_colours_have_their_usual_names(colour: tuple[float, ...], word: str) -> None:
    picture = np.full((4, 4, 3), 0.5, np.float32)
    alpha = np.zeros((4, 4), np.float32)
    alpha[1:3] = 1.0
    picture[1:3] = colour
    assert colour_word(picture, alpha) == word


def test_places_are_told_by_the_middle_of_what_is_covered() -> None:
    alpha = np.zeros((90, 90), np.float32)
    assert place_word(alpha) == "centre"
    alpha[5:20, 70:85] = 1.0
    assert place_word(alpha) == "top right"
    alpha[5:20, 5:85] = 1.0
    assert place_word(alpha) == "top"
