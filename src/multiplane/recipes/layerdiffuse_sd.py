"""Make Stable Diffusion 1.5 or SDXL transparent: LayerDiffuse's training at its published size.

    python -m multiplane.recipes.layerdiffuse_sd config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse_sd config.toml

The same stage as `multiplane.recipes.layerdiffuse`, with the base's own text encoders and schedule.
Needs networks of multiplane.recipes.latent_transparency for the base's VAE. A LoRA is written in
diffusers' format, for `load_lora_weights`; with lora_rank = 0 every weight is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.weights_io import write_folder
from multiplane.recipes.command import path_argument
from multiplane.recipes.layerdiffuse import COLUMNS, add_lora
from multiplane.training.diffusion_loss import noise_loss
from multiplane.training.feed import CAPTIONS_ALONE, FeedConfig, load_feed
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.run import RunConfig, TrainingRun, step_generator
from multiplane.training.sheets import opaque, write_sheet

HELDOUT = 16


@dataclass(frozen=True)
class Config:
    """base: folder or hub id of a Stable Diffusion 1.5 or SDXL pipeline. transparency: run folder
    of multiplane.recipes.latent_transparency for its VAE. lora_rank: 256 in the paper; 0 trains
    every weight, as the paper does for its base transparent model. batch: 16 in the paper, over all
    processes. drop_text: share of captions replaced by the empty one. prompts, steps, guidance: of
    the previews."""

    run: RunConfig
    feed: FeedConfig
    base: str
    transparency: Path
    lora_rank: int = 256
    batch: int = 1
    drop_text: float = 0.1
    prompts: tuple[str, ...] = ()
    steps: int = 25
    guidance: float = 7.0


class BaseText:
    """Captions as the UNet of a pipeline wants them."""

    def __init__(self, pipeline: Any, size: int) -> None:
        self.pipeline = pipeline
        self.large = "text_encoder_2" in pipeline.components
        self.size = size

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """(states (B, T, C), what else the UNet takes: SDXL's pooled states and sizes)."""
        encoded = self.pipeline.encode_prompt(
            prompt=list(captions),
            device=self.pipeline.unet.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        if not self.large:
            return encoded[0].float(), {}
        sides = torch.tensor([[self.size, self.size, 0, 0, self.size, self.size]])
        times = sides.expand(len(captions), -1).to(encoded[0].device)
        return encoded[0].float(), {"text_embeds": encoded[2].float(), "time_ids": times.float()}


def load_base(base: str) -> Any:
    """The pipeline of a folder or hub id, float32, nothing in it trained yet. Raises ValueError for
    another kind."""
    pipeline: Any = DiffusionPipeline.from_pretrained(base)
    if not isinstance(pipeline.components.get("unet"), UNet2DConditionModel):
        raise ValueError(
            f"{base} is a {type(pipeline).__name__} without a Stable Diffusion UNet: give a "
            "Stable Diffusion 1.5 or SDXL pipeline"
        )
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_weights(pipeline: Any, rank: int, folder: Path) -> None:
    """The UNet into `folder`/unet, or its LoRA into `folder`/lora as the pipeline loads it."""
    if not rank:
        write_folder(folder / "unet", pipeline.unet.save_pretrained)
        return
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
    save = partial(type(pipeline).save_lora_weights, unet_lora_layers=layers)
    write_folder(folder / "lora", save)


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/lora, or /unet."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights of the LoRA
    pipeline = load_base(config.base)
    unet = pipeline.unet
    if config.lora_rank:
        add_lora(unet, config.lora_rank)
    else:
        unet.requires_grad_(True)
    unet.train()
    run = TrainingRun(config.run, unet, nn.Identity(), to_table(config))
    pipeline.to(run.device)
    transparent = LatentTransparency.trained(config.transparency, pipeline.vae).to(run.device)
    text = BaseText(pipeline, config.feed.size)
    feeds = [
        load_feed(config.feed, split, CAPTIONS_ALONE, run.device) for split in ("train", "heldout")
    ]
    schedule: Any = DDPMScheduler.from_config(pipeline.scheduler.config)

    def losses_of(
        network: nn.Module, which: int, count: int, drop: float, generator: torch.Generator
    ) -> Tensor:
        feed, prompts = feeds[which]
        with torch.autocast(run.device.type, enabled=False):
            planes, rows, _ = feed.alone(count, generator)
            latents = transparent.encode(planes)
            kept = torch.rand(count, generator=generator) >= drop
            captions = [
                prompts.texts[row] if keep else ""
                for row, keep in zip(rows.tolist(), kept.tolist(), strict=True)
            ]
            states, added = text(captions)
        conditioned = cast(Any, partial(network, added_cond_kwargs=added))
        return noise_loss(conditioned, schedule, latents, states, generator)

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        losses = losses_of(network, 0, config.batch, config.drop_text, generator)
        return losses.mean(), {"samples": float(config.batch)}

    def sample(step: int) -> dict[str, float]:
        if config.prompts:
            sheet = config.run.out / f"sheet-{step:06d}.png"
            draw_previews(config, pipeline, transparent, sheet)
        losses = losses_of(unet, 1, HELDOUT, 0.0, step_generator(1, 0, 0))
        return {"heldout loss": float(losses.mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(unet)
        write_weights(pipeline, config.lora_rank, config.run.out)


def draw_previews(
    config: Config, pipeline: Any, transparent: LatentTransparency, path: Path
) -> None:
    """A sheet of eight columns: each prompt's transparent picture, below it what the VAE alone
    decodes, which is grey where it is clear. The seed of a prompt is its index."""
    latents = [
        pipeline(
            prompt,
            height=config.feed.size,
            width=config.feed.size,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance,
            generator=torch.Generator().manual_seed(index),
            output_type="latent",
        ).images
        for index, prompt in enumerate(config.prompts)
    ]
    made, flat = transparent.decode(torch.cat(latents).float())
    rows = [
        part[start : start + COLUMNS]
        for start in range(0, len(made), COLUMNS)
        for part in (made, opaque(flat))
    ]
    write_sheet(rows, path)


if __name__ == "__main__":
    main(path_argument(__doc__))
