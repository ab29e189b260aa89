"""Train the RGBA autoencoder of `tiny`.

    python -m multiplane.recipes.tiny_autoencoder config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.tiny_autoencoder config.toml

Every step sees objects alone, objects in place, backgrounds, composites, silhouettes and edge
sketches: everything the denoiser will ever be given as a plane.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.planes import from_model, to_model
from multiplane.models.rgba_autoencoder import RGBAAutoencoder, RGBAAutoencoderConfig
from multiplane.models.text_encoder import TextEncoder
from multiplane.models.weights_io import load_wanted, save_network
from multiplane.recipes.command import path_argument
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.losses import as_clipped, expected_composite_error, gradient_error, psnr
from multiplane.training.run import RunConfig, TrainingRun, compile_parts, step_generator
from multiplane.training.scenes import SceneFeed, edges, silhouette
from multiplane.training.sheets import write_sheet


@dataclass(frozen=True)
class Config:
    """text_encoder: folder that multiplane.recipes.text_encoder wrote. start: folder of an
    autoencoder whose decoder goes on learning; its encoder stays what it is, and with it every
    latent that was ever trained on. None trains both from random weights. batch: pictures a step.
    latent_noise: noise on the raw latent while training, which makes latents near each other decode
    alike. latent_penalty: weight of the raw latent's mean square. gradient_weight: of
    `gradient_error`. alpha_weight: of the absolute error of alpha, on top of its share in all."""

    run: RunConfig
    feed: FeedConfig
    text_encoder: Path
    start: Path | None = None
    model: RGBAAutoencoderConfig = field(default_factory=RGBAAutoencoderConfig)
    batch: int = 32
    latent_noise: float = 0.15
    latent_penalty: float = 1e-3
    gradient_weight: float = 0.5
    alpha_weight: float = 0.0


def draw_planes(feed: SceneFeed, count: int, generator: torch.Generator) -> Tensor:
    """(count, 4, S, S) premultiplied in [0, 1]: 3/8 alone, the rest from scenes."""
    alone = feed.alone(count * 3 // 8, generator)[0]
    rest = count - len(alone)
    scenes = feed.scenes((rest + 2) // 3 + 1, 0.5, generator)
    controls = torch.cat([silhouette(scenes.foreground[:1]), edges(scenes.foreground[1:2])])
    planes = torch.cat([scenes.foreground, scenes.composite, scenes.background])[: rest - 2]
    return torch.cat([alone, planes, controls])


@torch.no_grad()
def measure_latents(model: RGBAAutoencoder, feed: SceneFeed, batches: int) -> None:
    """Store the mean and deviation of each latent channel in the model."""
    raw = []
    for index in range(batches):
        planes = draw_planes(feed, 32, step_generator(7, index, 0))
        raw.append(model.encoder(to_model(planes)).float())
    latents = torch.cat(raw)
    model.latent_mean.copy_(latents.mean(dim=(0, 2, 3)))
    model.latent_std.copy_(latents.std(dim=(0, 2, 3)))


def begun(config: Config) -> RGBAAutoencoder:
    """The autoencoder as training finds it. Raises ValueError where `start` is of another size."""
    if config.start is None:
        return RGBAAutoencoder(config.model)
    model = load_wanted(RGBAAutoencoder, config.model, config.start)
    model.encoder.requires_grad_(False)
    return model


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/autoencoder."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(config.run.seed)  # the initial weights
    model = begun(config)
    if config.run.compile:
        compile_parts(model.encoder, model.decoder)
    run = TrainingRun(config.run, model, nn.Identity(), to_table(config))
    encoder = TextEncoder.from_pretrained(config.text_encoder).to(run.device)
    feed, _ = load_feed(config.feed, "train", encoder, run.device)
    heldout, _ = load_feed(config.feed, "heldout", encoder, run.device)

    def loss_of_step(
        network: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(run.device.type, enabled=False):
            planes = draw_planes(feed, config.batch, generator)
        picture = to_model(planes).contiguous(memory_format=torch.channels_last)
        cells = picture.shape[-1] // config.model.factor
        shape = (len(planes), config.model.latent_channels, cells, cells)
        noise = torch.randn(shape, generator=generator).to(run.device)
        raw, decoded = network(picture, noise, config.latent_noise)
        predicted = as_clipped(decoded.float() * 0.5 + 0.5, planes)
        composite = expected_composite_error(predicted, planes)
        errors = (predicted - planes).abs()
        absolute = errors.mean() + config.alpha_weight * errors[:, 3].mean()
        gradient = gradient_error(predicted, planes)
        penalty = raw.float().square().mean()
        loss = absolute + 4 * composite + config.gradient_weight * gradient
        return loss + config.latent_penalty * penalty, {
            "psnr": psnr(predicted.detach(), planes),
            "latent_square": penalty.item(),
        }

    def sample(step: int) -> dict[str, float]:
        planes = draw_planes(heldout, 32, step_generator(1, 0, 0))
        decoded = from_model(model.decoder(model.encoder(to_model(planes))).float())
        rows = [planes[i : i + 8] for i in (0, 16)] + [decoded[i : i + 8] for i in (0, 16)]
        write_sheet([rows[0], rows[2], rows[1], rows[3]], config.run.out / f"sheet-{step:06d}.png")
        return {"heldout_psnr": psnr(decoded, planes)}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(model)
        if config.start is None:
            measure_latents(model, feed, 16)
        save_network(model, config.run.out / "autoencoder", to_table(config.model))


if __name__ == "__main__":
    main(path_argument(__doc__))
