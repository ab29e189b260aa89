"""Stills that move: exact truth in every frame, the same motion as the clip shards draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multiplane.data.clip_motion import ClipMotion, ObjectPath
from multiplane.data.clips import _placed
from multiplane.models.planes import over
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.training.moving_scenes import (
    ClipRowFeed,
    ClipSpan,
    MovingScenes,
    draw_known,
    first_frames,
)
from multiplane.training.rows import Row
from small_world import AUTOENCODER, SIZE, a_scene_feed

SPAN = ClipSpan(frames=4, stride=2, length=8)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def moving(motion: ClipMotion | None = None) -> MovingScenes:
    feed, _ = a_scene_feed()
    return MovingScenes(feed, motion or ClipMotion())


def test_every_frame_is_composed_exactly_and_they_differ() -> None:
    planes, captions = moving().scenes(5, SPAN, seeded(0))
    foreground, background = planes["foreground"], planes["background"]
    assert foreground.shape == background.shape == (5, 4, 4, SIZE, SIZE)
    assert torch.equal(planes["composite"], over(foreground, background))
    assert float((foreground[:, :, :3] - foreground[:, :, 3:]).max()) <= 1e-6
    assert torch.equal(background[:, :, 3], torch.ones(5, 4, SIZE, SIZE))
    assert float(foreground.diff(dim=1).abs().mean()) > 0.01
    assert set(captions) == {"foreground", "background"}


def test_the_same_generator_gives_the_same_clips() -> None:
    one, two = (moving().scenes(3, SPAN, seeded(4))[0]["composite"] for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, moving().scenes(3, SPAN, seeded(5))[0]["composite"])


def test_objects_stand_where_the_clip_shards_draw_them() -> None:
    """Oracle: the renderer of the shards, in Pillow and at twice the size."""
    scenes = moving()
    path = ObjectPath(0.3, 0.6, 0.9, 0.5, 1.1, 0.1, 1, 12.0, 0.2)
    row = torch.tensor([1])
    box = scenes.feed.foregrounds.boxes[1]
    picture = scenes.feed.foregrounds.pixels[1].permute(1, 2, 0).numpy()
    corners = tuple(round(float(side) * SIZE) for side in box)
    for time in (0.0, 0.3, 0.8):
        ours = scenes._drawn(row, [path], torch.tensor([False]), time)[0, 3]
        place = path.at(time)
        theirs = _placed(picture, corners, place, path.ground - place.lift, False, SIZE)[..., 3]  # pyright: ignore
        centres = [
            np.array(np.meshgrid(range(SIZE), range(SIZE))).reshape(2, -1) @ alpha / alpha.sum()
            for alpha in (ours.numpy().ravel(), theirs.ravel())
        ]
        assert np.abs(centres[0] - centres[1]).max() < 0.75, time
        assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=0.12)


def test_a_camera_that_stands_and_an_object_that_does_not_move() -> None:
    still = ClipMotion((0, 0), (0, 0), (0, 0), (0, 0), (1, 1), still_camera=1.0)
    planes, _ = moving(still).scenes(3, SPAN, seeded(1))
    for plane in planes.values():
        assert float(plane.diff(dim=1).abs().max()) < 1e-5


def test_alone_an_object_stays_on_its_canvas() -> None:
    planes, _ = moving().alone(24, ClipSpan(8, 2), seeded(2))
    alpha = planes["foreground"][:, :, 3]
    x = torch.arange(SIZE) + 0.5
    middle = (alpha * x).sum(dim=(2, 3)) / alpha.sum(dim=(2, 3)) / SIZE
    assert 0.2 < float(middle.min()) < float(middle.max()) < 0.8


def test_rows_hold_given_planes_over_all_frames_and_first_frames_in_addition() -> None:
    feed, prompts = a_scene_feed()
    rows = ClipRowFeed(MovingScenes(feed), prompts, RGBAAutoencoder(AUTOENCODER))
    batch = rows.draw(Row.parse("background -> foreground composite"), 2, SPAN, seeded(0))
    assert batch.clean.shape == (2, 3, 4, 4, 4, 4)
    assert (batch.layout.frames, batch.layout.stride) == (4, 2)
    assert batch.given[:, 0].all()
    assert not batch.given[:, 1:].any()
    continued = first_frames(batch.given, 1)
    assert continued[:, :, 0].all()
    assert not continued[:, 1:, 1:].any()
    assert not batch.given[:, 1:].any()  # as it was
    with pytest.raises(ValueError, match="clips have no silhouette"):
        rows.draw(Row.parse("silhouette -> foreground"), 1, SPAN, seeded(0))


def test_autocast_moves_nothing_that_is_composed() -> None:
    feed, prompts = a_scene_feed()
    rows = ClipRowFeed(MovingScenes(feed), prompts, RGBAAutoencoder(AUTOENCODER))
    row = Row.parse("-> background foreground composite")
    plain = rows.draw(row, 2, SPAN, seeded(0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = rows.draw(row, 2, SPAN, seeded(0))
    assert torch.equal(plain.clean, cast.clean)


def test_spans_show_frames_of_one_clip_and_refuse_what_does_not_fit() -> None:
    starts = {ClipSpan(4, 2, 16).times(seeded(seed))[0] * 15 for seed in range(40)}
    assert len(starts) > 5
    for seed in range(5):
        times = ClipSpan(4, 2, 16).times(seeded(seed))
        assert np.allclose(np.diff(times), 2 / 15)
        assert 0 <= times[0] < times[-1] <= 1
    assert ClipSpan(16, 1, 16).times(seeded(0))[-1] == 1.0
    with pytest.raises(ValueError, match="do not fit into a clip of 8"):
        ClipSpan(5, 2, 8)


def test_one_first_frame_is_given_mostly_and_never_more_than_half() -> None:
    drawn = [draw_known(8, seeded(seed)) for seed in range(300)]
    assert set(drawn) == {1, 2, 3, 4}
    assert 0.6 < drawn.count(1) / len(drawn) < 0.85
