"""No colour is dragged far for what a little alpha does: scenes with truth, and single pixels."""

import numpy as np
import pytest

from multiplane.core.least_alpha import ALPHA_SHARE, change_alphas, within
from multiplane.core.least_change import change_colors, spread
from multiplane.core.recompose import reconcile
from multiplane.core.request import LayerRequest, MadePlanes, Plane
from multiplane.core.stack import STEP, Sheet, picture_of, to_grid

WANTED = Plane(wanted=True)
SIDE = 96


def texture(rng, strength, cell=4):
    coarse = rng.standard_normal((SIDE // cell, SIDE // cell, 3)) * strength
    return np.kron(coarse, np.ones((cell, cell, 1)))


def opaque(color):
    return np.dstack([color, np.ones((SIDE, SIDE))]).astype(np.float32)


def scene(kind):
    """(foreground, background, picture): planes near the truth, as a model makes them, and the
    noisy picture of the true ones. A saturated colour that varies, over a textured ground."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    alpha = np.clip((0.35 - np.hypot(x, y)) / 0.1 + 0.5, 0, 1)
    if kind != "disc":
        alpha = np.full((SIDE, SIDE), {"plane": 0.97, "haze": 0.03}[kind])
    back = np.clip((0.9 if kind == "haze" else 0.5) + texture(rng, 0.12), 0, 1)
    front = np.clip(np.array([0.95, 0.06, 0.1]) + texture(rng, 0.08), 0, 1)
    share = alpha[..., None]
    picture = share * front + (1 - share) * back + 0.02 * rng.standard_normal(back.shape)
    front = np.clip(front + texture(rng, 0.03), 0, 1)
    back = np.clip(back + texture(rng, 0.03), 0, 1)
    soft = (alpha > 0) & (alpha < 1)
    alpha = np.clip(alpha + soft * texture(rng, 0.01)[..., 0], 0, 1)
    foreground = np.dstack([front, alpha]).astype(np.float32)
    return foreground, opaque(back), np.uint8(np.round(np.clip(opaque(picture), 0, 1) * 255))


def by_colors_alone(foreground, background, picture):
    free = np.ones((SIDE, SIDE), bool)
    stack = [
        Sheet(plane[..., :3], to_grid(plane[..., 3]), free) for plane in (background, foreground)
    ]
    change_colors(stack, np.float32(picture[..., :3]) / np.float32(255), free)
    return [np.dstack([to_grid(sheet.color), sheet.alpha]) for sheet in stack][::-1]


def premultiplied(plane):
    return np.dstack([plane[..., :3] * plane[..., 3:], plane[..., 3:]])


def moves(planes, made):
    """(moves of colours that show, sorted, a list a plane; mean change of premultiplied pixels)."""
    far, change = [], 0.0
    for plane, was in zip(planes, made, strict=True):
        shows = np.maximum(plane[..., 3], was[..., 3]) > 1 / 255
        far.append(np.sort(np.abs(plane - was)[..., :3].max(axis=2)[shows]))
        change += float(np.abs(premultiplied(plane) - premultiplied(was)).mean())
    return far, change


@pytest.mark.parametrize("kind", ["disc", "plane", "haze"])
def test_the_farthest_moves_are_several_times_shorter(kind):
    *made, picture = scene(kind)
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=picture))
    result = reconcile(MadePlanes((made[0],), made[1], None), request)
    assert result.residual is None
    assert result.after.maximum <= 0.51 / 255
    assert result.background is not None
    new, new_change = moves([result.foregrounds[0] / 255.0, result.background / 255.0], made)
    old, old_change = moves(by_colors_alone(*made, picture), made)
    hurt = 0 if kind == "haze" else 1  # the plane that shows least
    assert old[hurt][-1] > 2.5 * new[hurt][-1]
    assert old[hurt][int(-0.001 * new[hurt].size) - 1] > 2.5 * np.quantile(new[hurt], 0.999)
    for before, after in zip(old, new, strict=True):
        assert after[-1] < before[-1] + 2 / 255
    assert new_change < (1.12 if kind == "haze" else 1.0) * old_change


def pixel(front, alpha, back, goal):
    """(foreground, background) of one grey pixel, settled, as 0..1."""
    grey = np.ones((1, 1, 3))
    made = MadePlanes(
        (np.dstack([grey * front, np.full((1, 1), alpha / 255)]).astype(np.float32),),
        np.dstack([grey * back, np.ones((1, 1))]).astype(np.float32),
        None,
    )
    target = np.full((1, 1, 4), (goal, goal, goal, 255), np.uint8)
    result = reconcile(made, LayerRequest((WANTED,), WANTED, Plane(pixels=target)))
    assert result.residual is None
    assert result.after.maximum <= 0.51 / 255
    assert result.background is not None
    return result.foregrounds[0][0, 0] / 255.0, result.background[0, 0] / 255.0


def least_reach(front, alpha, back, goal):
    """By trying every alpha, and every colour of the background with it."""
    best = 1.0
    for tried in np.arange(1, 256) / 255:
        behind = np.linspace(0, 1, 2001)
        needed = (goal / 255 - (1 - tried) * behind) / tried
        inside = (needed >= 0) & (needed <= 1)
        far = np.maximum(np.abs(needed - front), np.abs(behind - back))[inside]
        if far.size:
            best = min(best, max(far.min(), abs(tried - alpha / 255) / ALPHA_SHARE))
    return best


@pytest.mark.parametrize(
    ("front", "alpha", "back", "goal"),
    [
        (1.0, 247, 0.2, 252),  # too dim and cannot be brighter: alpha rises
        (0.0, 247, 0.9, 2),  # too bright and cannot be darker: alpha rises
        (0.2, 8, 1.0, 254),  # a faint shade on white that is whiter: alpha falls
        (0.8, 8, 0.0, 1),
    ],
)
def test_no_colour_goes_farther_than_it_must(front, alpha, back, goal):
    foreground, background = pixel(front, alpha, back, goal)
    far = max(abs(foreground[0] - front), abs(background[0] - back))
    assert far <= least_reach(front, alpha, back, goal) + 1 / 64 + 1 / 255
    alone = (goal / 255 - front * alpha / 255) / (1 - alpha / 255)  # had the background done it
    if alpha > 128:
        assert abs(alone - back) > 4 * far
        assert foreground[3] * 255 > alpha
    else:
        assert foreground[3] * 255 < alpha


def test_a_clear_foreground_stays_clear_and_an_opaque_one_opaque():
    for alpha in (0, 255):
        for goal in (0, 100, 255):
            foreground, _ = pixel(0.3, alpha, 0.9, goal)
            assert foreground[3] * 255 == alpha


def test_one_soft_alpha_a_pixel_moves_and_colours_within_its_reach_do_the_rest():
    rng = np.random.default_rng(11)
    count, planes = 3000, 4
    alphas = rng.choice([0.0, 0.2, 0.5, 0.9, 1.0], (planes, count))
    alphas[0] = 1.0
    free = rng.random((planes, count)) < 0.8
    stack = [
        Sheet(rng.random((count, 3)).astype(np.float32), to_grid(alpha.astype(np.float32)), may)
        for alpha, may in zip(alphas, free, strict=True)
    ]
    was = np.array([sheet.alpha for sheet in stack])
    wanted = picture_of(stack) + rng.normal(0, 0.2, (count, 3))
    goal = np.clip(wanted, 0, 1).astype(np.float32)
    least = np.full(count, 8 * STEP, np.float32)
    reach = change_alphas(stack, goal, least)
    moves = np.abs(np.array([sheet.alpha for sheet in stack]) - was)
    changed = moves > 0
    assert changed.any()
    assert (changed.sum(axis=0) <= 1).all()
    assert not changed[0].any()
    assert not (changed & ((was == 0) | (was == 1) | ~free)).any()
    assert (moves <= ALPHA_SHARE * reach + 0.02 * STEP).all()
    found = reach < 1
    assert 0.2 < found.mean() < 1
    left = spread(stack, goal - picture_of(stack), within(stack, reach))
    assert np.abs(left[found]).max() < 0.05 * STEP
