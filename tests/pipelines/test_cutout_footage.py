"""The parts of taking footage apart, each against what is known of a made scene."""

from __future__ import annotations

import numpy as np
import pytest

from footage_scene import ground, shot
from multiplane.core.pixels import to_u8
from multiplane.core.request import RequestError
from multiplane.pipelines.cutout.footage.align import (
    IDENTITY,
    align,
    displacement,
    scaled,
    shared,
    small_grey,
)
from multiplane.pipelines.cutout.footage.cut import exposure, without_specks
from multiplane.pipelines.cutout.footage.gather import Samples
from multiplane.pipelines.cutout.footage.keys import Keys, Walk
from multiplane.pipelines.cutout.footage.looks import Looks, box_around
from multiplane.pipelines.cutout.footage.plates import Plate, laid_behind
from multiplane.pipelines.cutout.footage.settings import FootageSettings
from multiplane.pipelines.cutout.footage.steady import (
    DEFAULT_STEADY,
    Seen,
    steadied,
    weighted_middle,
)

WIDE = to_u8(ground(100, 200))


def moved_by(x: float, y: float) -> np.ndarray:
    return np.array([(1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0)])


def test_a_pan_is_found_to_a_fraction_of_a_pixel() -> None:
    here, there = small_grey(WIDE[10:90, 17:137]), small_grey(WIDE[6:86, 10:130])
    found = align(here, there, np.ones(here.shape, bool))
    assert found is not None
    assert found.corners > 20
    error = displacement(np.linalg.inv(moved_by(7, 4)) @ found.matrix, (120, 80))
    assert error < 0.5  # of a corner, beyond all tracked points


def test_what_a_matte_covers_has_no_say() -> None:
    here, there = WIDE[10:90, 17:137].copy(), WIDE[10:90, 10:130]
    here[20:60, 40:90] = there[20:60, 40:90]  # a part that does not move with the rest
    free = np.ones(here.shape[:2], bool)
    free[18:62, 38:92] = False
    found = align(small_grey(here), small_grey(there), free)
    assert found is not None
    assert displacement(np.linalg.inv(moved_by(7, 0)) @ found.matrix, (120, 80)) < 0.6


def test_a_camera_that_stands_moves_by_nothing_at_all() -> None:
    noisy = np.random.default_rng(0).normal(0, 2, WIDE.shape) + WIDE
    other = np.clip(noisy, 0, 255).astype(np.uint8)
    found = align(small_grey(other), small_grey(WIDE), np.ones(WIDE.shape[:2], bool))
    assert found is not None
    np.testing.assert_array_equal(found.matrix, IDENTITY)


def test_another_place_is_not_aligned() -> None:
    other = to_u8(ground(100, 200, seed=8))
    assert align(small_grey(other), small_grey(WIDE), np.ones(WIDE.shape[:2], bool)) is None


def test_frames_without_corners_are_one_place_when_they_are_alike() -> None:
    grey, white = np.full((60, 80), 90, np.uint8), np.full((60, 80), 200, np.uint8)
    free = np.ones((60, 80), bool)
    found = align(grey, grey + 2, free)
    assert found is not None
    assert found.corners == 0
    assert align(grey, white, free) is None


def test_what_two_frames_share() -> None:
    assert shared(IDENTITY, (100, 50)) == pytest.approx(1.0)
    assert shared(moved_by(25, 0), (100, 50)) == pytest.approx(0.75)
    assert shared(moved_by(200, 0), (100, 50)) == 0.0
    assert displacement(scaled(moved_by(3, 4), 2.0), (10, 10)) == pytest.approx(10.0)


def test_the_median_of_samples_is_that_of_numpy() -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    seen = rng.random((7, 5, 4)) < 0.7
    samples = Samples((5, 4), np.dtype(np.uint8), slots=9)
    for number in range(7):
        samples.add(frames[number], seen[number], number)
    np.testing.assert_array_equal(samples.count, seen.sum(axis=0))
    for y, x in np.ndindex(5, 4):
        values = frames[seen[:, y, x], y, x]
        true = np.median(values, axis=0) / 255 if len(values) else np.zeros(3)
        np.testing.assert_allclose(samples.median()[y, x], true, atol=1e-6)


def test_more_samples_than_slots_are_a_fair_draw() -> None:
    kept: list[float] = []
    seen = np.ones((1, 2), bool)
    for seed in range(300):
        samples = Samples((1, 2), np.dtype(np.uint16), slots=5, seed=seed)
        for number in range(40):
            samples.add(np.full((1, 2, 3), number, np.uint16), seen, number)
        assert (samples.kept[:, 0, 0] == samples.kept[:, 0, 1]).all()
        kept += samples.kept[:, 0, 0, 0].tolist()
    assert abs(np.mean(kept) - 19.5) < 1.2  # 1500 draws from 0..39: 4 standard errors
    assert set(kept) == set(range(40))


def test_a_key_ends_where_too_little_is_shared_and_at_a_cut() -> None:
    walk = Walk(is_still=False)
    free = np.ones((100, 100), bool)
    wide = to_u8(ground(100, 260))
    box = (40, 40, 60, 60)
    views = [wide[:, left : left + 100] for left in range(0, 80, 10)]
    places = [walk.take(view, free, box) for view in views]
    cut = walk.take(to_u8(ground(100, 100, seed=9)), free, box)
    assert [place.key for place in places] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert cut.key == 3
    assert cut.link is None
    keys = Keys.of([*places, cut], (100, 100), whole=False)
    across = keys.between(0, 2)
    assert across is not None
    assert displacement(moved_by(60, 0) @ across, (100, 100)) < 1.0
    assert keys.between(2, 3) is None
    (_, _, own), (after, _, share) = keys.plates_of(places[4], 4)
    assert after == 2
    assert (own, share) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_a_plate_lies_where_its_key_lies() -> None:
    colour = ground(40, 60)
    plate = Plate((-10, 5), colour, np.ones((40, 60), bool))
    laid = laid_behind([(plate, moved_by(2, 1), 1.0)], (0, 0, 50, 50))
    # pixel (x, y) of the frame is (x + 2, y + 1) of the key: (x + 12, y - 4) of the plate
    np.testing.assert_allclose(laid.colour[10:40, :40], colour[6:36, 12:52], atol=1e-4)
    assert laid.known[4, 0]
    assert not laid.known[3, 0]


def test_a_neighbour_fills_a_frame_and_is_not_heard_when_it_shows_something_else() -> None:
    scene = shot(3, step=3.0)
    greys = [small_grey(frame[..., :3]) for frame in scene.frames]
    mattes = [to_u8(alpha) for alpha in scene.alpha]
    seen = [Seen(n, grey, matte) for n, (grey, matte) in enumerate(zip(greys, mattes, strict=True))]
    filled = steadied(Seen(1, greys[1], None), [seen[0], seen[2]], DEFAULT_STEADY)
    assert np.abs(filled - scene.alpha[1]).mean() < 0.02
    nothing = np.zeros_like(mattes[1])
    blank = Seen(2, np.full_like(greys[1], 255) - greys[1], nothing)
    held = steadied(seen[1], [blank], DEFAULT_STEADY)
    assert np.abs(held - scene.alpha[1]).mean() < 0.01
    with pytest.raises(ValueError, match="no matte"):
        steadied(Seen(1, greys[1], None), [], DEFAULT_STEADY)


def test_a_drop_out_is_pulled_back_by_its_neighbours() -> None:
    scene = shot(5, step=2.0)
    seen = [
        Seen(n, small_grey(frame[..., :3]), to_u8(alpha * (0.2 if n == 2 else 1.0)))
        for n, (frame, alpha) in enumerate(zip(scene.frames, scene.alpha, strict=True))
    ]
    made = steadied(seen[2], seen, DEFAULT_STEADY)
    before = np.abs(scene.alpha[2] * 0.2 - scene.alpha[2]).mean()
    assert np.abs(made - scene.alpha[2]).mean() < 0.3 * before


def test_the_weighted_median_is_that_of_repeated_values() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((5, 6, 7)).astype(np.float32)
    weights = rng.integers(0, 4, (5, 6, 7)) * 2 + 1
    made = weighted_middle(values, weights.astype(np.float32))
    for y, x in np.ndindex(6, 7):
        repeated = np.sort(np.repeat(values[:, y, x], weights[:, y, x]))
        assert made[y, x] == repeated[len(repeated) // 2]
    two = weighted_middle(values[:2], np.ones((2, 6, 7), np.float32))
    np.testing.assert_allclose(two, values[:2].mean(axis=0), rtol=1e-6)


def test_exposure_is_the_median_difference() -> None:
    plate = ground(30, 30)
    brighter = plate + np.array([0.05, 0.0, -0.02], np.float32)
    brighter[:5] = 1.0
    np.testing.assert_allclose(
        exposure(brighter, plate, np.ones((30, 30), bool)), [0.05, 0.0, -0.02], atol=1e-6
    )
    assert not exposure(brighter, plate, np.zeros((30, 30), bool)).any()


def test_specks_go_and_objects_stay() -> None:
    matte = np.zeros((40, 40), np.float32)
    matte[5:20, 5:20], matte[30:32, 30:32] = 1.0, 1.0
    kept = without_specks(matte, 10)
    assert kept[10, 10] == 1.0
    assert not kept[25:].any()


class Pointed:
    """Takes what is red in the boxes; keeps them."""

    def __init__(self) -> None:
        self.asked: list = []

    def segment(self, picture: np.ndarray, points: tuple = (), boxes: tuple = ()) -> np.ndarray:
        self.asked.append((points, boxes))
        return (picture[..., 0] > 0.6).astype(np.float32)


def test_what_was_pointed_at_is_followed() -> None:
    scene, pointed = shot(2), Pointed()
    looks = Looks(FootageSettings(points=((20, 32, 1),)), segmenter=lambda threads: pointed)
    pictures = [frame[..., :3].astype(np.float32) / 255 for frame in scene.frames]
    first = looks.look(pictures[0], None)
    assert first is not None
    looks.look(pictures[1], first)
    assert pointed.asked[0] == (((20, 32, 1),), ())
    ((left, top, right, bottom),) = pointed.asked[1][1]
    assert left < 10 < 30 < right
    assert top < 22 < 42 < bottom
    with pytest.raises(RequestError, match="first frame"):
        looks.look(np.zeros_like(pictures[0]), None)


def test_box_around_nothing_is_none() -> None:
    assert box_around(np.zeros((4, 4), bool)) is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"matte": "sam"}, "matte must be one of"),
        ({"every": 0}, "every must be 1"),
        ({"camera": "drone"}, "camera must be"),
        ({"matte": "motion", "boxes": ((0, 0, 5, 5),)}, "leave out points"),
        ({"matte": "motion", "every": 2}, "leave out every"),
    ],
)
def test_settings_that_contradict_themselves(asked: dict, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        FootageSettings(**asked)
