"""Stage 3 of LayerFlow: a Content LoRA on layered pictures mixed with copy-paste clips.

    python -m multiplane.recipes.clips_content_lora config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.clips_content_lora config.toml

Base and Motion LoRA are frozen. A picture comes as a frozen clip with the Motion LoRA switched on,
so that standing still is not learned again; a moving clip with it off (arXiv 2506.04228, section
4.2). Without `motion`, or with `videos = "coarse"` and `pictures = 0`, it trains the ablations.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.lora import LoRAConfig, load_lora, save_lora, set_gate
from multiplane.recipes import clips_motion_lora
from multiplane.recipes.command import path_argument
from multiplane.training.clip_stage import ADAPTER, ClipStage, begin, load_denoiser, new_adapter
from multiplane.training.clips import ClipBatch, ClipTraining, CoarseConfig, as_rows, coarsened
from multiplane.training.run import RunConfig

NAME = "content"


@dataclass(frozen=True)
class Config:
    """model: folder of stage 1's network. motion: folder of stage 2's adapter; None for none.
    pictures: share of samples that are layered pictures, frozen. videos: the moving clips are exact
    copies and pastes, or coarse as in stage 1."""

    run: RunConfig
    data: ClipTraining
    model: Path
    motion: Path | None = None
    lora: LoRAConfig = field(default_factory=lambda: LoRAConfig(rank=32, alpha=32.0))
    pictures: float = 0.75
    videos: Literal["copy-paste", "coarse"] = "copy-paste"
    coarse: CoarseConfig = field(default_factory=CoarseConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.pictures <= 1:
            raise ValueError(f"pictures is a share from 0 to 1, got {self.pictures}")


def mixed(
    pictures: ClipBatch, videos: ClipBatch, share: float, generator: torch.Generator
) -> tuple[ClipBatch, Tensor]:
    """(samples, gate (B,) of the Motion LoRA): pictures, already frozen, at gate 1 in a share of
    samples, videos at gate 0 in the others."""
    still = torch.rand(len(pictures.prompts), generator=generator) < share
    return pictures.where(still, videos), still.float()


def train(config: Config, stage: ClipStage | None = None) -> None:
    """Train to `run.steps` and write the averaged adapter to `run.out`/adapter. stage: its data,
    where that is read already."""
    denoiser = load_denoiser(config.model)
    if config.motion is not None:
        load_lora(denoiser, clips_motion_lora.NAME, config.motion)
    new_adapter(denoiser, NAME, config.lora, config.run.seed)
    run, stage = begin(config.run, config.data, to_table(config), denoiser, stage)
    pool = stage.pool("train")
    moving = pool.rows_of(config.data.videos)
    layered = pool.rows_of(config.data.images)

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        videos = pool.draw(config.data.batch, generator, moving)
        if config.videos == "coarse":
            videos = coarsened(videos, config.coarse, generator)
        pictures = pool.draw(config.data.batch, generator, layered).frozen(generator)
        batch, gate = mixed(pictures, videos, config.pictures, generator)
        if config.motion is not None:
            set_gate(denoiser, clips_motion_lora.NAME, gate.to(run.device))
        rows = as_rows(batch, pool.prompts, stage.codec)
        return stage.loss(model, rows, stage.draw_given(rows, generator), generator).mean(), {}

    def sample(step: int) -> dict[str, float]:
        if config.motion is not None:
            set_gate(denoiser, clips_motion_lora.NAME, torch.zeros(1, device=run.device))
        return {"heldout": stage.heldout_loss(denoiser)}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_lora(denoiser, NAME, config.lora, config.run.out / ADAPTER)


def main(path: Path) -> None:
    """Train by a TOML file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
