"""Train the denoiser of `tiny`: one network for every row of the task table.

    python -m multiplane.recipes.tiny config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.tiny config.toml

Each step draws one row by its weight and composes fresh scenes for it on the training device. A
killed run started again goes on from its newest checkpoint and draws what it would have drawn.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.codecs import load_codec
from multiplane.models.layered_transformer import LayeredTransformer, LayeredTransformerConfig
from multiplane.models.patches import PixelPatches
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.text_encoder import TextEncoder
from multiplane.models.weights_io import load_wanted, save_network
from multiplane.recipes.command import path_argument
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.losses import logit_normal_times
from multiplane.training.previews import preview_sheet
from multiplane.training.rows import (
    NoiseConfig,
    Row,
    RowFeed,
    drop_text,
    given_times,
    heldout_losses,
    keep_rectangles,
    row_loss,
)
from multiplane.training.run import RunConfig, TrainingRun, compile_parts


@dataclass(frozen=True)
class Config:
    """text_encoder: folder that multiplane.recipes.text_encoder wrote. autoencoder: folder of a
    trained autoencoder, or of `PixelPatches`. start: folder of a denoiser to go on from with a
    schedule of its own; None begins with random weights. rows: weight of each row of the task
    table. prompts: foreground prompts of the sample sheets, "a over b" for a scene. batch_alone,
    batch_scene: samples a step where the foreground is alone or the whole scene is there.
    drop_all_text, drop_one_text: see `drop_text`. keep: share of steps that give part of a wanted
    plane. heldout: scenes of each row in the held-out losses."""

    run: RunConfig
    feed: FeedConfig
    text_encoder: Path
    autoencoder: Path
    rows: dict[str, float]
    prompts: tuple[str, ...]
    start: Path | None = None
    model: LayeredTransformerConfig = field(default_factory=LayeredTransformerConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    batch_alone: int = 64
    batch_scene: int = 24
    drop_all_text: float = 0.1
    drop_one_text: float = 0.05
    keep: float = 0.12
    heldout: int = 64


def draw_row(rows: dict[str, Row], weights: Tensor, generator: torch.Generator) -> Row:
    """One row by its weight; weights: (rows,)."""
    index = int(torch.multinomial(weights, 1, generator=generator))
    return list(rows.values())[index]


def check_fit(config: Config, codec: RGBAAutoencoder | PixelPatches) -> None:
    """Raises ValueError where the denoiser's tokens are not the representation's."""
    model, tokens = config.model, codec.config
    if model.channels != tokens.latent_channels or model.grid * tokens.factor != config.feed.size:
        raise ValueError(
            f"model.channels {model.channels} must be {tokens.latent_channels} and model.grid "
            f"{model.grid} must be {config.feed.size // tokens.factor} for {config.autoencoder} at "
            f"feed.size {config.feed.size}"
        )


def begun(config: Config) -> LayeredTransformer:
    """The denoiser as training finds it. Raises ValueError where `start` is of another size."""
    if config.start is None:
        return LayeredTransformer(config.model)
    return load_wanted(LayeredTransformer, config.model, config.start)


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/denoiser."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    denoiser = begun(config)
    if config.run.compile:
        compile_parts(*denoiser.blocks)
    run = TrainingRun(config.run, denoiser, denoiser.blocks, to_table(config))
    encoder = TextEncoder.from_pretrained(config.text_encoder, config.model.text_tokens)
    encoder.to(run.device)
    codec = load_codec(config.autoencoder).to(run.device).requires_grad_(False)
    check_fit(config, codec)
    if config.run.compile and isinstance(codec, RGBAAutoencoder):
        compile_parts(codec.encoder)
    train, heldout = (
        RowFeed(*load_feed(config.feed, split, encoder, run.device), codec, encoder)
        for split in ("train", "heldout")
    )
    rows = {text: Row.parse(text) for text in config.rows}
    weights = torch.tensor(list(config.rows.values()))

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        row = draw_row(rows, weights, generator)
        with torch.autocast(run.device.type, enabled=False):
            count = config.batch_alone if row.alone else config.batch_scene
            batch = train.draw(row, count, generator)
        given = batch.given
        if float(torch.rand(1, generator=generator)) < config.keep:
            given = keep_rectangles(given, generator)
        t = logit_normal_times(count, config.noise.time_mean, config.noise.time_std, generator)
        clean_time = given_times(count, config.noise.given_time, generator)
        has_text = drop_text(batch, config.drop_all_text, config.drop_one_text, generator)
        losses = row_loss(
            cast(LayeredTransformer, model),
            batch,
            given,
            has_text,
            t.to(run.device),
            clean_time.to(run.device),
            generator,
        )
        loss = losses.mean()
        return loss, {"alone" if row.alone else "scene": loss.item(), "samples": float(count)}

    def sample(step: int) -> dict[str, float]:
        preview_sheet(
            denoiser, codec, encoder, config.prompts, config.run.out / f"sheet-{step:06d}.png"
        )
        losses = heldout_losses(denoiser, heldout, rows, config.heldout)
        return {f"heldout {name}": value for name, value in losses.items()}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_network(denoiser, config.run.out / "denoiser", to_table(config.model), torch.float16)


if __name__ == "__main__":
    main(path_argument(__doc__))
