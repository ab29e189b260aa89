"""Foreground colours against the colours the picture was mixed from."""

from __future__ import annotations

import numpy as np
import pytest

from known_scenes import ball_on_lawn
from multiplane.pipelines.cutout.foreground import estimate_foreground


@pytest.mark.parametrize("size", [(144, 96), (700, 500)])  # solved everywhere; at soft pixels only
def test_both_colours_of_a_soft_edge_are_found(size: tuple[int, int]) -> None:
    centre = (size[0] // 2, size[1] // 2)
    picture, alpha, foreground, background = ball_on_lawn(
        size, (centre,), size[1] / 4, size[1] / 12
    )
    front, back = estimate_foreground(picture, alpha)
    edge = (alpha > 0.1) & (alpha < 0.9)
    skipped = np.abs(picture - foreground)[edge].mean()
    assert np.abs(front - foreground)[edge].mean() < 0.08 * skipped
    assert np.abs(back - background)[edge].mean() < 0.08 * skipped
    again = alpha[..., None] * front + (1.0 - alpha[..., None]) * back
    assert np.abs(again - picture).max() < 0.01


def test_where_one_alone_is_seen_it_is_the_picture() -> None:
    picture, alpha, *_ = ball_on_lawn((500, 400), ((250, 200),), 90)
    front, back = estimate_foreground(picture, alpha)
    np.testing.assert_allclose(front[alpha == 1.0], picture[alpha == 1.0], atol=0.01)
    np.testing.assert_allclose(back[alpha == 0.0], picture[alpha == 0.0], atol=0.01)


def test_nothing_but_foreground_and_one_pixel_are_pictures_too() -> None:
    picture = np.full((5, 7, 3), 0.3, np.float32)
    front, back = estimate_foreground(picture, np.ones((5, 7), np.float32))
    np.testing.assert_allclose(front, picture, atol=1e-4)
    assert np.isfinite(back).all()
    front, _ = estimate_foreground(picture[:1, :1], np.full((1, 1), 0.5, np.float32))
    assert front.shape == (1, 1, 3)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"its alpha \(3, 4\)"):
        estimate_foreground(np.zeros((4, 4, 3), np.float32), np.zeros((3, 4), np.float32))
