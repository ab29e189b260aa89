"""Training and its previews on an accelerator: nothing may mix devices. Run on pretended ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from multiplane.core.request import TASK_TABLE
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.pipelines.tiny import PlaneInput, TinyPipeline
from multiplane.recipes.tiny_autoencoder import draw_planes, measure_latents
from multiplane.training.losses import expected_composite_error, gradient_error
from multiplane.training.previews import preview_sheet
from multiplane.training.rows import (
    Row,
    RowFeed,
    drop_text,
    heldout_losses,
    keep_rectangles,
    row_loss,
)
from multiplane.training.scenes import SceneFeed
from pretend_device import CPU, GPU, MixedDevices, PretendDevice, device_of, put
from small_world import AUTOENCODER, SIZE, WordEncoder, a_denoiser, a_scene_feed

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available")
ROWS = [str(task) for task in TASK_TABLE] + ["silhouette -> foreground", "edges -> foreground"]


@pytest.fixture(autouse=True)
def pretending() -> Iterator[None]:
    with PretendDevice():
        yield


def a_feed_there() -> tuple[SceneFeed, RowFeed]:
    feed, prompts = a_scene_feed()
    scenes = SceneFeed(
        feed.foregrounds.to(GPU), feed.backgrounds.to(GPU), feed.style_weights, feed.placement
    )
    codec = RGBAAutoencoder(AUTOENCODER)
    put(codec)
    return scenes, RowFeed(scenes, prompts.to(GPU), codec, WordEncoder())  # pyright: ignore


def test_the_pretence_finds_what_it_should() -> None:
    there, here = torch.zeros(3, device="cuda"), torch.zeros(3)
    assert there.device == GPU
    assert (there * 2 + torch.tensor(1.0)).sum().device == GPU
    assert there[torch.tensor([0, 1])].device == GPU
    assert there.cpu().device == here.device == CPU
    for mix in (
        lambda: there + here,
        lambda: torch.stack([there, here]),
        lambda: here[torch.zeros(1, dtype=torch.long, device="cuda")],
        lambda: torch.nn.functional.linear(there[None], here[None]),
        lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
        lambda: there.numpy(),
    ):
        with pytest.raises(MixedDevices):
            mix()


@pytest.mark.parametrize("text", ROWS)
def test_a_step_of_every_row(text: str) -> None:
    _, feed = a_feed_there()
    denoiser = a_denoiser()
    put(denoiser)
    generator = torch.Generator().manual_seed(0)
    batch = feed.draw(Row.parse(text), 3, generator)
    given = keep_rectangles(batch.given, generator)
    has_text = drop_text(batch, 0.3, 0.3, generator)
    times = torch.full((3,), 0.4).to(GPU)
    losses = row_loss(denoiser, batch, given, has_text, times, times, generator)
    assert device_of(losses) == GPU


def test_held_out_losses() -> None:
    _, feed = a_feed_there()
    denoiser = a_denoiser()
    put(denoiser)
    assert heldout_losses(denoiser, feed, {"-> foreground": Row.parse("-> foreground")}, 2)


def test_a_step_of_the_autoencoder() -> None:
    scenes, _ = a_feed_there()
    codec = RGBAAutoencoder(AUTOENCODER)
    put(codec)
    planes = draw_planes(scenes, 8, torch.Generator().manual_seed(0))
    noise = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(1)).to(GPU)
    _, decoded = codec(planes, noise, 0.1)
    loss = expected_composite_error(decoded, planes) + gradient_error(decoded, planes)
    assert device_of(loss) == GPU
    measure_latents(codec, scenes, 1)


def test_previews_and_the_pipeline_bring_planes_home(tmp_path: Path) -> None:
    _, feed = a_feed_there()
    denoiser = a_denoiser()
    put(denoiser)
    codec, encoder = feed.autoencoder, feed.encoder
    prompts = ("red ball", "blue ball over night")
    preview_sheet(denoiser, codec, encoder, prompts, tmp_path / "s.png", 2)  # pyright: ignore
    assert (tmp_path / "s.png").exists()
    pipeline = TinyPipeline(denoiser, codec, encoder)  # pyright: ignore
    assert pipeline.device == GPU
    pixels, keep = torch.rand(4, SIZE, SIZE), torch.zeros(SIZE, SIZE)
    keep[:20] = 1
    planes = {
        "background": PlaneInput("night", pixels),
        "foreground": PlaneInput("red ball", pixels, keep),
        "composite": PlaneInput(pixels=pixels, strength=0.5),
    }
    made = pipeline(planes, torch.Generator().manual_seed(0), 2, callback=lambda *_: None)
    assert {device_of(plane) for plane in made.values()} == {CPU}
