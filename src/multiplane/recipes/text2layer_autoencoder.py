"""Train Text2Layer's CaT2I autoencoder on composed scenes (arXiv 2307.09781, section IV).

    python -m multiplane.recipes.text2layer_autoencoder config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.text2layer_autoencoder config.toml

L = sum over F, B and I of (L1 + LPIPS + adversarial) + lambda (L1 + 2 composition + 3 Laplacian of
the mask), lambda = 1. Without the image head ("no-sup") the sum is over F and B.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.cat2i_autoencoder import CaT2IAutoencoder, CaT2IConfig, TwoLayers
from multiplane.models.weights_io import save_network
from multiplane.recipes.command import path_argument
from multiplane.training.adversarial import Adversary, AdversaryConfig
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.lpips import LPIPS
from multiplane.training.matting_losses import mask_loss
from multiplane.training.run import RunConfig, TrainingRun, compile_parts, step_generator
from multiplane.training.scenes import SceneFeed
from multiplane.training.sheets import write_sheet
from multiplane.training.two_layers import SHOWN_FROM, draw_two_layers, layer_figures


@dataclass(frozen=True)
class Config:
    """batch: scenes a step. lpips: the network of the perceptual distance and lpips_weight its
    weight. mask_weight: the paper's lambda. kl_weight: of the divergence from a standard normal, a
    latent number. adversary: the patch discriminator, one for all pictures; None leaves it out.
    Weights of the paper are 1; those it does not print follow latent diffusion, adapted to means
    over pixels."""

    run: RunConfig
    feed: FeedConfig
    model: CaT2IConfig = field(default_factory=CaT2IConfig)
    batch: int = 16
    lpips: Literal["vgg", "alex"] = "vgg"
    lpips_weight: float = 1.0
    mask_weight: float = 1.0
    shown_weight: float = 0.0
    kl_weight: float = 1e-3
    adversary: AdversaryConfig | None = field(default_factory=AdversaryConfig)
    adversary_weight: float = 0.05


def pictures(layers: TwoLayers) -> list[Tensor]:
    """F, B and, where there is one, I: (B, 3, H, W) each."""
    found = [layers.foreground, layers.background, layers.image]
    return [picture for picture in found if picture is not None]


def latent_noise(config: CaT2IConfig, count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, C, size/factor, size/factor) standard normal on CPU."""
    cells = size // config.factor
    return torch.randn(count, config.latent_channels, cells, cells, generator=generator)


@torch.no_grad()
def settle(model: CaT2IAutoencoder, feed: SceneFeed, batches: int, count: int) -> None:
    """With the weights as they stand, measure anew what training measured on the way: the batch
    norms' statistics, then the mean and deviation of each latent channel. Leaves the model in
    evaluation mode."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches
    model.train()
    raw = []
    for index in range(batches):
        generator = step_generator(7, index, 0)
        layers = draw_two_layers(feed, None, count, generator).layers
        posterior = model.posterior(layers)
        model.planes_of(posterior.mode())
        raw.append(posterior.mode())
    latents = torch.cat(raw)
    model.latent_mean.copy_(latents.mean(dim=(0, 2, 3)))
    model.latent_std.copy_(latents.std(dim=(0, 2, 3)))
    model.eval()


def train(config: Config) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/autoencoder."""
    torch.manual_seed(config.run.seed)  # the initial weights
    model = CaT2IAutoencoder(config.model)
    if config.run.compile:
        compile_parts(*model.compiled_parts())
    adversary = Adversary(config.adversary, channels=3) if config.adversary else None
    run = TrainingRun(config.run, model, model, to_table(config), adversary)
    feed, _ = load_feed(config.feed, "train", None, run.device)
    heldout, _ = load_feed(config.feed, "heldout", None, run.device)
    lpips = LPIPS.from_package(config.lpips).to(run.device)

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(run.device.type, enabled=False):
            true = draw_two_layers(feed, None, config.batch, generator).layers
        noise = latent_noise(config.model, config.batch, config.feed.size, generator)
        made, divergence = network(
            true.foreground, true.background, true.mask, noise.to(run.device)
        )
        fakes = torch.cat(pictures(made))
        reals = torch.cat(pictures(true)[: len(fakes) // config.batch])
        count = len(fakes) // config.batch
        absolute = count * (fakes - reals).abs().mean()
        perceptual = count * lpips(fakes, reals).mean()
        mask = mask_loss(made.mask, true.mask, true.foreground, true.background)
        kl = divergence.mean() / noise[0].numel()
        loss = absolute + config.lpips_weight * perceptual + config.mask_weight * mask
        loss = loss + config.kl_weight * kl
        if config.shown_weight:
            held = (true.mask > SHOWN_FROM).expand_as(true.foreground)
            shown = (made.foreground - true.foreground).abs()[held].mean()
            loss = loss + config.shown_weight * shown
        if adversary is not None:
            opinion = adversary.judge(step, reals, fakes)
            loss = loss + count * config.adversary_weight * opinion
        return loss, {
            "absolute": absolute.item() / count,
            "lpips": perceptual.item() / count,
            "mask": mask.item(),
            "kl": kl.item(),
        }

    def sample(step: int) -> dict[str, float]:
        true = draw_two_layers(heldout, None, 32, step_generator(1, 0, 0)).layers
        made = model.decode(model.encode(true))
        rows = [row[:8] for layers in (true, made) for row in layers.planes().values()]
        write_sheet(rows, config.run.out / f"sheet-{step:06d}.png")
        return {f"heldout {name}": value for name, value in layer_figures(made, true).items()}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(model)
        settle(model, feed, 24, 32)
        save_network(model, config.run.out / "autoencoder", to_table(config.model))


def main(path: Path) -> None:
    """`train` with the configuration in `path`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
