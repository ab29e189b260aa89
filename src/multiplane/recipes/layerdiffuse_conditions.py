"""Train LayerDiffuse's two-step conditional models of SDXL: given planes as further input channels.

    python -m multiplane.recipes.layerdiffuse_conditions config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse_conditions config.toml

Modes: fg2blend and bg2blend (the composite for a given layer), fgblend2bg and bgblend2fg (the other
layer for a given layer and the composite). The first convolution grows by the latents of what is
given, from zeros; it trains with the set of tensors that the released files change: the resnets,
samplers, first and last layers ("convolutions"), or everything but query, key, value and the
embeddings ("body", as released for bgblend2fg). Latents to be made are those of the VAE, and the
adjusted ones that carry alpha where the foreground is made.

Differs from the paper (arXiv 2402.17113, section 3.4) as the released weights do: there the given
layer is a stream of the shared attention whose noise is set to zero; here its clean latents, of the
layer over mid grey, are joined to the noisy ones at every time, and no attention is shared. Both
show the model a given layer without noise.

Writes `run.out`/MODE.safetensors in the published format (`diffusion_model.KEY::diff::0`), for
`load_mode(MODE, run.out)`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.weights_io import write_tensors
from multiplane.pipelines.layerdiffuse import SDXL_WORKFLOWS, LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.modes import Mode, modes_of
from multiplane.recipes.command import path_argument
from multiplane.recipes.layerdiffuse_sd import HELDOUT, BaseText, load_base
from multiplane.training.inside_unet import TrainedPart, halved, widen_input
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_latents import LayerBatch, LayerLesson, shown_latents
from multiplane.training.layer_previews import Previews, draw_previews
from multiplane.training.layer_scenes import SceneConfig, load_scenes
from multiplane.training.run import RunConfig, TrainingRun, step_generator
from multiplane.weights.layerdiffuse.deltas import IN_CONTENT, to_forge

MULTIPLE = 64  # of the picture's sides: what the transparency decoder takes


@dataclass(frozen=True)
class Config:
    """base: folder or hub id of an SDXL pipeline. transparency: run folder of
    multiplane.recipes.latent_transparency for its VAE. part: the tensors that train; none for those
    of the released file. batch: scenes a process; 16 over all processes in the paper. drop_text:
    share of captions replaced by the empty one. whole_text: see `stream_captions`. checkpointing:
    recompute the UNet's blocks on the way back, for less memory and the same weights."""

    run: RunConfig
    scenes: SceneConfig
    base: str
    transparency: Path
    mode: Literal["fg2blend", "bg2blend", "fgblend2bg", "bgblend2fg"] = "fg2blend"
    part: Literal["convolutions", "body"] | None = None
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

    @property
    def layers(self) -> Mode:
        """What is given and made, as the pipeline that will use the weights has it."""
        return modes_of(SDXL_WORKFLOWS)[self.mode]

    @property
    def trained(self) -> Literal["convolutions", "body"]:
        """The part, chosen or released."""
        return self.part or ("body" if self.mode == "bgblend2fg" else "convolutions")


class AlreadyThere:
    """The weights of a mode that the UNet itself is of."""

    def attach(self, unet: Any, device: torch.device) -> None: ...
    def detach(self, unet: Any) -> None: ...
    def forget(self) -> None: ...
    def save(self, folder: Path) -> None: ...


def load_sdxl(base: str) -> Any:
    """As `load_base`. Raises ValueError for another base, which has no modes of this kind."""
    pipeline = load_base(base)
    if "text_encoder_2" not in pipeline.components:
        raise ValueError(
            f"{base} is no SDXL pipeline: conditions as input channels are for SDXL; Stable "
            "Diffusion 1.5's are trained by multiplane.recipes.layerdiffuse_layers"
        )
    return pipeline


def conditional(unet: UNet2DConditionModel, config: Config) -> TrainedPart:
    """The UNet with the input of the mode, and of it what trains."""
    given = len(config.layers.conditions)
    widen_input(unet, unet.config["out_channels"] * (1 + given))
    return TrainedPart(unet, IN_CONTENT[config.trained])


def published_state(model: TrainedPart, unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """What training added, as a published file holds it."""
    attention = ["CrossAttn" in kind for kind in unet.config["down_block_types"]]
    return halved(to_forge(model.offsets(), attention))


def conditioned(network: nn.Module, batch: LayerBatch, vae: AutoencoderKL) -> Any:
    """The network with the latents of the batch's given layers behind the noisy ones."""
    with torch.autocast(vae.device.type, enabled=False):
        given = [shown_latents(vae, planes) for planes in batch.given]

    def predict(noisy: Tensor, times: Tensor, **arguments: Any) -> Any:
        whole = torch.cat([noisy, *given], dim=1)
        return network(whole, times, added_cond_kwargs=batch.added, **arguments)

    return predict


def main(path: Path) -> None:
    """Train to `run.steps` and write what the averaged weights add to the base to `run.out`."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    base, mode = load_sdxl(config.base), config.layers
    unet = base.unet
    if config.checkpointing:
        unet.train()  # recomputes nothing otherwise; it has no dropout
        unet.enable_gradient_checkpointing()
    model = conditional(unet, config)
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
        losses = lesson.losses(conditioned(network, batch, base.vae), batch, generator)
        return losses.mean(), {"samples": float(config.batch)}

    def sample(step: int) -> dict[str, float]:
        if config.previews.count:
            pipeline = LayerDiffuseXLPipeline(**base.components, **networks)
            pipeline.mode_weights[mode.name] = AlreadyThere()
            sheet = config.run.out / f"sheet-{step:06d}.png"
            draw_previews(config.previews, pipeline, mode, heldout, sheet)
        generator = step_generator(1, 0, 0)
        batch = said.draw(heldout, HELDOUT, generator)
        losses = said.losses(conditioned(model, batch, base.vae), batch, generator)
        return {"heldout loss": float(losses.mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(model)
        write_tensors(published_state(model, unet), config.run.out / f"{mode.name}.safetensors")


if __name__ == "__main__":
    main(path_argument(__doc__))
