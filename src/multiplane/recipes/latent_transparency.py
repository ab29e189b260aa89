"""Train latent transparency for a frozen VAE: an offset encoder and a transparency decoder.

    python -m multiplane.recipes.latent_transparency config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.latent_transparency config.toml

LayerDiffuse (arXiv 2402.17113), section 3.1, for any diffusers `AutoencoderKL`: Stable Diffusion's
by hub id, or the small one of `multiplane.recipes.rgb_vae`. The VAE is never changed.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.frozen_vae import load_frozen_vae
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.planes import premultiply
from multiplane.models.weights_io import write_folder
from multiplane.recipes.command import path_argument
from multiplane.training.adversarial import Adversary, AdversaryConfig
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.latent_transparency import (
    LatentTransparency,
    Pictures,
    draw_transparent,
    identity_loss,
    reconstruction_loss,
    rgba_for_judge,
)
from multiplane.training.losses import psnr
from multiplane.training.run import RunConfig, TrainingRun, compile_parts, step_generator
from multiplane.training.sheets import opaque, write_sheet


@dataclass(frozen=True)
class EncoderConfig:
    """See `OffsetEncoder`; the defaults are the published size and the paper's multiplier."""

    block_channels: tuple[int, ...] = (32, 64, 128, 256)
    offset_scale: float = 100.0


@dataclass(frozen=True)
class DecoderConfig:
    """See `TransparencyDecoder`; the defaults are the published size."""

    block_channels: tuple[int, ...] = (32, 32, 64, 128, 256, 512, 512)
    layers_per_block: int = 2
    attention_levels: int = 3
    head_width: int = 8
    norm_groups: int = 4


@dataclass(frozen=True)
class LossWeights:
    """The paper's: 1 for reconstruction, 1 for identity, 0.01 for the discriminator."""

    reconstruction: float = 1.0
    identity: float = 1.0
    discriminator: float = 0.01


@dataclass(frozen=True)
class Config:
    """vae, vae_subfolder: see `load_frozen_vae`. batch: pictures a step. drop_offset: share of
    pictures whose latent stays without its offset, so that the decoder also reads latents whose
    offset is missing or wrong. translucent: share of pictures made see-through in parts, which few
    assets are."""

    run: RunConfig
    feed: FeedConfig
    vae: str
    vae_subfolder: str = ""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    batch: int = 8
    drop_offset: float = 0.3
    translucent: float = 0.25


def build(config: Config) -> LatentTransparency:
    """Fresh networks around the frozen VAE that the config names."""
    vae = load_frozen_vae(config.vae, config.vae_subfolder)
    channels = vae.config["latent_channels"]
    level = len(vae.config["block_out_channels"]) - 1
    encoder = OffsetEncoder(latent_channels=channels, **asdict(config.encoder))
    decoder = TransparencyDecoder(
        latent_channels=channels, latent_level=level, **asdict(config.decoder)
    )
    if encoder.factor != 2**level or config.feed.size % decoder.multiple:
        raise ValueError(
            f"encoder.block_channels must name {level + 1} widths for this VAE, got "
            f"{len(config.encoder.block_channels)}; feed.size must be a multiple of "
            f"{decoder.multiple}, got {config.feed.size}"
        )
    return LatentTransparency(encoder, decoder, vae)


def main(path: Path) -> None:
    """Train to `run.steps`; write the averaged weights to `run.out`/encoder and /decoder."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    model = build(config)
    for part in (model, model.vae):
        part.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    adversary = Adversary(config.adversary, 4)
    run = TrainingRun(config.run, model, model, to_table(config), adversary)
    nn.Module.to(model.vae, run.device)
    if config.run.compile:
        compile_parts(model.vae.encoder, model.vae.decoder, model.encoder, model.decoder)
    feed, _ = load_feed(config.feed, "train", None, run.device)
    heldout, _ = load_feed(config.feed, "heldout", None, run.device)
    order = model.encoder.config["channel_order"]

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(run.device.type, enabled=False):
            planes = draw_transparent(feed, config.batch, config.translucent, generator)
            pictures = Pictures.of(planes)
        keep = torch.rand(config.batch, generator=generator) >= config.drop_offset
        decoded = network(pictures.flat, pictures.feed(order), keep.to(run.device))
        recon = reconstruction_loss(decoded, pictures)
        identity = identity_loss(decoded, pictures)
        judged = adversary.judge(
            step,
            rgba_for_judge(pictures.colour, pictures.alpha),
            rgba_for_judge(decoded.colour, decoded.alpha),
        )
        w = config.weights
        loss = w.reconstruction * recon + w.identity * identity + w.discriminator * judged
        alpha_mae = (decoded.alpha.detach() - pictures.alpha).abs().mean()
        figures = {"recon": recon.item(), "identity": identity.item(), "judged": judged.item()}
        return loss, {**figures, "alpha_mae": alpha_mae.item()}

    def sample(step: int) -> dict[str, float]:
        planes = draw_transparent(heldout, 48, config.translucent, step_generator(1, 0, 0))
        pictures = Pictures.of(planes)
        with_offset, without = (
            model(pictures.flat, pictures.feed(order), torch.full((48,), keep, device=run.device))
            for keep in (True, False)
        )
        made = premultiply(
            torch.cat([with_offset.colour * 0.5 + 0.5, with_offset.alpha], dim=1).clamp(0, 1)
        )
        seen = [opaque(p * 0.5 + 0.5) for p in (with_offset.flat, without.flat)]
        for_sheet = [planes, made, seen[0], seen[1]]
        shown = [0, 4, 8, 12, 16, 20, 24, 28, 33, 36, 39, 42]
        write_sheet([row[shown] for row in for_sheet], config.run.out / f"sheet-{step:06d}.png")
        flat = pictures.flat * 0.5 + 0.5
        return {
            "heldout alpha mae": (made[:, 3:] - planes[:, 3:]).abs().mean().item(),
            "heldout psnr premultiplied": psnr(made, planes),
            "heldout decode, offset": psnr(seen[0][:, :3].clamp(0, 1), flat),
            "heldout decode, plain": psnr(seen[1][:, :3].clamp(0, 1), flat),
        }

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(model)
        write_folder(config.run.out / "encoder", model.encoder.save_pretrained)
        write_folder(config.run.out / "decoder", model.decoder.save_pretrained)


if __name__ == "__main__":
    main(path_argument(__doc__))
