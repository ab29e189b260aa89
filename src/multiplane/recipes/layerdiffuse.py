"""Train a small latent diffusion model, then make it transparent: LayerDiffuse's two stages.

    python -m multiplane.recipes.layerdiffuse config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.layerdiffuse config.toml

Without `transparency` the model learns plain latents of flat pictures. With it, it learns adjusted
latents of transparent ones, starting from `base`: every weight, as for the paper's SDXL model, or a
LoRA on the attention. The loss is the same noise prediction; only the latents differ (arXiv
2402.17113, section 3.2).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.frozen_vae import load_frozen_vae
from multiplane.models.latent_unet import (
    LatentUNetConfig,
    build_unet,
    prefer_plain_attention,
    sample_latents,
    starting_noise,
)
from multiplane.models.text_encoder import TextEncoder
from multiplane.models.transparent_vae import TransparentVAE, scale_latents
from multiplane.models.weights_io import write_folder
from multiplane.recipes.command import path_argument
from multiplane.training.diffusion_loss import (
    drop_captions,
    noise_loss,
    preview_schedule,
    training_schedule,
)
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.flat_pictures import flatten
from multiplane.training.latent_pool import LatentPool, kept_pool
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.pools import Prompts
from multiplane.training.run import RunConfig, TrainingRun, step_generator
from multiplane.training.scenes import SceneFeed
from multiplane.training.sheets import opaque, write_sheet

COLUMNS = 8
HELDOUT = 256
BATCH = 64
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Config:
    """text_encoder: folder that multiplane.recipes.text_encoder wrote. vae, vae_subfolder: see
    `load_frozen_vae`. transparency: run folder of multiplane.recipes.latent_transparency, or none
    for a plain model. base: folder of the UNet to start from, or none for a fresh one of `model`.
    lora_rank: 0 trains every weight; the paper's LoRA have 256. pictures: how many are drawn and
    encoded, once; training draws from them. drop_text: share of captions dropped. prompts, steps,
    guidance: of the previews."""

    run: RunConfig
    feed: FeedConfig
    text_encoder: Path
    vae: str
    vae_subfolder: str = ""
    transparency: Path | None = None
    base: Path | None = None
    lora_rank: int = 0
    model: LatentUNetConfig = field(default_factory=LatentUNetConfig)
    batch: int = 64
    pictures: int = 12288
    drop_text: float = 0.1
    prompts: tuple[str, ...] = ()
    steps: int = 30
    guidance: float = 5.0

    def __post_init__(self) -> None:
        if self.lora_rank and self.base is None:
            raise ValueError("a LoRA needs the model it is for: give its UNet's folder as base")


class Latents:
    """Captioned pictures as the latents that a stage learns, and back."""

    def __init__(self, vae: AutoencoderKL, transparency: Path | None) -> None:
        self.vae = vae
        self.transparent: LatentTransparency | None = None
        if transparency is not None:
            self.transparent = LatentTransparency.trained(transparency, vae)

    def to(self, device: torch.device) -> None:
        nn.Module.to(self.vae, device)
        if self.transparent is not None:
            self.transparent.to(device)

    @torch.no_grad()
    def draw(
        self, feed: SceneFeed, prompts: Prompts, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(scaled latents (count, C, h, w), token states (count, T, C)): transparent objects that
        fill the canvas, or flat pictures."""
        if self.transparent is None:
            pictures, states = draw_flat_captioned(feed, prompts, count, generator)
            posterior = self.vae.encode(pictures * 2 - 1, return_dict=False)[0]
            return scale_latents(self.vae, posterior.mean), states
        planes, rows, _ = feed.alone(count, generator)
        return self.transparent.encode(planes), prompts.states[rows].float()

    @torch.no_grad()
    def rows(self, latents: Tensor) -> list[Tensor]:
        """Scaled latents -> sheet rows (B, 4, H, W) premultiplied: the transparent picture if there
        is one, then what the VAE alone decodes."""
        if self.transparent is not None:
            made, flat = self.transparent.decode(latents)
            return [made, opaque(flat)]
        return [opaque(TransparentVAE(self.vae).decode_picture(latents).clamp(0, 1))]


def draw_flat_captioned(
    feed: SceneFeed, prompts: Prompts, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(pictures (count, 3, S, S) in [0, 1], token states): half objects over random colours, three
    eighths scenes captioned by their object, an eighth backgrounds. None over mid grey: that look
    is left for the transparent stage to bring."""
    alone, behind = count // 2, count // 8
    planes, rows, _ = feed.alone(alone, generator)
    colors = torch.rand(alone, 3, 1, 1, generator=generator).to(feed.device)
    scenes = feed.scenes(count - alone, 0.0, generator)
    pictures = [
        flatten(planes, colors),
        scenes.background[:behind, :3],
        scenes.composite[behind:, :3],
    ]
    chosen = [rows, scenes.background_prompt[:behind], scenes.foreground_prompt[behind:]]
    return torch.cat(pictures).clamp(0, 1), prompts.states[torch.cat(chosen)].float()


def pool_of(config: Config, split: str, count: int, latents: Latents, text: TextEncoder) -> Any:
    """`count` encoded pictures of one split, kept in the run's folder."""

    def draw() -> LatentPool:
        feed, prompts = load_feed(config.feed, split, text, torch.device("cpu"))
        parts = [
            latents.draw(feed, prompts, BATCH, step_generator(config.run.seed + 1000, index, 0))
            for index in range(-(-count // BATCH))
        ]
        encoded, states = (
            torch.cat(side)[:count].half().contiguous() for side in zip(*parts, strict=True)
        )
        return LatentPool(encoded, states)

    settings = {
        "feed": to_table(config.feed),
        "vae": config.vae,
        "transparency": str(config.transparency),
        "split": split,
        "count": count,
        "seed": config.run.seed,
    }
    return kept_pool(config.run.out, settings, draw)


def make_unet(config: Config) -> UNet2DConditionModel:
    """Fresh, or from `base`; with a LoRA on every attention where a rank is given, and then nothing
    else trains."""
    if config.base is None:
        return build_unet(config.model)
    unet = UNet2DConditionModel.from_pretrained(config.base)
    unet.train()
    if config.lora_rank:
        add_lora(unet, config.lora_rank)
    return unet


def add_lora(unet: UNet2DConditionModel, rank: int) -> None:
    """A LoRA on the projections of every attention, where the published ones lie; nothing else of
    the UNet trains any more."""
    from peft import LoraConfig

    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION)))


def check_fit(config: Config, unet: UNet2DConditionModel, vae: AutoencoderKL) -> None:
    """Raises ValueError where the UNet's latents are not the VAE's."""
    channels = vae.config["latent_channels"]
    cells = config.feed.size // 2 ** (len(vae.config["block_out_channels"]) - 1)
    if (unet.config["in_channels"], unet.config["sample_size"]) != (channels, cells):
        raise ValueError(
            f"the UNet takes {unet.config['in_channels']} channels of {unet.config['sample_size']} "
            f"cells a side, {config.vae} gives {channels} of {cells} at feed.size "
            f"{config.feed.size}"
        )


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/unet, or /lora."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    unet = make_unet(config)
    prefer_plain_attention(unet)
    hidden = nn.Identity() if config.lora_rank else unet
    run = TrainingRun(config.run, unet, hidden, to_table(config))
    vae = load_frozen_vae(config.vae, config.vae_subfolder)
    check_fit(config, unet, vae)
    text = TextEncoder.from_pretrained(config.text_encoder)
    latents = Latents(vae, config.transparency)
    with run.accelerator.main_process_first():
        train = pool_of(config, "train", config.pictures, latents, text)
        heldout = pool_of(config, "heldout", HELDOUT, latents, text)
    latents.to(run.device)
    schedule = training_schedule()

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        clean, states = train.draw(config.batch, generator, run.device)
        states = drop_captions(states, config.drop_text, generator)
        losses = noise_loss(cast(Any, network), schedule, clean, states, generator)
        return losses.mean(), {"samples": float(config.batch)}

    def sample(step: int) -> dict[str, float]:
        if config.prompts:
            made = preview(config, unet, text)
            rows = [
                part[start : start + COLUMNS]
                for start in range(0, len(made), COLUMNS)
                for part in latents.rows(made)
            ]
            write_sheet(rows, config.run.out / f"sheet-{step:06d}.png")
        clean, states = heldout.latents.float(), heldout.states.float()
        clean, states = clean.to(run.device), states.to(run.device)
        losses = noise_loss(unet, schedule, clean, states, step_generator(1, 0, 0))
        return {"heldout loss": float(losses.mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(unet)
        if config.lora_rank:
            write_folder(config.run.out / "lora", unet.save_lora_adapter)
        else:
            write_folder(config.run.out / "unet", unet.save_pretrained)


def preview(config: Config, unet: UNet2DConditionModel, text: TextEncoder) -> Tensor:
    """Scaled latents of the preview prompts; the seed of a prompt is its index."""
    states = text(config.prompts)[0].to(unet.device)
    generators = [torch.Generator().manual_seed(index) for index in range(len(config.prompts))]
    side = unet.config["sample_size"]
    noise = starting_noise((unet.config["in_channels"], side, side), generators)
    return sample_latents(
        unet, preview_schedule(), states, noise, generators, config.steps, config.guidance
    )


if __name__ == "__main__":
    main(path_argument(__doc__))
