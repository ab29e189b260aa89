"""Recomposition: the promise in 8 bits, and that no more changes than must."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiplane.core import recompose
from multiplane.core.composite import composite_u8, over
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.recompose import reconcile
from multiplane.core.request import ABSENT, LayerRequest, MadePlanes, Plane

STEP = 1 / 255
WANTED = Plane(wanted=True)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def fronts(rng, count, shape=(9, 8)):
    """Foregrounds with clear, opaque and soft alpha, extreme colours among them."""
    made = []
    for _ in range(count):
        pixels = rng.random((*shape, 4), dtype=np.float32)
        pixels[rng.random(shape) < 0.2, :3] = np.round(rng.random(3))
        kind = rng.random(shape)
        pixels[..., 3] = np.where(kind < 0.3, 0, np.where(kind < 0.6, 1, pixels[..., 3]))
        made.append(pixels)
    return made


def ground(rng, shape=(9, 8)):
    pixels = rng.random((*shape, 4), dtype=np.float32)
    pixels[rng.random(shape) < 0.3, :3] = np.round(rng.random(3))
    pixels[..., 3] = 1.0
    return pixels


def u8(pixels):
    return np.round(np.asarray(pixels) * 255).astype(np.uint8)


def given_plane(pixels):
    return Plane(pixels=u8(pixels))


def laid(result):
    """What the stored planes show, through `over`."""
    picture = result.background
    for front in (*result.foregrounds, *([] if result.residual is None else [result.residual])):
        picture = over(front, picture)
    return np.asarray(picture, np.float64)


def assert_meets(result, target):
    error = np.abs(laid(result)[..., :3] - target[..., :3] / 255.0)
    assert error.max() <= STEP
    assert result.after.maximum <= STEP
    layers = [Layer("b", result.background), *(Layer("f", f) for f in result.foregrounds)]
    if result.residual is not None:
        layers.append(Layer("r", result.residual))
    height, width = target.shape[:2]
    shown = composite_u8(LayerDocument((width, height), tuple(layers)))
    assert np.abs(shown.astype(int) - target)[..., :3].max() <= 1
    for plane in (*result.foregrounds, result.background, result.composite):
        assert plane.dtype == np.uint8


@settings(deadline=None)
@given(seeds, st.integers(1, 3))
def test_a_made_composite_is_replaced_by_the_planes(rng, count):
    made_fronts, made_ground, made_composite = fronts(rng, count), ground(rng), ground(rng)
    request = LayerRequest((WANTED,) * count, WANTED, WANTED)
    result = reconcile(MadePlanes(tuple(made_fronts), made_ground, made_composite), request)
    for made, stored in zip(made_fronts, result.foregrounds, strict=True):
        np.testing.assert_array_equal(stored, u8(made))
    np.testing.assert_array_equal(result.background, u8(made_ground))
    assert_meets(result, result.composite.astype(int))
    picture = made_ground
    for front in made_fronts:
        picture = over(front, picture)
    error = np.abs(picture - made_composite)[..., :3].astype(np.float64)
    assert result.before.maximum == pytest.approx(error.max(), abs=1e-5)
    assert result.before.mean == pytest.approx(error.mean(), abs=1e-5)
    assert result.before.psnr == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)
    assert result.changed == {}


@settings(deadline=None, max_examples=200)
@given(seeds, st.integers(1, 3))
def test_a_given_picture_is_met_by_free_planes(rng, count):
    target = u8(ground(rng))
    made = MadePlanes(tuple(fronts(rng, count)), ground(rng), None)
    request = LayerRequest((WANTED,) * count, WANTED, Plane(pixels=target))
    result = reconcile(made, request)
    assert result.residual is None
    assert result.composite is target
    assert_meets(result, target.astype(int))
    clips = clips_by_least_squares(made, target)
    for front, stored in zip(made.foregrounds, result.foregrounds, strict=True):
        was, now = u8(front)[..., 3], stored[..., 3]
        assert (now == was)[~clips].all()
        assert (now == was)[was == 0].all()


def clips_by_least_squares(made, target):
    """(H, W): where least squares takes a colour out of 0..1, or within a hair of its ends."""
    planes = [made.background, *made.foregrounds]
    light, weights = 1.0, []
    for plane in planes[:0:-1]:
        alpha = u8(plane)[..., 3:] / 255.0
        weights.insert(0, light * alpha)
        light = light * (1 - alpha)
    weights.insert(0, light)
    colors = [plane[..., :3].astype(np.float64) for plane in planes]
    picture = sum(w * color for w, color in zip(weights, colors, strict=True))
    step = (target[..., :3] / 255.0 - picture) / sum(w * w for w in weights)
    moved = np.array([color + w * step for w, color in zip(weights, colors, strict=True)])
    return ((moved < 1e-4) | (moved > 1 - 1e-4)).any(axis=(0, 3))


def test_the_least_change_is_the_formula():
    # F += a d / (a^2 + (1-a)^2), B += (1-a) d / (a^2 + (1-a)^2), where nothing clips.
    a, front, back, goal = 0.6, 0.5, 0.4, 128
    made = MadePlanes(
        (np.full((1, 1, 4), (front, front, front, a), np.float32),),
        np.full((1, 1, 4), (back, back, back, 1), np.float32),
        None,
    )
    target = np.full((1, 1, 4), (goal, goal, goal, 255), np.uint8)
    result = reconcile(made, LayerRequest((WANTED,), WANTED, Plane(pixels=target)))
    d = goal / 255 - (a * front + (1 - a) * back)
    norm = a**2 + (1 - a) ** 2
    assert result.foregrounds[0][0, 0, 0] == round((front + a * d / norm) * 255)
    assert result.background[0, 0, 0] == round((back + (1 - a) * d / norm) * 255)
    assert result.before.maximum == pytest.approx(abs(d), abs=1e-6)
    assert set(result.changed) == {"foreground", "background"}
    moved = abs(result.background[0, 0, 0] / 255 - back) * 3 / 4  # three of four channels
    assert result.changed["background"] == pytest.approx(moved, abs=1e-6)


def test_what_clips_is_passed_on():
    # The front is white already: only the background can brighten.
    made = MadePlanes(
        (np.full((1, 1, 4), (1, 1, 1, 77 / 255), np.float32),),
        np.full((1, 1, 4), (0.2, 0.2, 0.2, 1), np.float32),
        None,
    )
    target = np.full((1, 1, 4), (153, 153, 153, 255), np.uint8)
    result = reconcile(made, LayerRequest((WANTED,), WANTED, Plane(pixels=target)))
    assert_meets(result, target.astype(int))
    assert result.foregrounds[0][0, 0].tolist() == [255, 255, 255, 77]
    assert result.background[0, 0, 0] == pytest.approx((0.6 - 77 / 255) / (178 / 255) * 255, abs=1)


def test_alpha_rises_no_further_than_the_picture_needs():
    black, clear = np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 4), np.float32)
    black[..., 3] = 1.0
    target = np.full((1, 1, 4), (51, 20, 0, 255), np.uint8)
    request = LayerRequest((WANTED,), given_plane(black), Plane(pixels=target))
    result = reconcile(MadePlanes((clear,), black, None), request)
    red, _, _, alpha = result.foregrounds[0][0, 0]
    assert alpha == 51  # as clear as can be
    assert red >= 253  # so as red as can be, give or take half a step of the picture
    assert_meets(result, target.astype(int))


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_rounding_errors_of_the_picture_are_not_magnified_behind_a_dense_foreground(rng):
    (front,), behind = fronts(rng, 1), ground(rng)
    front[..., 3] = rng.uniform(0.9, 0.999, front.shape[:2])
    target = u8(over(u8(front), u8(behind)))
    request = LayerRequest((given_plane(front),), WANTED, Plane(pixels=target))
    result = reconcile(MadePlanes((front,), behind, None), request)
    assert np.abs(result.background.astype(int) - u8(behind)).max() <= 1


@settings(deadline=None, max_examples=200)
@given(seeds, st.integers(1, 3), st.booleans())
def test_a_foreground_before_a_given_background_meets_any_picture(rng, count, is_near):
    back = ground(rng)
    made = MadePlanes(tuple(fronts(rng, count)), back, None)
    target = u8(ground(rng))
    if is_near:  # noise of a step or two, as a file that was saved with loss
        target = np.clip(u8(back).astype(int) + rng.integers(-2, 3, back.shape), 0, 255)
        target = target.astype(np.uint8)
        target[..., 3] = 255
    request = LayerRequest((WANTED,) * count, given_plane(back), Plane(pixels=target))
    result = reconcile(made, request)
    assert result.residual is None
    assert result.background is request.background.pixels
    assert_meets(result, target.astype(int))
    for front, stored in zip(made.foregrounds, result.foregrounds, strict=True):
        assert (stored[..., 3] >= u8(front)[..., 3]).all()  # alpha only rises


@settings(deadline=None, max_examples=200)
@given(seeds, st.integers(1, 2), st.booleans())
def test_a_background_behind_given_foregrounds(rng, count, is_true):
    given_fronts = fronts(rng, count)
    behind = ground(rng)
    target = ground(rng)
    if is_true:
        target = behind
        for front in given_fronts:
            target = over(u8(front), target)
    target = u8(target)
    request = LayerRequest(
        tuple(given_plane(front) for front in given_fronts), WANTED, Plane(pixels=target)
    )
    result = reconcile(MadePlanes(tuple(given_fronts), ground(rng), None), request)
    assert_meets(result, target.astype(int))
    for plane, stored in zip(request.foregrounds, result.foregrounds, strict=True):
        assert stored is plane.pixels
    if is_true:
        assert result.residual is None
    else:
        assert result.residual is not None
        assert result.report()["residual_pixels"] > 0


@settings(deadline=None, max_examples=100)
@given(seeds)
def test_a_free_foreground_under_a_given_one(rng):
    below, above = fronts(rng, 2)
    target, back = u8(ground(rng)), ground(rng)
    for background in (given_plane(back), WANTED):
        request = LayerRequest((WANTED, given_plane(above)), background, Plane(pixels=target))
        result = reconcile(MadePlanes((below, above), back, None), request)
        assert_meets(result, target.astype(int))
        assert result.foregrounds[1] is request.foregrounds[1].pixels


@settings(deadline=None, max_examples=100)
@given(seeds)
def test_three_given_planes_leave_a_residual_only_where_they_contradict(rng):
    (front,), back = fronts(rng, 1), ground(rng)
    consistent = u8(over(u8(front), u8(back)))
    target = consistent.copy()
    target[2:5, 3:6, :3] = 255 - target[2:5, 3:6, :3]
    request = LayerRequest((given_plane(front),), given_plane(back), Plane(pixels=target))
    result = reconcile(MadePlanes((front,), back, None), request)
    assert_meets(result, target.astype(int))
    error = np.abs(over(u8(front), u8(back)) - target / 255.0)[..., :3].max(axis=2)
    has_residual = result.residual[..., 3] > 0
    assert has_residual[error > STEP].all()
    assert not has_residual[error < 0.97 * STEP].any()


@settings(deadline=None, max_examples=60)
@given(seeds)
def test_kept_pixels_count_as_given(rng):
    (front,), back, target = fronts(rng, 1), ground(rng), u8(ground(rng))
    keep = np.zeros(back.shape[:2], np.uint8)
    keep[:, :4] = 255
    old = u8(fronts(rng, 1)[0])
    request = LayerRequest((Plane(pixels=old, keep=keep),), WANTED, Plane(pixels=target))
    result = reconcile(MadePlanes((front,), back, None), request)
    np.testing.assert_array_equal(result.foregrounds[0][:, :4], old[:, :4])
    assert_meets(result, target.astype(int))
    # A composite kept in part is met there, and made elsewhere.
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=target, keep=keep))
    result = reconcile(MadePlanes((front,), back, None), request)
    np.testing.assert_array_equal(result.composite[:, :4], target[:, :4])
    np.testing.assert_array_equal(result.background[:, 4:], u8(back)[:, 4:])
    assert_meets(result, result.composite.astype(int))


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(1)
    made = MadePlanes(tuple(fronts(rng, 2)), ground(rng), None)
    request = LayerRequest((WANTED, WANTED), WANTED, given_plane(ground(rng)))
    whole = reconcile(made, request)
    monkeypatch.setattr(recompose, "_BLOCK_PIXELS", 20)
    parts = reconcile(made, request)
    for one, other in zip(
        (*whole.foregrounds, whole.background),
        (*parts.foregrounds, parts.background),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert parts.after.maximum == whole.after.maximum
    assert parts.before.mean == pytest.approx(whole.before.mean)


def test_scenes_without_a_background_or_composite_are_stored_as_they_are():
    rng = np.random.default_rng(2)
    (front,), flat = fronts(rng, 1), ground(rng)
    alone = reconcile(MadePlanes((front,), None, None), LayerRequest((WANTED,)))
    np.testing.assert_array_equal(alone.foregrounds[0], u8(front))
    assert (alone.background, alone.composite, alone.before, alone.after) == (None,) * 4
    picture = reconcile(MadePlanes((), None, flat), LayerRequest(composite=WANTED))
    np.testing.assert_array_equal(picture.composite, u8(flat))
    assert reconcile(MadePlanes((), None, flat), LayerRequest((), ABSENT)).composite is None


def test_planes_that_cannot_be_settled_are_named():
    rng = np.random.default_rng(3)
    (front,), back, target = fronts(rng, 1), ground(rng), u8(ground(rng))
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=target))
    with pytest.raises(ValueError, match="left out background"):
        reconcile(MadePlanes((front,), None, None), request)
    with pytest.raises(ValueError, match="0 foregrounds for a request of 1"):
        reconcile(MadePlanes((), back, None), request)
    with pytest.raises(ValueError, match="one size"):
        reconcile(MadePlanes((front[:4],), back, None), request)
    target[0, 0, 3] = 127
    with pytest.raises(ValueError, match="composite is see-through"):
        reconcile(MadePlanes((front,), back, None), request)
