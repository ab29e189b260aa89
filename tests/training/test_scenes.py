"""Composed scenes: exact truth and dependence between planes."""

import math

import torch

from multiplane.models.planes import over
from multiplane.training.pools import opaque_boxes
from multiplane.training.scenes import contact_shadow, edges, lit_by, place, silhouette
from small_world import SIZE, a_scene_feed


def test_the_composite_is_over_by_definition_and_planes_are_premultiplied() -> None:
    feed, _ = a_scene_feed()
    scenes = feed.scenes(8, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(scenes.composite, over(scenes.foreground, scenes.background))
    assert float((scenes.foreground[:, :3] - scenes.foreground[:, 3:]).max()) <= 1e-6
    assert torch.equal(scenes.background[:, 3], torch.ones(8, SIZE, SIZE))


def test_same_generator_same_scenes() -> None:
    feed, _ = a_scene_feed()
    one, two = (feed.scenes(4, 0.5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.composite, two.composite)
    other = feed.scenes(4, 0.5, torch.Generator().manual_seed(4))
    assert not torch.equal(one.composite, other.composite)


def test_an_object_keeps_its_feet_on_the_ground_and_casts_a_shadow() -> None:
    feed, _ = a_scene_feed()
    scenes = feed.scenes(16, 0.0, torch.Generator().manual_seed(1))
    low, high = feed.placement.ground
    for plane in scenes.foreground:
        colored = plane[:3].sum(dim=0) > 0.05
        bottom = float(colored.any(dim=1).nonzero().max() + 1) / SIZE
        assert low - 0.05 <= bottom <= high + 0.05
        shadow = (plane[3] > 0.02) & ~colored
        assert bool(shadow.any())


def test_objects_take_the_light_of_their_background() -> None:
    white = torch.ones(2, 4, 8, 8) * 0.8
    night = torch.tensor([0.05, 0.05, 0.2, 1.0]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    day = torch.tensor([0.9, 0.9, 0.9, 1.0]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    lit = lit_by(white, torch.cat([night, day]), torch.tensor([0.5, 0.5]))
    assert float(lit[0, 0].mean()) < float(lit[1, 0].mean())  # darker at night
    assert float(lit[0, 2].mean()) > float(lit[0, 0].mean())  # and bluer
    assert torch.equal(lit[:, 3], white[:, 3])


def test_place_moves_and_scales_exactly() -> None:
    picture = torch.zeros(1, 4, 32, 32)
    picture[..., 8:24, 8:24] = 1
    drawn = place(
        picture,
        torch.tensor([0.5]),
        torch.tensor([0.25]),
        torch.tensor([0.75]),
        torch.tensor([False]),
    )
    box = opaque_boxes((drawn * 255).round().to(torch.uint8), 0.4)[0]
    assert box.tolist() == [4 / 32, 20 / 32, 12 / 32, 28 / 32]


def test_shadow_lies_under_the_box_and_fades_out() -> None:
    box = torch.tensor([[0.25, 0.2, 0.75, 0.8]])
    shadow = contact_shadow(box, torch.tensor([0.5]), torch.tensor([0.5]), 64)
    assert float(shadow[:, :3].abs().max()) == 0
    y, x = divmod(int(shadow[0, 3].argmax()), 64)
    assert abs(y / 64 - 0.8) < 0.06
    assert 16 <= x <= 48
    assert 0.4 < float(shadow.max()) <= 0.5
    assert float(shadow[0, 3, :20].max()) == 0


def test_controls_show_shape_and_not_colour() -> None:
    feed, _ = a_scene_feed()
    planes, _, rows = feed.alone(6, torch.Generator().manual_seed(0))
    mask = silhouette(planes)
    assert torch.equal(mask[:, 0], planes[:, 3])
    lines = edges(planes)
    assert float(lines[:, :, 16, 16].max()) < 0.05  # flat inside
    assert bool((lines.flatten(1).amax(dim=1) > 0.5).all())
    assert len(set(rows.tolist())) > 1


def test_edges_are_zero_on_flat_parts_and_one_on_full_steps() -> None:
    """A step of height h has Sobel magnitude h on both of its sides; a half of the range of the
    threshold lies at h = 1/4, where the sigmoid is 1/2."""
    heights = torch.tensor([0.0, 0.05, 0.25, 1.0])
    plane = torch.zeros(4, 4, 8, 8)
    plane[..., 4:] = heights.view(4, 1, 1, 1)
    lines = edges(plane)
    assert torch.equal(lines[:, :1].expand(-1, 4, -1, -1), lines)
    on_step = lines[:, 0, :, 3:5]
    assert float(on_step[0].max()) == 0
    assert float(on_step[1].max()) < 0.03
    flat = 1 / (1 + math.exp(4))
    torch.testing.assert_close(on_step[2], torch.full((8, 2), (0.5 - flat) / (1 - flat)))
    assert float(on_step[3].min()) > 0.9999
    assert float(lines[..., :3].max()) == float(lines[..., 5:].max()) == 0
    upright, lying = edges(plane), edges(plane.mT)
    torch.testing.assert_close(upright, lying.mT)


def test_edges_see_colour_under_full_alpha_and_alpha_alone() -> None:
    plane = torch.ones(2, 4, 8, 8)
    plane[0, 1, :, 4:] = 0  # magenta beside white
    plane[1, :, :, 4:] = 0  # white beside nothing
    strongest = edges(plane)[:, 0, 4].amax(dim=1)
    assert bool((strongest > 0.999).all())


def test_half_of_the_asked_backgrounds_hold_objects() -> None:
    """busy = 0 leaves every background plain; busy = 1 none."""
    feed, _ = a_scene_feed()
    for busy, low, high in ((0.0, 0, 0), (0.5, 20, 44), (1.0, 64, 64)):
        backgrounds = feed.scenes(64, busy, torch.Generator().manual_seed(5)).background
        plain = backgrounds[:, :3].flatten(2).std(dim=2).amax(dim=1) < 1e-4
        assert low <= int((~plain).sum()) <= high


def test_a_background_keeps_its_colour_to_the_border() -> None:
    """The windows never leave their crop: even plates stay even, brighter or darker by little."""
    feed, _ = a_scene_feed()
    backgrounds = feed.scenes(16, 0.0, torch.Generator().manual_seed(2)).background
    for plane in backgrounds[:, :3]:
        assert float(plane.std()) < 1e-4
        level = float(plane.mean()) * 255
        assert 30 * 0.84 < level < 30 * 1.11 or 200 * 0.84 < level < 200 * 1.11
