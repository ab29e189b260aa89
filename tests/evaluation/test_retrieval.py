"""Retrieval and copy rate on vectors whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from multiplane.evaluation.copying import copy_report
from multiplane.evaluation.judges import framed
from multiplane.evaluation.retrieval import Gallery, damped_directions, described, looks, unit


def _families(shift: float, noise: float, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """The same concepts drawn by two families: each family adds its own constant look."""
    random = np.random.default_rng(0)
    concepts = random.normal(size=(count, 16))
    looks = shift * random.normal(size=(2, 16))
    drawn = concepts + looks[0]
    real = concepts + looks[1] + noise * random.normal(size=concepts.shape)
    return drawn.astype(np.float32), real.astype(np.float32)


def _names(count: int) -> list[str]:
    return [f"concept {index}" for index in range(count)]


def test_centring_each_family_takes_its_look_away() -> None:
    drawn, real = _families(shift=3.0, noise=0.05)
    gallery = Gallery.fit(drawn, _names(40), training=real)
    assert gallery.hits(real, _names(40), k=1).mean() == 1.0
    uncentred = unit(real) @ unit(drawn).T
    assert (uncentred.argmax(axis=1) == np.arange(40)).mean() < 0.5


def test_unrelated_pictures_hit_at_the_floor() -> None:
    drawn, real = _families(shift=0.0, noise=0.0, count=100)
    gallery = Gallery.fit(drawn, _names(100), training=real)
    random = np.random.default_rng(1)
    queries = random.normal(size=(4000, 16)).astype(np.float32)
    names = [f"concept {index}" for index in random.integers(0, 100, 4000)]
    assert gallery.floor(5) == pytest.approx(0.05)
    assert gallery.hits(queries, names, k=5).mean() == pytest.approx(0.05, abs=0.012)


def test_nearest_is_ordered_and_unknown_concepts_are_refused() -> None:
    drawings = np.eye(3, dtype=np.float32)
    gallery = Gallery.fit(drawings, ("pen", "cup", "owl"), training=drawings)
    query = np.array([[0.1, 0.9, 0.3]], np.float32)
    assert gallery.nearest(query, k=3) == [["cup", "owl", "pen"]]
    with pytest.raises(ValueError, match="no picture of newt"):
        gallery.hits(query, ["newt"])


def test_damping_evens_the_spread_by_its_root() -> None:
    random = np.random.default_rng(2)
    centred = random.normal(size=(500, 3)) * np.array([9.0, 4.0, 1.0])
    centred -= centred.mean(axis=0)
    spread = (centred @ damped_directions(centred.astype(np.float32), 3)).std(axis=0)
    original = np.linalg.svd(centred, compute_uv=False)
    assert spread / spread[0] == pytest.approx(np.sqrt(original / original[0]), rel=1e-4)


class _MeanColour:
    name = "mean colour"

    def of(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([picture.mean(axis=(0, 1)) for picture in pictures]).astype(np.float32)


def test_describing_ignores_place_scale_and_hidden_colour() -> None:
    small = np.zeros((32, 32, 4), np.float32)
    small[4:8, 4:8] = (0.9, 0.1, 0.2, 1.0)
    large = np.zeros((32, 32, 4), np.float32)
    large[..., :3] = 0.7  # colour under alpha 0
    large[8:24, 10:26] = (0.9, 0.1, 0.2, 1.0)
    other = large.copy()
    other[8:24, 10:26, :3] = (0.1, 0.9, 0.2)
    vectors = described(looks([small, large, other], _MeanColour()))
    assert vectors[0] @ vectors[1] > 0.995
    assert vectors[0] @ vectors[2] < 0.97


def test_framing_centres_the_object_and_survives_an_empty_picture() -> None:
    picture = np.zeros((20, 20, 4), np.float32)
    picture[2:4, 15:19] = (1.0, 0.5, 0.0, 0.5)
    square = framed(picture, margin=0.5)
    assert square.shape == (6, 6, 4)  # 4 wide and half as much again
    covered = np.argwhere(square[..., 3] > 0)
    assert covered.min(axis=0).tolist() == [2, 1]
    assert covered.max(axis=0).tolist() == [3, 4]
    assert square[2, 1] == pytest.approx((0.5, 0.25, 0.0, 0.5))  # premultiplied
    assert not framed(np.zeros((5, 7, 4), np.float32)).any()


def test_copies_are_told_from_new_pictures() -> None:
    angles = np.deg2rad([0.0, 20.0, 90.0, 130.0])
    training = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    made_at = np.deg2rad([1.0, 65.0, 118.0])
    made = np.stack([np.cos(made_at), np.sin(made_at)], axis=1).astype(np.float32)
    report = copy_report(made, training)
    # 1 degree from asset 0 whose neighbour is 20 away: copy. 25 from asset 2 whose neighbour is 40
    # away: copy. 12 from asset 3, whose neighbour is 40 away: copy.
    assert report.nearest.tolist() == [0, 2, 3]
    assert report.copied.tolist() == [True, True, True]
    assert report.distance[0] == pytest.approx(1 - np.cos(np.deg2rad(1.0)), abs=1e-6)
    assert report.spacing[0] == pytest.approx(1 - np.cos(np.deg2rad(20.0)), abs=1e-6)
    far = copy_report(-made[:1], training)
    assert far.rate == 0.0


def test_twins_of_one_concept_are_no_excuse() -> None:
    angles = np.deg2rad([0.0, 1.0, 60.0])
    training = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    made = np.array([[np.cos(np.deg2rad(-5)), np.sin(np.deg2rad(-5))]], np.float32)
    assert copy_report(made, training).rate == 0.0  # its twin lies one degree away
    assert copy_report(made, training, ["hand", "hand", "owl"]).rate == 1.0
    with pytest.raises(ValueError, match="at least two"):
        copy_report(made, training, ["hand", "hand", "hand"])
