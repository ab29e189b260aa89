"""Layered clips as training batches: exact, frozen, coarse, mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.training.clips import (
    PLANES,
    ClipBatch,
    ClipPool,
    ClipTraining,
    CoarseConfig,
    as_rows,
    coarsened,
)
from small_clips import FRAMES, SIZE, write_clip_world
from small_world import WordEncoder


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> ClipPool:
    root: Path = write_clip_world(tmp_path_factory.mktemp("clips"))
    config = ClipTraining(root / "shards" / "clips", root / "text")
    device = torch.device("cpu")
    return ClipPool.load(config, "train", ("moving", "stills"), WordEncoder(), device)  # pyright: ignore


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_composite_is_the_foreground_over_the_background(pool: ClipPool) -> None:
    batch = pool.draw(5, seeded())
    assert batch.foreground.shape == (5, FRAMES, 4, SIZE, SIZE)
    color, alpha = batch.foreground[:, :, :3], batch.foreground[:, :, 3:]
    assert (color <= alpha + 1e-6).all()
    whole = color + (1 - alpha) * batch.background[:, :, :3]
    torch.testing.assert_close(batch.composite[:, :, :3], whole)
    assert (batch.composite[:, :, 3] == 1).all()


def test_captions_belong_to_their_clips(pool: ClipPool) -> None:
    batch = pool.first(6)
    for clip, rows in zip(pool.captions, batch.prompts.tolist(), strict=True):
        behind, front, whole = (pool.prompts.texts[row] for row in rows)
        assert whole == f"{front}, {behind}"
        assert rows == [options[0] for options in clip]
    with_style = pool.rows_of(("stills",))
    drawn = pool.draw(20, seeded(), with_style).prompts[:, PLANES.index("foreground")]
    assert all("cube" in pool.prompts.texts[row] for row in drawn.tolist())


def test_a_frozen_clip_repeats_one_frame_of_every_plane(pool: ClipPool) -> None:
    batch = pool.first(6)
    still = batch.frozen(seeded())
    for plane in PLANES:
        planes = getattr(still, plane)
        assert (planes == planes[:, :1]).all()
    found = {
        int(
            torch.stack([(planes[i, 0] == before[i, f]).all() for f in range(FRAMES)])
            .long()
            .argmax()
        )
        for planes, before in [(still.foreground, batch.foreground)]
        for i in range(6)
    }
    assert len(found) > 1  # not the same frame of all
    whole = (
        still.foreground[:, :, :3] + (1 - still.foreground[:, :, 3:]) * still.background[:, :, :3]
    )
    torch.testing.assert_close(still.composite[:, :, :3], whole)


@pytest.mark.parametrize("slack", [0, 1, 2])
def test_a_coarse_mask_is_the_object_grown_by_its_slack(pool: ClipPool, slack: int) -> None:
    """Oracle: scipy's dilation by a square."""
    batch = pool.first(4)
    chances = tuple(float(pixels == slack) for pixels in range(3))
    coarse = coarsened(batch, CoarseConfig(chances, blur=8), seeded())
    inside = batch.foreground[:, :, 3].numpy() > 0.5
    width = 2 * slack + 1
    grown = np.array(
        [[ndimage.binary_dilation(f, np.ones((width, width))) for f in clip] for clip in inside]
    )
    assert (coarse.foreground[:, :, 3].numpy() == grown).all()
    shown = torch.from_numpy(grown)[:, :, None].expand(-1, -1, 3, -1, -1)
    assert torch.equal(coarse.foreground[:, :, :3][shown], batch.composite[:, :, :3][shown])
    assert torch.equal(coarse.background[:, :, :3][~shown], batch.background[:, :, :3][~shown])
    assert not torch.equal(coarse.background, batch.background)
    assert torch.equal(coarse.composite, batch.composite)


def test_the_border_of_coarse_masks_flickers(pool: ClipPool) -> None:
    still = pool.first(4).frozen(seeded())
    alpha = coarsened(still, CoarseConfig(), seeded(2)).foreground[:, :, 3]
    assert (alpha != alpha[:, :1]).any()


def test_samples_come_from_one_batch_or_the_other(pool: ClipPool) -> None:
    first, second = pool.draw(4, seeded(1)), pool.draw(4, seeded(2))
    chosen = torch.tensor([True, False, False, True])
    both = first.where(chosen, second)
    for plane in (*PLANES, "prompts"):
        expected = [getattr(first if c else second, plane)[i] for i, c in enumerate(chosen)]
        assert torch.equal(getattr(both, plane), torch.stack(expected))


def test_rows_hold_the_patches_of_every_plane(pool: ClipPool) -> None:
    codec = PixelPatches(PixelPatchesConfig(8))
    batch: ClipBatch = pool.first(3)
    rows = as_rows(batch, pool.prompts, codec)
    assert rows.layout.roles == PLANES
    assert rows.layout.frames == FRAMES
    assert rows.clean.shape == (3, 3, FRAMES, 256, 4, 4)
    assert not rows.given.any()
    back = codec.decode(rows.clean[:, 1].flatten(0, 1)).unflatten(0, (3, FRAMES))
    torch.testing.assert_close(back * 0.5 + 0.5, batch.foreground)
    alone = as_rows(batch, pool.prompts, codec, ("composite",))
    assert torch.equal(alone.clean[:, 0], rows.clean[:, 2])
    assert torch.equal(alone.text[:, 0], rows.text[:, 2])


@pytest.mark.parametrize("values", [{"slack": ()}, {"slack": (0.0,)}, {"blur": 0}])
def test_coarseness_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match="slack needs"):
        CoarseConfig(**values)
