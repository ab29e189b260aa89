"""Train LayerDiffuse's layers on Stable Diffusion 1.5: streams of one batch that share attention.

    python -m multiplane.recipes.layerdiffuse_layers config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse_layers config.toml

Modes: joint (foreground, background and composite at once), fg2bg and bg2fg (a layer and the
composite for a given layer, which a control-signal encoder, trained along, shows to every
attention), and pair, the paper's two streams, foreground and background. The base is frozen; each
stream's LoRA and the attention across streams train, on the noise predicted for all streams, which
share one time a scene and have a caption each (arXiv 2402.17113, section 3.4).

Differs from the paper as the released weights do: there a given layer is one more stream whose
noise is set to zero, so its clean latent takes part in the attention of the others; here it is a
picture that the control-signal encoder reads, and all streams are noisy. Keys and values are not
laid side by side: a second attention runs across the streams at each place.

Writes `run.out`/MODE.safetensors in the published format, for `load_mode(MODE, run.out)`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.weights_io import write_tensors
from multiplane.pipelines.layerdiffuse import SD15_WORKFLOWS, LayerDiffusePipeline
from multiplane.pipelines.layerdiffuse.modes import Mode, modes_of
from multiplane.recipes.command import path_argument
from multiplane.recipes.layerdiffuse_sd import HELDOUT, BaseText, load_base
from multiplane.training.inside_unet import SharedStreams, halved
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_latents import LayerBatch, LayerLesson, shown
from multiplane.training.layer_previews import Previews, draw_previews
from multiplane.training.layer_scenes import SceneConfig, load_scenes
from multiplane.training.run import RunConfig, TrainingRun, step_generator

MULTIPLE = 64  # of the picture's sides: what the control signal and the transparency decoder take


@dataclass(frozen=True)
class Config:
    """base: folder or hub id of a Stable Diffusion 1.5 pipeline. transparency: run folder of
    multiplane.recipes.latent_transparency for its VAE. rank: 256 in the paper. batch: scenes a
    process; 16 over all processes in the paper. drop_text, whole_text: see `stream_captions`.
    checkpointing: recompute the UNet's blocks on the way back, for less memory and the same
    weights."""

    run: RunConfig
    scenes: SceneConfig
    base: str
    transparency: Path
    mode: Literal["joint", "fg2bg", "bg2fg", "pair"] = "joint"
    rank: int = 256
    batch: int = 1
    drop_text: float = 0.1
    whole_text: float = 0.1
    checkpointing: bool = False
    previews: Previews = field(default_factory=Previews)

    def __post_init__(self) -> None:
        if self.scenes.size % MULTIPLE:
            raise ValueError(
                f"the scenes are {self.scenes.size} pixels a side: give a multiple of {MULTIPLE}"
            )

    @property
    def layers(self) -> Mode:
        """The mode's streams and conditions, as the pipeline that will use the weights has them."""
        return modes_of(SD15_WORKFLOWS)[self.mode]


def load_sd15(base: str) -> Any:
    """As `load_base`. Raises ValueError for SDXL, which has no weights of this kind."""
    pipeline = load_base(base)
    if "text_encoder_2" in pipeline.components:
        raise ValueError(
            f"{base} is SDXL: attention sharing is for Stable Diffusion 1.5; SDXL's conditional "
            "models are trained by multiplane.recipes.layerdiffuse_conditions"
        )
    return pipeline


def seeing(network: nn.Module, batch: LayerBatch) -> Any:
    """The network with the batch's given layer before it, where there is one."""
    return partial(network, image=shown(batch.given[0]) if batch.given else None)


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged units to `run.out`."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    base, mode = load_sd15(config.base), config.layers
    if config.checkpointing:
        base.unet.train()  # recomputes nothing otherwise; it has no dropout
        base.unet.enable_gradient_checkpointing()
    sharing = AttentionSharing.for_unet(
        base.unet, len(mode.streams), config.rank, bool(mode.conditions)
    )
    model = SharedStreams(sharing, base.unet)
    run = TrainingRun(config.run, model, nn.Identity(), to_table(config))
    base.to(run.device)
    transparent = LatentTransparency.trained(config.transparency, base.vae).to(run.device)
    networks = {
        "transparency_encoder": transparent.encoder,
        "transparency_decoder": transparent.decoder,
    }
    schedule: Any = DDPMScheduler.from_config(base.scheduler.config)
    text = BaseText(base, config.scenes.size)
    lesson = LayerLesson(mode, transparent, text, schedule, config.drop_text, config.whole_text)
    said = replace(lesson, drop=0.0, whole=0.0)  # what the held-out loss is of
    train, heldout = (
        load_scenes(config.scenes, split, run.device) for split in ("train", "heldout")
    )

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        batch = lesson.draw(train, config.batch, generator)
        losses = lesson.losses(seeing(network, batch), batch, generator)
        each = losses.detach().mean(dim=0).tolist()
        figures = {f"{name} loss": one for name, one in zip(mode.streams, each, strict=True)}
        return losses.mean(), {"samples": float(config.batch), **figures}

    def sample(step: int) -> dict[str, float]:
        if config.previews.count:
            with model.outside() as units:
                pipeline = LayerDiffusePipeline(**base.components, **networks)
                pipeline.load_mode(mode.name, units)
                sheet = config.run.out / f"sheet-{step:06d}.png"
                draw_previews(config.previews, pipeline, mode, heldout, sheet)
        generator = step_generator(1, 0, 0)
        batch = said.draw(heldout, HELDOUT, generator)
        losses = said.losses(seeing(model, batch), batch, generator)
        return {"heldout loss": float(losses.mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(model)
        write_tensors(
            halved(sharing.published_state()), config.run.out / f"{mode.name}.safetensors"
        )


if __name__ == "__main__":
    main(path_argument(__doc__))
