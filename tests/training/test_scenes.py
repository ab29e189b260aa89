"""Composed scenes: exact truth and dependence between planes."""

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
