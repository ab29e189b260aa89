"""Refined alpha against the alpha the picture was mixed with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from known_scenes import ball_on_lawn
from multiplane.pipelines.cutout.refine import DEFAULT, refine_alpha


def blurred(alpha: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma))


def test_a_vague_matte_becomes_the_true_edge() -> None:
    picture, alpha, *_ = ball_on_lawn((240, 200), ((120, 100),), 60, 4.0)
    coarse = blurred(alpha, 7.0)
    refined = refine_alpha(picture, coarse)
    assert np.abs(refined - alpha).mean() < 0.2 * np.abs(coarse - alpha).mean()


def test_strands_that_the_matte_smeared_come_back() -> None:
    rng = np.random.default_rng(3)
    picture, alpha, foreground, background = ball_on_lawn((240, 200), ((120, 100),), 50, 3.0)
    rows, columns = np.mgrid[:200, :240].astype(np.float32)
    for angle in rng.uniform(0, 2 * np.pi, 60):
        along = (columns - 120) * np.cos(angle) + (rows - 100) * np.sin(angle)
        across = -(columns - 120) * np.sin(angle) + (rows - 100) * np.cos(angle)
        strand = np.clip(1.4 - np.abs(across), 0, 1) * ((along > 40) & (along < 66))
        alpha = np.maximum(alpha, strand)
    share = alpha[..., None]
    picture = (share * foreground + (1 - share) * background).astype(np.float32)
    coarse = blurred(alpha, 4.0)
    refined = refine_alpha(picture, coarse)
    hair = np.hypot(columns - 120, rows - 100) > 53
    assert np.abs(refined - alpha)[hair].mean() < 0.6 * np.abs(coarse - alpha)[hair].mean()


def test_a_crisp_matte_stays() -> None:
    picture, alpha, *_ = ball_on_lawn((240, 200), ((120, 100),), 60, 1.5)
    refined = refine_alpha(picture, alpha)
    assert np.abs(refined - alpha).mean() < 0.002
    assert set(np.unique(refined[np.abs(alpha - 0.5) == 0.5])) >= {0.0, 1.0}


def test_a_large_picture_is_solved_small_and_follows_its_own_edge() -> None:
    picture, alpha, *_ = ball_on_lawn((480, 400), ((240, 200),), 120, 5.0)
    coarse = blurred(alpha, 12.0)
    refined = refine_alpha(picture, coarse, replace(DEFAULT, side=240))
    assert refined.shape == alpha.shape
    assert np.abs(refined - alpha).mean() < 0.3 * np.abs(coarse - alpha).mean()


def test_flat_colours_do_not_break_the_solver() -> None:
    picture = np.full((60, 60, 3), 1.0, np.float32)  # saturated: no edge at all
    coarse = np.zeros((60, 60), np.float32)
    coarse[20:40, 20:40] = 1.0
    refined = refine_alpha(picture, coarse)
    assert np.isfinite(refined).all()
    assert np.abs(refined - coarse).mean() < 0.05


def test_a_matte_sure_of_nothing_is_left_alone() -> None:
    coarse = np.full((20, 30), 0.4, np.float32)
    np.testing.assert_array_equal(refine_alpha(np.zeros((20, 30, 3), np.float32), coarse), coarse)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"its matte \(3, 4\)"):
        refine_alpha(np.zeros((4, 4, 3), np.float32), np.zeros((3, 4), np.float32))
