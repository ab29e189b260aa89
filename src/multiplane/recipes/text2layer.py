"""Train Text2Layer's latent diffusion model, or one of the models it is compared with.

    python -m multiplane.recipes.text2layer config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.text2layer config.toml

`latents` says what the UNet learns: "joint" (a CaT2I autoencoder), "separate" (foreground,
background and mask through an ordinary autoencoder each) or "flat" (the composite alone). Noise
prediction, a caption of the whole scene, captions dropped for guidance.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.latent_unet import LatentUNetConfig, build_unet, prefer_plain_attention
from multiplane.models.layer_codecs import LayerCodec, load_layer_codec
from multiplane.models.text_encoder import TextEncoder
from multiplane.pipelines.text2layer import Text2LayerDefaults, Text2LayerPipeline
from multiplane.recipes.command import path_argument
from multiplane.training.diffusion_loss import (
    drop_captions,
    noise_loss,
    preview_schedule,
    training_schedule,
)
from multiplane.training.faults import PlantedFaults
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.latent_pool import LatentPool, draw_pool, kept_pool
from multiplane.training.run import RunConfig, TrainingRun, compile_parts, step_generator
from multiplane.training.sheets import write_sheet

COLUMNS = 8
HELDOUT = 256


@dataclass(frozen=True)
class Config:
    """text_encoder: folder that multiplane.recipes.text_encoder wrote. latents, autoencoder: what
    is learned and the folder of its autoencoder. scenes: how many are drawn and encoded, once;
    training draws from them. faults: share of the scenes that are spoilt (`training.faults`), 0 for
    data as a perfect filter would leave it. drop_text: share of captions dropped. prompts: of the
    previews. steps, guidance: of the previews, and the saved pipeline's own."""

    run: RunConfig
    feed: FeedConfig
    text_encoder: Path
    autoencoder: Path
    latents: Literal["joint", "separate", "flat"] = "joint"
    model: LatentUNetConfig = field(default_factory=LatentUNetConfig)
    batch: int = 64
    scenes: int = 12288
    faults: float = 0.0
    drop_text: float = 0.1
    prompts: tuple[str, ...] = ()
    steps: int = 50
    guidance: float = 7.5
    version: str = "0"


def check_fit(config: Config, codec: LayerCodec) -> None:
    """Raises ValueError where the UNet's latents are not the autoencoder's."""
    model, cells = config.model, config.feed.size // codec.factor
    if model.latent_channels != codec.latent_channels or model.size != cells:
        raise ValueError(
            f"model.latent_channels {model.latent_channels} must be {codec.latent_channels} and "
            f"model.size {model.size} must be {cells} for {config.latents!r} latents of "
            f"{config.autoencoder} at feed.size {config.feed.size}"
        )


def pool_of(
    config: Config, split: str, count: int, codec: LayerCodec, encoder: TextEncoder
) -> LatentPool:
    """The scenes of one split, encoded; kept beside the run. Held-out scenes have no faults."""
    faults = config.faults if split == "train" else 0.0

    def draw() -> LatentPool:
        feed, prompts = load_feed(config.feed, split, encoder, torch.device("cpu"))
        fault = PlantedFaults(faults) if faults else None
        folder = config.run.out.parent
        seed = config.run.seed + 1000
        return draw_pool(feed, prompts, encoder, codec, count, seed, folder, fault)

    settings = {
        "feed": to_table(config.feed),
        "autoencoder": str(config.autoencoder),
        "latents": config.latents,
        "split": split,
        "count": count,
        "faults": faults,
        "seed": config.run.seed,
    }
    return kept_pool(config.run.out, settings, draw)


def prepare(config: Config) -> tuple[LayerCodec, TextEncoder, LatentPool, LatentPool]:
    """The autoencoder, the text encoder, the scenes to train on and the held-out ones."""
    encoder = TextEncoder.from_pretrained(config.text_encoder)
    codec = load_layer_codec(config.latents, config.autoencoder)
    check_fit(config, codec)
    train = pool_of(config, "train", config.scenes, codec, encoder)
    return codec, encoder, train, pool_of(config, "heldout", HELDOUT, codec, encoder)


def draw_previews(pipeline: Text2LayerPipeline, prompts: tuple[str, ...], path: Path) -> None:
    """A sheet of eight columns, every plane of every prompt; the seed of a prompt is its index."""
    if not prompts:
        return
    generators = [torch.Generator().manual_seed(index) for index in range(len(prompts))]
    made = pipeline(prompts, generators)
    rows = [
        planes[start : start + COLUMNS]
        for start in range(0, len(prompts), COLUMNS)
        for planes in made.values()
    ]
    write_sheet(rows, path)


def train(config: Config) -> None:
    """Train to `run.steps` and write the pipeline with the averaged weights to `run.out`/model."""
    torch.manual_seed(config.run.seed)  # the initial weights
    unet = build_unet(config.model)
    prefer_plain_attention(unet)
    if config.run.compile:
        blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
        compile_parts(*cast("list[nn.Module]", blocks))
    run = TrainingRun(config.run, unet, unet, to_table(config))
    with run.accelerator.main_process_first():
        codec, encoder, train, heldout = prepare(config)
    schedule = training_schedule()
    defaults = Text2LayerDefaults(config.version, config.steps, config.guidance, config.feed.size)
    codec.network().to(run.device)
    pipeline = Text2LayerPipeline(unet, codec, encoder.to(run.device), preview_schedule(), defaults)

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        latents, states = train.draw(config.batch, generator, run.device)
        states = drop_captions(states, config.drop_text, generator)
        losses = noise_loss(cast(Any, network), schedule, latents, states, generator)
        return losses.mean(), {"samples": float(config.batch)}

    def sample(step: int) -> dict[str, float]:
        draw_previews(pipeline, config.prompts, config.run.out / f"sheet-{step:06d}.png")
        losses = []
        for index in range(0, len(heldout), config.batch):
            latents = heldout.latents[index : index + config.batch].float().to(run.device)
            states = heldout.states[index : index + config.batch].float().to(run.device)
            generator = step_generator(1, index, 0)
            losses.append(noise_loss(unet, schedule, latents, states, generator))
        return {"heldout loss": float(torch.cat(losses).mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(unet)
        pipeline.save_pretrained(config.run.out / "model", config.text_encoder)


def main(path: Path) -> None:
    """`train` with the configuration in `path`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
