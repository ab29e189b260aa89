"""A small convolutional autoencoder for RGBA planes.

Planes go in and out premultiplied and scaled to [-1, 1], so a clear pixel is -1 in all four
channels and a model never has to invent colour under alpha 0. One latent cell covers
`config.factor` pixels a side; a picture twice as large needs one more stage, not more tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RGBAAutoencoderConfig:
    """encoder_channels, decoder_channels: width of each stage from the picture inwards. blocks:
    residual blocks a stage. size: pixels a side of the pictures it was trained on, for the record:
    the networks take any multiple of `factor`.

    The outermost `patch` pixels are folded into channels first; every stage after the first halves
    the picture, so factor = patch * 2 ** (stages - 1).
    """

    size: int = 128
    patch: int = 4
    encoder_channels: tuple[int, ...] = (64, 128, 192)
    decoder_channels: tuple[int, ...] = (80, 128, 192)
    blocks: int = 2
    latent_channels: int = 32

    def __post_init__(self) -> None:
        if not self.encoder_channels or len(self.encoder_channels) != len(self.decoder_channels):
            raise ValueError(
                f"encoder_channels {self.encoder_channels} and decoder_channels "
                f"{self.decoder_channels} must have as many stages as each other, at least one"
            )

    @property
    def factor(self) -> int:
        """Pixels a side of one latent cell."""
        return self.patch * 2 ** (len(self.encoder_channels) - 1)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions without normalisation; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class RGBAAutoencoder(nn.Module):
    """picture (B, 4, S, S) <-> latent (B, C, S/factor, S/factor). `encoder` and `decoder` speak raw
    latents, `encode` and `decode` normalised ones.

    `latent_mean` and `latent_std` hold the training latents' statistics a channel, so that `encode`
    returns and `decode` takes latents of about zero mean and unit variance.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: RGBAAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = self._encoder(config)
        self.decoder = self._decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    @staticmethod
    def _encoder(config: RGBAAutoencoderConfig) -> nn.Sequential:
        widths = config.encoder_channels
        parts: list[nn.Module] = [
            nn.PixelUnshuffle(config.patch),
            nn.Conv2d(4 * config.patch**2, widths[0], 3, padding=1),
        ]
        for index, width in enumerate(widths):
            if index:
                parts.append(nn.Conv2d(widths[index - 1], width, 2, stride=2))
            parts += [ResidualBlock(width) for _ in range(config.blocks)]
        parts.append(nn.Conv2d(widths[-1], config.latent_channels, 1))
        return nn.Sequential(*parts)

    @staticmethod
    def _decoder(config: RGBAAutoencoderConfig) -> nn.Sequential:
        widths = config.decoder_channels
        parts: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 1)]
        for index in reversed(range(len(widths))):
            parts += [ResidualBlock(widths[index]) for _ in range(config.blocks)]
            if index:
                parts.append(nn.ConvTranspose2d(widths[index], widths[index - 1], 2, stride=2))
        parts += [
            nn.SiLU(),
            nn.Conv2d(widths[0], 4 * config.patch**2, 3, padding=1),
            nn.PixelShuffle(config.patch),
        ]
        return nn.Sequential(*parts)

    def forward(self, picture: Tensor, noise: Tensor, amount: float) -> tuple[Tensor, Tensor]:
        """The training pass: (raw latent, picture decoded from the raw latent + amount * noise).

        picture: (B, 4, S, S) premultiplied in [-1, 1]. noise: (B, C, h, w)."""
        raw = self.encoder(picture)
        return raw, self.decoder(raw + amount * noise.to(raw.dtype))

    def encode(self, picture: Tensor) -> Tensor:
        """(B, 4, S, S) premultiplied in [-1, 1] -> normalised latent (B, C, h, w)."""
        raw = self.encoder(picture)
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, latent: Tensor) -> Tensor:
        """Normalised latent (B, C, h, w) -> (B, 4, S, S) premultiplied, about [-1, 1]."""
        raw = latent * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return self.decoder(raw)
