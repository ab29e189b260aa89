"""Stage 1 of LayerFlow: the base learns layers from coarse layered video.

    python -m multiplane.recipes.clips_stage1 config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.clips_stage1 config.toml

One block in six trains, the last of each six, with the embedding of the planes (arXiv 2506.04228,
section 4.2). Differs from the paper: the patches' own projections train too, for they take the
place of its frozen autoencoder and the base has never seen an alpha below 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.weights_io import save_network
from multiplane.recipes.command import path_argument
from multiplane.training.clip_stage import NETWORK, ClipStage, begin, load_denoiser, train_only
from multiplane.training.clips import ClipTraining, CoarseConfig, as_rows, coarsened
from multiplane.training.run import RunConfig

LAYER_PARTS = ("roles.", "text_role", "picture_in.", "picture_out.", "final_modulation.")


@dataclass(frozen=True)
class Config:
    """base: folder of the base's network. every: one block in so many trains."""

    run: RunConfig
    data: ClipTraining
    base: Path
    every: int = 6
    coarse: CoarseConfig = field(default_factory=CoarseConfig)


def is_trained(name: str, every: int) -> bool:
    """True for the parameters of stage 1: block i where i mod every = every - 1 with its frame
    layer, and what makes planes of tokens."""
    for blocks in ("blocks.", "frames.layers."):
        if name.startswith(blocks):
            return int(name.removeprefix(blocks).split(".")[0]) % every == every - 1
    return name.startswith(LAYER_PARTS)


def train(config: Config, stage: ClipStage | None = None) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/denoiser. stage: its data,
    where that is read already."""
    denoiser = load_denoiser(config.base)
    count = train_only(denoiser, lambda name: is_trained(name, config.every))
    logging.getLogger(__name__).info("%.2f M parameters train", count / 1e6)
    run, stage = begin(config.run, config.data, to_table(config), denoiser, stage)
    pool = stage.pool("train")
    moving = pool.rows_of(config.data.videos)

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        batch = coarsened(pool.draw(config.data.batch, generator, moving), config.coarse, generator)
        rows = as_rows(batch, pool.prompts, stage.codec)
        return stage.loss(model, rows, stage.draw_given(rows, generator), generator).mean(), {}

    def sample(step: int) -> dict[str, float]:
        return {"heldout": stage.heldout_loss(denoiser)}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_network(denoiser, config.run.out / NETWORK, to_table(denoiser.config))


def main(path: Path) -> None:
    """Train by a TOML file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
