"""Completion: what is kept, what the network is handed, and what the plain ways fill in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from known_scenes import ball_on_lawn
from multiplane.pipelines.cutout import complete
from multiplane.pipelines.cutout.complete import complete_background, default_grow, diffuse, dilated
from multiplane.pipelines.cutout.foreground import estimate_foreground
from multiplane.pipelines.cutout.plate import clean_plate


class _PaintingSession:
    """Stands for MI-GAN: paints the hole blue, and remembers what it saw."""

    def run(self, names: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.image, self.mask = feeds["image"], feeds["mask"]
        hole = self.mask == 0
        painted = np.where(hole, np.array([0, 0, 255], np.uint8)[None, :, None, None], self.image)
        return [painted]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> _PaintingSession:
    made = _PaintingSession()
    monkeypatch.setattr(complete, "_migan_session", lambda threads: made)
    return made


def hole_in(shape: tuple[int, int]) -> np.ndarray:
    hole = np.zeros(shape, bool)
    hole[30:50, 40:80] = True
    return hole


def test_the_network_sees_a_grown_hole_in_its_surroundings(session: _PaintingSession) -> None:
    picture, *_ = ball_on_lawn((400, 300))
    hole = hole_in((300, 400))
    filled = complete_background(picture, hole, "migan", grow=5)
    grown = dilated(hole, 5)
    assert session.image.dtype == session.mask.dtype == np.uint8
    assert session.image.shape == (1, 3, *session.mask.shape[2:])
    assert session.mask.shape[1] == 1
    assert (session.mask == 0).sum() == grown.sum()
    assert set(np.unique(session.mask)) == {0, 255}
    assert session.mask.shape[2] < 300  # the part around the hole, not the whole picture
    np.testing.assert_array_equal(filled[~grown], picture[~grown])
    np.testing.assert_allclose(filled[grown], np.array([[0, 0, 1]]).repeat(grown.sum(), 0))


@pytest.mark.parametrize("method", ["opencv", "diffuse"])
def test_a_smooth_background_goes_on_behind_the_hole(method: Any) -> None:
    *_, background = ball_on_lawn((160, 120))
    filled = complete_background(background, hole_in((120, 160)), method, grow=0)
    hole = hole_in((120, 160))
    np.testing.assert_array_equal(filled[~hole], background[~hole])
    assert np.abs(filled - background)[hole].max() < 0.03
    skipped = np.abs(background.mean(axis=(0, 1)) - background)[hole].mean()
    assert np.abs(filled - background)[hole].mean() < 0.4 * skipped


def test_diffusion_agrees_with_laplace() -> None:
    """On a hole in a plane the harmonic filling is that plane."""
    rows, columns = np.mgrid[:40, :50].astype(np.float32)
    plane = ((rows + 2 * columns) / 140)[..., None].repeat(3, axis=2)
    hole = np.zeros((40, 50), bool)
    hole[12:24, 15:30] = True
    assert np.abs(diffuse(np.where(hole[..., None], 0.0, plane), hole) - plane).max() < 0.04


def test_dilation_is_by_distance() -> None:
    region = np.zeros((21, 21), bool)
    region[10, 10] = True
    rows, columns = np.mgrid[:21, :21]
    for radius in (0, 2, 5):
        near = np.hypot(rows - 10, columns - 10) <= radius
        assert (dilated(region, radius) != near).mean() < 0.02
    assert default_grow((300, 800)) == 10


def test_coverage_is_a_hole_wherever_it_is_above_nothing(session: _PaintingSession) -> None:
    picture, alpha, *_ = ball_on_lawn((200, 150))
    filled = complete_background(picture, alpha, "migan", grow=0)
    np.testing.assert_array_equal(filled[..., 2] == 1.0, alpha > 0)


def test_what_cannot_be_filled_is_said() -> None:
    picture = np.zeros((20, 30, 3), np.float32)
    with pytest.raises(ValueError, match="there are migan, opencv, diffuse"):
        complete_background(picture, np.zeros((20, 30), bool), "magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole picture"):
        complete_background(picture, np.ones((20, 30), bool), "diffuse")
    with pytest.raises(ValueError, match="the hole"):
        complete_background(picture, np.ones((20, 31), bool), "diffuse")
    np.testing.assert_array_equal(
        complete_background(picture, np.zeros((20, 30), bool), "diffuse"), picture
    )


def test_the_plate_is_the_picture_where_it_is_seen(session: _PaintingSession) -> None:
    picture, alpha, _, background = ball_on_lawn((240, 200), ((120, 100),), 50, 10.0)
    _, behind = estimate_foreground(picture, alpha)
    plate = clean_plate(picture, alpha, behind, "migan")
    clear = alpha == 0
    np.testing.assert_array_equal(plate[clear], picture[clear])
    thin = (alpha > 0.02) & (alpha < 0.15)  # enough of the background shows to know its colour
    assert np.abs(plate - background)[thin].mean() < 0.06
    deep = (alpha == 1) & ~dilated(alpha < 1, 30)
    assert plate[deep, 2].mean() > 0.9  # what the network painted


def test_the_plate_leaves_no_seam_around_what_was_painted(session: _PaintingSession) -> None:
    picture, alpha, _, background = ball_on_lawn((240, 200), ((120, 100),), 50, 0.5)
    plate = clean_plate(picture, alpha, background * 0, "migan")
    rim = (alpha > 0.9) & dilated(alpha == 0, 2)
    assert np.abs(plate - background)[rim].mean() < 0.25  # unshifted blue would be 0.45 away
    assert np.abs(np.array([0, 0, 1]) - background)[rim].mean() > 0.4
