"""Train a small RGB variational autoencoder, an ordinary diffusers `AutoencoderKL`.

    python -m multiplane.recipes.rgb_vae config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.rgb_vae config.toml

It stands where Stable Diffusion's stands: latent transparency and latent diffusion models are
trained on it, frozen. It sees flat pictures alone, also over mid grey, never an alpha channel.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.planes import from_model, to_model
from multiplane.models.weights_io import write_folder
from multiplane.recipes.command import path_argument
from multiplane.training.adversarial import Adversary, AdversaryConfig
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.flat_pictures import draw_flat
from multiplane.training.losses import gradient_error, psnr
from multiplane.training.lpips import LPIPS
from multiplane.training.run import RunConfig, TrainingRun, compile_parts, step_generator
from multiplane.training.scenes import SceneFeed
from multiplane.training.sheets import opaque, write_sheet


@dataclass(frozen=True)
class VAEConfig:
    """channels: width of each resolution from the picture inwards; every one after the first halves
    it. blocks: residual blocks a resolution. groups: of every normalisation."""

    channels: tuple[int, ...] = (32, 64, 128, 128)
    blocks: int = 1
    latent_channels: int = 4
    groups: int = 8


@dataclass(frozen=True)
class Config:
    """batch: pictures a step. gradient_weight: of `gradient_error`. kl_weight: of the divergence
    from a unit normal, a latent number, reached over kl_warmup steps; at once, it silences the
    latents before the decoder listens to them. lpips: the network of the perceptual distance, none
    by default, and its weight. adversary: a patch discriminator, none by default; its weight."""

    run: RunConfig
    feed: FeedConfig
    model: VAEConfig = field(default_factory=VAEConfig)
    batch: int = 32
    gradient_weight: float = 0.5
    kl_weight: float = 1e-5
    kl_warmup: int = 400
    lpips: Literal["alex", "vgg"] | None = None
    lpips_weight: float = 0.5
    adversary: AdversaryConfig | None = None
    adversary_weight: float = 0.05


def build(config: VAEConfig, size: int) -> AutoencoderKL:
    """Random weights. size: pixels a side it is trained on, for the record."""
    levels = len(config.channels)
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": config.channels,
        "layers_per_block": config.blocks,
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.groups,
        "sample_size": size,
    }
    vae = AutoencoderKL(**settings)
    # A quiet posterior at first, or the decoder learns to ignore it.
    with torch.no_grad():
        cast(nn.Conv2d, vae.quant_conv).bias[config.latent_channels :] = -6.0  # pyright: ignore
    return vae


class NoisyPass(nn.Module):
    """The autoencoder's training pass as one forward, which several processes can share."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, picture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """picture: (B, 3, H, W) in [-1, 1]; noise: (B, C, h, w) unit normal. -> (decoded sample of
        the posterior, float32; mean divergence from the unit normal of a latent number)."""
        posterior = self.vae.encode(picture, return_dict=False)[0]
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latent = mean + (0.5 * logvar).exp() * noise
        decoded = self.vae.decode(latent, return_dict=False)[0]  # pyright: ignore
        return decoded.float(), 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def latent_noise(vae: AutoencoderKL, count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, C, size/f, size/f) unit normal on CPU."""
    cells = size // 2 ** (len(vae.config["block_out_channels"]) - 1)
    return torch.randn(count, vae.config["latent_channels"], cells, cells, generator=generator)


@torch.no_grad()
def measure_scale(vae: AutoencoderKL, feed: SceneFeed, batches: int = 16) -> float:
    """1 / the deviation of sampled latents over all channels (latent diffusion, arXiv 2112.10752,
    appendix G)."""
    latents = []
    for index in range(batches):
        generator = step_generator(7, index, 0)
        picture = to_model(draw_flat(feed, 32, generator))
        posterior = vae.encode(picture, return_dict=False)[0]
        noise = latent_noise(vae, 32, feed.size, generator).to(feed.device)
        latents.append(posterior.mean + posterior.std * noise)
    return 1 / float(torch.cat(latents).std())


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/vae."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    vae = build(config.model, config.feed.size)
    if config.run.compile:
        compile_parts(vae.encoder, vae.decoder)
    adversary = Adversary(config.adversary, 3) if config.adversary else None
    run = TrainingRun(config.run, NoisyPass(vae), vae, to_table(config), adversary)
    lpips = LPIPS.from_package(config.lpips).to(run.device) if config.lpips else None
    feed, _ = load_feed(config.feed, "train", None, run.device)
    heldout, _ = load_feed(config.feed, "heldout", None, run.device)

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(run.device.type, enabled=False):
            pictures = draw_flat(feed, config.batch, generator)
        target = to_model(pictures)
        noise = latent_noise(vae, config.batch, config.feed.size, generator).to(run.device)
        decoded, kl = network(target, noise)
        absolute = (decoded - target).abs().mean()
        loss = absolute + config.gradient_weight * gradient_error(decoded, target)
        loss = loss + config.kl_weight * min(1.0, step / config.kl_warmup) * kl
        if lpips is not None:
            loss = loss + config.lpips_weight * lpips(decoded, target).mean()
        if adversary is not None:
            loss = loss + config.adversary_weight * adversary.judge(step, target, decoded)
        figures = {"psnr": psnr(from_model(decoded.detach()), pictures), "kl": kl.item()}
        return loss, figures

    def sample(step: int) -> dict[str, float]:
        pictures = draw_flat(heldout, 32, step_generator(1, 0, 0))
        latent = vae.encode(to_model(pictures), return_dict=False)[0].mode()
        decoded = from_model(vae.decode(latent, return_dict=False)[0].float())  # pyright: ignore
        shown = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30]
        rows = [opaque(part[shown[i : i + 8]]) for i in (0, 8) for part in (pictures, decoded)]
        write_sheet(rows, config.run.out / f"sheet-{step:06d}.png")
        return {"heldout_psnr": psnr(decoded, pictures)}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(run.bare)
        vae.register_to_config(scaling_factor=measure_scale(vae, feed))
        write_folder(config.run.out / "vae", vae.save_pretrained)


if __name__ == "__main__":
    main(path_argument(__doc__))
