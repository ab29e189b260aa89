"""What LayerDiffuse's two recipes for several layers share: attention across streams on Stable
Diffusion 1.5 (`layerdiffuse_layers`) and conditions as input channels on SDXL
(`layerdiffuse_conditions`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from multiplane.core.config import to_table
from multiplane.pipelines.layerdiffuse.modes import Mode
from multiplane.recipes.layerdiffuse_sd import HELDOUT, BaseText, load_base
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_latents import LayerBatch, LayerLesson
from multiplane.training.layer_previews import Previews, draw_previews
from multiplane.training.layer_scenes import SceneConfig, load_scenes
from multiplane.training.run import RunConfig, TrainingRun, step_generator

MULTIPLE = 64  # of the picture's sides: what the transparency decoder takes
Seeing = Callable[[nn.Module, LayerBatch], Any]
OpenPipeline = Callable[[Mapping[str, Any]], AbstractContextManager[Any]]


@dataclass(frozen=True)
class CourseConfig:
    """base: folder or hub id of a Stable Diffusion pipeline. transparency: run folder of
    multiplane.recipes.latent_transparency for its VAE. batch: scenes a process; 16 over all
    processes in the paper. drop_text: share of captions replaced by the empty one. whole_text: see
    `stream_captions`. checkpointing: recompute the UNet's blocks on the way back, for less memory
    and the same weights."""

    run: RunConfig
    scenes: SceneConfig
    base: str
    transparency: Path
    batch: int = 1
    drop_text: float = 0.1
    whole_text: float = 0.0
    checkpointing: bool = False
    previews: Previews = field(default_factory=Previews)

    def __post_init__(self) -> None:
        if self.scenes.size % MULTIPLE:
            raise ValueError(
                f"the scenes are {self.scenes.size} pixels a side: give a multiple of {MULTIPLE}"
            )


def base_for_course(config: CourseConfig, xl: bool) -> Any:
    """The frozen base pipeline, its UNet ready for `checkpointing`. Raises ValueError where it is
    SDXL and should not be, or the other way round."""
    base = load_base(config.base)
    if ("text_encoder_2" in base.components) != xl:
        raise ValueError(
            f"{config.base} is no SDXL pipeline: conditions as input channels are for SDXL; Stable "
            "Diffusion 1.5's are trained by multiplane.recipes.layerdiffuse_layers"
            if xl
            else f"{config.base} is SDXL: attention sharing is for Stable Diffusion 1.5; SDXL's "
            "conditional models are trained by multiplane.recipes.layerdiffuse_conditions"
        )
    if config.checkpointing:
        base.unet.train()  # recomputes nothing otherwise; it has no dropout
        base.unet.enable_gradient_checkpointing()
    return base


class Course:
    """One training of `model`, which holds `base.unet`, on captioned scenes.

    seeing: the network called with what a batch gives it. opened: a pipeline with the model's
    present weights for `mode`, from the base and the transparency networks named in the mapping."""

    def __init__(
        self,
        config: CourseConfig,
        base: Any,
        mode: Mode,
        model: nn.Module,
        seeing: Seeing,
        opened: OpenPipeline,
    ) -> None:
        self.config, self.mode, self.model = config, mode, model
        self.seeing, self.opened = seeing, opened
        self.run = TrainingRun(config.run, model, nn.Identity(), to_table(config))
        base.to(self.run.device)
        transparent = LatentTransparency.trained(config.transparency, base.vae).to(self.run.device)
        self.networks = {
            "transparency_encoder": transparent.encoder,
            "transparency_decoder": transparent.decoder,
        }
        schedule: Any = DDPMScheduler.from_config(base.scheduler.config)
        text = BaseText(base, config.scenes.size)
        self.lesson = LayerLesson(
            mode, transparent, text, schedule, config.drop_text, config.whole_text
        )
        self.feed, self.heldout = (
            load_scenes(config.scenes, split, self.run.device) for split in ("train", "heldout")
        )

    def loss_of_step(
        self, network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        batch = self.lesson.draw(self.feed, self.config.batch, generator)
        losses = self.lesson.losses(self.seeing(network, batch), batch, generator)
        each = losses.detach().mean(dim=0).tolist()
        figures = {f"{name} loss": one for name, one in zip(self.mode.streams, each, strict=True)}
        return losses.mean(), {"samples": float(self.config.batch), **figures}

    def sample(self, step: int) -> dict[str, float]:
        """A sheet, where one is asked for, and the loss on held-out scenes with every caption."""
        if self.config.previews.count:
            sheet = self.config.run.out / f"sheet-{step:06d}.png"
            with self.opened(self.networks) as pipeline:
                draw_previews(self.config.previews, pipeline, self.mode, self.heldout, sheet)
        said = replace(self.lesson, drop=0.0, whole=0.0)
        generator = step_generator(1, 0, 0)
        batch = said.draw(self.heldout, HELDOUT, generator)
        losses = said.losses(self.seeing(self.model, batch), batch, generator)
        return {"heldout loss": float(losses.mean())}

    def train(self) -> bool:
        """To `run.steps`. True on the process that is to write the weights, which are then the
        averaged ones."""
        self.run.train(self.loss_of_step, self.sample)
        if self.run.accelerator.is_main_process:
            self.run.ema.copy_to(self.model)
        return self.run.accelerator.is_main_process
