"""Planted residue, holes, fringes and glass: each is found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from multiplane.evaluation.alpha import INSIDE, OUTSIDE, over_solid
from multiplane.evaluation.alpha_faults import (
    halo,
    holes,
    object_of,
    reach_of,
    residue,
    see_through_share,
)

SIDE = 64
COLOR = (0.6, 0.5, 0.3)
FOUR = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def disc(side: int = SIDE, radius: float = 0.3, softness: float = 3.0) -> np.ndarray:
    """(side, side, 4): a disc of one colour with an edge `softness` pixels wide."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    distance = np.hypot(rows - side / 2, columns - side / 2)
    picture = np.empty((side, side, 4), np.float32)
    picture[..., :3] = COLOR
    picture[..., 3] = np.clip((radius * side - distance) / softness + 0.5, 0, 1)
    return picture


def soft_of(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 3] > OUTSIDE) & (picture[..., 3] < INSIDE)


def test_a_clean_disc_has_no_fault() -> None:
    alpha = disc()[..., 3]
    left = residue(alpha)
    assert left is not None
    assert (left.mean, left.max, left.share) == (0.0, 0.0, 0.0)
    assert holes(alpha) == 0.0
    assert see_through_share(disc(softness=1.5)[..., 3]) == 0.0


def test_residue_is_what_lies_far_from_the_object() -> None:
    alpha = disc()[..., 3]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    solid = np.argwhere(alpha > 0.5)
    away = np.stack([rows, columns], axis=-1).reshape(-1, 1, 2) - solid[None]
    far = (np.hypot(*away.transpose(2, 0, 1)).min(axis=1) > reach_of(alpha)).reshape(SIDE, SIDE)
    alpha[:8, :8] = 0.1  # 64 of them
    alpha[0, 63] = 1 / 255  # one step of 8 bits is rounding
    found = residue(alpha)
    assert found is not None
    assert found.share == pytest.approx(64 / far.sum())
    assert found.mean == pytest.approx((6.4 + 1 / 255) / far.sum(), rel=1e-5)
    assert found.max == pytest.approx(0.1)


def test_a_speck_is_residue_and_a_part_is_not() -> None:
    speck, part = disc()[..., 3], disc()[..., 3]
    speck[2, 2] = 1.0
    part[1:6, 1:6] = 1.0
    found, none = residue(speck), residue(part)
    assert found is not None
    assert none is not None
    assert found.max == 1.0
    assert none.max == 0.0
    assert object_of(part)[3, 3]
    assert not object_of(speck)[2, 2]


def test_what_has_no_object_has_no_faults_to_count() -> None:
    for alpha in (np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), 0.4, np.float32)):
        assert residue(alpha) is None
        assert holes(alpha) is None
        assert halo(np.dstack([np.zeros((SIDE, SIDE, 3)), alpha])) is None
    full = np.ones((SIDE, SIDE), np.float32)
    assert residue(full) is None  # no empty canvas
    assert holes(full) == 0.0


def test_holes_are_counted_inside_and_not_at_the_edge() -> None:
    alpha = disc(softness=1.0)[..., 3]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    radius = 0.3 * SIDE - reach_of(alpha)  # what lies deep is a disc too, but for whole pixels
    deep = (np.hypot(rows - SIDE / 2, columns - SIDE / 2) < radius).sum()
    alpha[30:34, 30:34] = 0.0  # a hole through it
    alpha[24:26, 30:34] = 0.7  # a thin place
    assert holes(alpha) == pytest.approx(24 / deep, rel=0.05)


@pytest.mark.parametrize(("fringe", "sign"), [(0.0, -1), (1.0, 1)])
def test_a_fringe_is_many_times_a_clean_edge(fringe: float, sign: int) -> None:
    shaded = disc()
    shaded[..., :3] += np.linspace(-0.05, 0.05, SIDE)[:, None, None]  # real objects are not flat
    planted = shaded.copy()
    planted[soft_of(planted), :3] = fringe
    clean, found = halo(shaded), halo(planted)
    assert clean is not None
    assert found is not None
    assert found.error > 10 * clean.error
    assert np.sign(found.lightness) == sign
    assert abs(found.lightness) > 10 * abs(clean.lightness)
    flat = halo(disc())
    assert flat is not None
    assert flat.error == 0.0


def test_a_fringe_over_the_rim_is_seen_too() -> None:
    """As a matte that is a pixel too wide leaves it: solid pixels of the old backdrop's colour."""
    planted = disc()
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    outer = np.hypot(rows - SIDE / 2, columns - SIDE / 2) > 0.3 * SIDE - 2.0
    planted[outer, :3] = 1.0
    assert (planted[outer][:, 3] >= INSIDE).any()
    found = halo(planted)
    assert found is not None
    assert found.lightness > 0.1


def test_the_halo_is_the_distance_from_a_straight_blend_on_any_backdrop() -> None:
    random = np.random.default_rng(3)
    picture = disc()
    soft = soft_of(picture)
    picture[soft, :3] = random.random((soft.sum(), 3))
    blend = picture.copy()
    blend[..., :3] = COLOR
    found = halo(picture)
    assert found is not None
    for backdrop in FOUR:
        apart = (over_solid(picture, backdrop) - over_solid(blend, backdrop))[soft]
        assert found.error == pytest.approx(np.abs(apart).mean(), rel=1e-4)
        assert found.lightness == pytest.approx(apart.mean(), abs=1e-6)


def test_colour_under_clear_pixels_is_no_halo() -> None:
    picture = disc()
    picture[picture[..., 3] == 0, :3] = 1.0
    found = halo(picture)
    assert found is not None
    assert found.error == 0.0


def test_faults_are_alike_at_twice_the_size() -> None:
    shares = []
    for side in (64, 128):
        picture = disc(side, softness=side / 20)
        picture[: side // 8, : side // 8, 3] = 0.1
        picture[soft_of(picture), :3] = 1.0
        left, fringe = residue(picture[..., 3]), halo(picture)
        assert left is not None
        assert fringe is not None
        shares.append((left.share, fringe.error))
    assert shares[0] == pytest.approx(shares[1], rel=0.15)


def test_glass_is_see_through_and_a_net_is_not() -> None:
    glass = disc()[..., 3]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    pane = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < 12
    glass[pane] = 0.4
    covered = (glass > OUTSIDE).sum()
    inner = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < 11  # one pixel in, all around
    assert see_through_share(glass) == pytest.approx(inner.sum() / covered, rel=0.05)
    net = np.zeros((SIDE, SIDE), np.float32)
    net[::4] = net[:, ::4] = 0.5
    assert see_through_share(net) == 0.0
    assert see_through_share(np.zeros((8, 8), np.float32)) == 0.0
