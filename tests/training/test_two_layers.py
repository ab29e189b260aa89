"""Text2Layer's triplets, its faults and the pool of latents, on a made world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multiplane.models.planes import over
from multiplane.training.faults import (
    PlantedFaults,
    background_inside,
    disc_beside,
    incomplete,
    put_back,
    soft_cut,
)
from multiplane.training.latent_pool import caption_states, draw_pool, kept_pool
from multiplane.training.run import step_generator
from multiplane.training.two_layers import draw_two_layers, layer_figures, mask_iou, two_layers
from small_text2layer import a_codec
from small_world import SIZE, WordEncoder, a_scene_feed


def planes() -> tuple[torch.Tensor, torch.Tensor]:
    feed, _ = a_scene_feed()
    scenes = feed.scenes(4, 0.0, step_generator(0, 0, 0))
    return scenes.foreground.clamp(0, 1), scenes.background.clamp(0, 1)


def test_colour_stands_where_the_mask_exceeds_a_tenth_and_the_image_is_exact() -> None:
    foreground, background = planes()
    layers = two_layers(foreground, background)
    shown = layers.mask > 0.1
    straight = foreground[:, :3] / foreground[:, 3:].clamp(min=0.1)
    inside = shown.expand_as(straight)
    expected = (straight.clamp(0, 1) * 2 - 1)[inside]
    torch.testing.assert_close(layers.foreground[inside], expected, atol=1e-5, rtol=1e-5)
    assert float(layers.foreground[~inside].abs().max()) == 0
    exact = over(foreground, background)[:, :3] * 2 - 1
    assert layers.image is not None
    torch.testing.assert_close(layers.image, exact, atol=1e-6, rtol=0)
    # m F + (1 - m) B is the image but for what lies under a mask of less than a tenth
    assert float((layers.composite() - exact)[inside].abs().max()) < 1e-5


def test_a_caption_says_the_object_and_where_it_is() -> None:
    feed, prompts = a_scene_feed()
    batch = draw_two_layers(feed, prompts, 6, step_generator(0, 0, 0))
    for caption in batch.captions:
        front, _, back = caption.partition(" in ")
        assert front in ("red ball", "green ball", "blue ball")
        assert back in ("night", "day")
    assert draw_two_layers(feed, None, 2, step_generator(0, 0, 0)).captions == ["", ""]


def test_faults_that_leave_the_composite_alone_do_so() -> None:
    foreground, background = planes()
    hard = (foreground[:, 3:] > 0.5).float()
    foreground = torch.cat([foreground[:, :3].clamp(max=1) * hard, hard], dim=1)
    whole = over(foreground, background)
    cut = (torch.rand(4, 1, SIZE, SIZE, generator=step_generator(1, 0, 0)) > 0.5).float()
    for front, back in (
        incomplete(foreground, background, cut),
        background_inside(foreground, background, cut),
    ):
        torch.testing.assert_close(over(front, back), whole, atol=1e-6, rtol=0)
    front, back = incomplete(foreground, background, cut)
    torch.testing.assert_close(front[:, 3:], hard * (1 - cut))
    front, back = background_inside(foreground, background, cut)
    torch.testing.assert_close(front[:, 3:], torch.maximum(hard, cut))
    assert back is background
    front, back = put_back(foreground, background)
    assert front is foreground
    torch.testing.assert_close(back, whole)


def test_a_cut_takes_its_share_and_a_disc_lies_at_the_rim() -> None:
    y, x = torch.meshgrid(*[(torch.arange(64) + 0.5) / 64] * 2, indexing="ij")
    mask = (((x - 0.5).square() + (y - 0.5).square()).sqrt() < 0.25).float()[None, None]
    mask = mask.expand(3, -1, -1, -1)
    share, angle = torch.tensor([0.25, 0.4, 0.6]), torch.tensor([0.3, 2.0, 4.0])
    part = soft_cut(mask, share, angle)
    taken = (part * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
    torch.testing.assert_close(taken, share, atol=0.04, rtol=0)
    disc = disc_beside(mask, angle, torch.full((3,), 0.1))
    area = disc.mean(dim=(1, 2, 3))
    torch.testing.assert_close(area, torch.full((3,), torch.pi * 0.01), atol=4e-3, rtol=0)
    centre = (disc[:, 0] * x).sum(dim=(1, 2)) / disc.sum(dim=(1, 2, 3))
    torch.testing.assert_close(centre, 0.5 + 0.25 * torch.cos(angle), atol=0.01, rtol=0)


def test_faults_come_at_their_rate_and_every_kind_of_them() -> None:
    foreground, background = planes()
    foreground, background = (each[:1].expand(400, -1, -1, -1) for each in (foreground, background))
    front, back = PlantedFaults(0.5)(foreground, background, step_generator(2, 0, 0))
    mask_smaller = (front[:, 3:] - foreground[:, 3:]).sum(dim=(1, 2, 3)) < -1
    mask_larger = (front[:, 3:] - foreground[:, 3:]).sum(dim=(1, 2, 3)) > 1
    behind = (back - background).abs().sum(dim=(1, 2, 3)) > 1
    kinds = [mask_smaller, mask_larger, behind & ~mask_smaller]
    assert 0.42 < float(torch.stack(kinds).any(dim=0).float().mean()) < 0.58
    for kind in kinds:
        assert 0.1 < float(kind.float().mean()) < 0.24
    same = PlantedFaults(0.0)(foreground, background, step_generator(2, 0, 0))
    assert torch.equal(same[0], foreground)
    with pytest.raises(ValueError, match=r"0\.\.1, got 2"):
        PlantedFaults(2)


def test_figures_of_equal_layers_are_perfect_and_of_known_errors_known() -> None:
    layers = two_layers(*planes())
    perfect = layer_figures(layers, layers)
    assert perfect["foreground psnr"] == perfect["background psnr"] == pytest.approx(100)
    assert perfect["mask mae"] == 0
    assert perfect["mask iou"] == 1
    off = layers._replace(background=layers.background + 0.2, mask=layers.mask * 0)
    inside = layers.background.max() < 0.8
    assert bool(inside)
    figures = layer_figures(off, layers)
    assert figures["background psnr"] == pytest.approx(20, abs=1e-3)  # 0.1 of 0..1
    assert figures["mask mae"] == pytest.approx(float(layers.mask.mean()))
    half = torch.zeros(1, 1, 4, 4)
    half[..., :2] = 1
    more = half.clone()
    more[..., 2] = 1
    assert mask_iou(half, more) == pytest.approx(2 / 3)


def test_a_pool_is_drawn_once_and_kept(tmp_path: Path) -> None:
    feed, prompts = a_scene_feed()
    codec, encoder = a_codec("joint"), WordEncoder()
    calls: list[int] = []

    def draw(count: int = 10):
        calls.append(count)
        return draw_pool(feed, prompts, encoder, codec, count, 5, tmp_path)  # pyright: ignore

    pool = kept_pool(tmp_path, {"a": 1}, draw)
    again = kept_pool(tmp_path, {"a": 1}, draw)
    kept_pool(tmp_path, {"a": 2}, draw)
    assert calls == [10, 10]
    assert torch.equal(pool.latents, again.latents)
    assert pool.latents.shape == (10, 4, SIZE // 4, SIZE // 4)
    batch = draw_two_layers(feed, prompts, 64, step_generator(5, 0, 0))
    torch.testing.assert_close(pool.latents, codec.encode(batch.layers)[:10].half())
    torch.testing.assert_close(pool.states, encoder(batch.captions[:10])[0].half())
    latents, states = pool.draw(3, step_generator(0, 1, 0), torch.device("cpu"))
    rows = torch.randint(0, 10, (3,), generator=step_generator(0, 1, 0))
    torch.testing.assert_close(latents, pool.latents[rows].float())
    torch.testing.assert_close(states, pool.states[rows].float())


def test_captions_are_encoded_once_for_all_models(tmp_path: Path) -> None:
    calls: list[int] = []

    class Counting(WordEncoder):
        def __call__(self, prompts):
            calls.append(len(prompts))
            return super().__call__(prompts)

    captions = ["red ball in night", "blue ball in day"]
    first = caption_states(Counting(), captions, tmp_path)  # pyright: ignore
    second = caption_states(Counting(), captions, tmp_path)  # pyright: ignore
    assert calls == [2]
    assert torch.equal(first, second)
