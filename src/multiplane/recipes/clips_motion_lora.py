"""Stage 2 of LayerFlow: a Motion LoRA on frozen clips.

    python -m multiplane.recipes.clips_motion_lora config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.clips_motion_lora config.toml

Each clip is one frame repeated, so the adapter learns what it takes to stand still and nothing
else; stage 3 switches it on for still pictures, and it is removed at inference (arXiv 2506.04228,
section 4.2).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.lora import LoRAConfig, save_lora
from multiplane.recipes.command import path_argument
from multiplane.training.clip_stage import ADAPTER, ClipStage, begin, load_denoiser, new_adapter
from multiplane.training.clips import ClipTraining, CoarseConfig, as_rows, coarsened
from multiplane.training.run import RunConfig

NAME = "motion"


@dataclass(frozen=True)
class Config:
    """model: folder of stage 1's network. coarse: how the frames are spoilt, so that standing still
    is all there is to learn: the layers look as stage 1 knows them."""

    run: RunConfig
    data: ClipTraining
    model: Path
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    coarse: CoarseConfig = field(default_factory=CoarseConfig)


def train(config: Config, stage: ClipStage | None = None) -> None:
    """Train to `run.steps` and write the averaged adapter to `run.out`/adapter. stage: its data,
    where that is read already."""
    denoiser = load_denoiser(config.model)
    new_adapter(denoiser, NAME, config.lora, config.run.seed)
    run, stage = begin(config.run, config.data, to_table(config), denoiser, stage)
    pool = stage.pool("train")
    moving = pool.rows_of(config.data.videos)

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        batch = coarsened(pool.draw(config.data.batch, generator, moving), config.coarse, generator)
        rows = as_rows(batch.frozen(generator), pool.prompts, stage.codec)
        return stage.loss(model, rows, stage.draw_given(rows, generator), generator).mean(), {}

    run.train(loss_of_step, lambda step: {})
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_lora(denoiser, NAME, config.lora, config.run.out / ADAPTER)


def main(path: Path) -> None:
    """Train by a TOML file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
