"""Scores of candidates, and the answer that there is no subject."""

from __future__ import annotations

import numpy as np
import pytest

from known_scenes import ball_on_lawn
from multiplane.pipelines.cutout.candidates import (
    MAX_CANDIDATES,
    NoSubject,
    check_subject,
    chosen,
    iou,
    recipes,
    score,
)
from multiplane.pipelines.cutout.foreground import estimate_foreground


def test_the_true_alpha_outscores_what_is_wrong_with_others() -> None:
    picture, alpha, *_ = ball_on_lawn((240, 200), ((120, 100),), 50, 8.0)
    half = alpha.copy()
    half[:, :120] = 0.0  # cuts through the middle of the object
    foggy = np.clip(alpha * 0.6 + 0.05, 0, 1)
    nothing = np.zeros_like(alpha)
    made = [alpha, half, foggy, nothing]
    found = [
        score(picture, each, estimate_foreground(picture, each), [m for m in made if m is not each])
        for each in made
    ]
    totals = [each.total for each in found]
    assert totals[0] == max(totals)
    assert totals[3] == min(totals)
    assert found[3].empty
    assert found[2].entropy > found[0].entropy
    assert found[1].agreement < found[0].agreement
    assert found[0].area == pytest.approx((alpha > 0.5).mean(), abs=1e-6)


def test_an_edge_inside_one_colour_counts_as_duplicate_content() -> None:
    picture = np.full((100, 100, 3), 0.4, np.float32)
    alpha = np.clip((np.arange(100, dtype=np.float32)[None] - 45) / 10, 0, 1).repeat(100, axis=0)
    same = score(picture, alpha, estimate_foreground(picture, alpha), [])
    picture = picture * (1 - alpha[..., None]) + alpha[..., None] * np.float32([0.9, 0.1, 0.1])
    different = score(picture, alpha, estimate_foreground(picture, alpha), [])
    assert same.duplicate > 0.9
    assert different.duplicate < 0.1


def test_recipes_begin_with_the_plain_one_and_differ() -> None:
    listed = recipes("isnet", MAX_CANDIDATES)
    assert len(listed) == len({each.name for each in listed}) == MAX_CANDIDATES
    assert {each.matte for each in listed} == {"isnet", "u2netp"}  # no download beside its own
    assert {each.matte for each in recipes("u2netp", 6)} == {"u2netp"}
    assert recipes("isnet", 1)[0].name == "isnet, fine edge"
    assert all(each.refine is None for each in recipes("isnet", 6, refine=False))


def test_no_clear_subject_is_said_with_what_was_seen() -> None:
    blank = np.zeros((50, 50), np.float32)
    with pytest.raises(NoSubject, match=r"nothing stands out .*--point"):
        check_subject(blank)
    with pytest.raises(NoSubject, match="takes 100%"):
        check_subject(blank + 0.9)
    doubt = blank + 0.3
    doubt[:5, :5] = 0.6
    with pytest.raises(NoSubject, match="2% of the matte is sure"):
        check_subject(doubt)
    clear = blank.copy()
    clear[10:30, 10:30] = 0.95
    check_subject(clear)


def test_the_plain_way_is_left_only_for_a_clearly_better_one() -> None:
    assert chosen([0.80, 0.81, 0.79]) == 0
    assert chosen([0.80, 0.83, 0.90]) == 2
    assert chosen([-1.0, 0.3]) == 1


def test_iou_is_soft() -> None:
    one = np.array([[1.0, 0.5, 0.0]], np.float32)
    assert iou(one, one) == 1.0
    assert iou(one, np.array([[0.5, 0.5, 0.5]], np.float32)) == pytest.approx(1.0 / 2.0)
    assert iou(one * 0, one * 0) == 1.0
