"""Flat pictures: what lies where in a batch, and that it repeats."""

from __future__ import annotations

import torch

from multiplane.training.flat_pictures import draw_flat, flatten
from small_world import a_scene_feed


def test_flattening_by_hand() -> None:
    plane = torch.tensor([0.2, 0.1, 0.0, 0.4])[None, :, None, None]  # premultiplied
    over_grey = flatten(plane, 0.5).flatten()
    assert torch.allclose(over_grey, torch.tensor([0.5, 0.4, 0.3]))
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    assert torch.allclose(flatten(plane, red).flatten(), torch.tensor([0.8, 0.1, 0.0]))


def test_a_batch_has_scenes_grey_coloured_and_mattes() -> None:
    feed, _ = a_scene_feed()
    pictures = draw_flat(feed, 32, torch.Generator().manual_seed(0))
    assert pictures.shape == (32, 3, feed.size, feed.size)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    grey, coloured, mattes = pictures[12:20], pictures[20:28], pictures[28:]
    corner = grey[:, :, 0, 0]
    assert torch.allclose(corner, torch.full_like(corner, 0.5), atol=1e-6)
    corners = coloured[:, :, 0, 0]
    assert len({tuple(round(v, 3) for v in c) for c in corners.tolist()}) == 8
    assert torch.equal(mattes[:, 0], mattes[:, 2])
    assert float(mattes[:, :, 0, 0].max()) == 0
    assert float(mattes[:, 0, 16, 16].min()) > 0.9  # a ball covers the middle


def test_the_same_seed_gives_the_same_pictures() -> None:
    feed, _ = a_scene_feed()
    one, same, other = (draw_flat(feed, 8, torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
