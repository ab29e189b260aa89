"""CaT2I-AE: the composition-aware two-layer autoencoder of Text2Layer (Zhang et al., arXiv
2307.09781, section IV-B).

One latent holds a foreground, a background and the mask between them. Encoder and decoder trunk are
Stable Diffusion's (diffusers' parts); the encoder's first convolution reads seven channels, the
decoder's last convolution gives way to one head a plane, each conv - batch norm - ReLU - conv.

What the paper leaves open, and what is chosen here: 3 x 3 kernels and as many channels in a head
as the trunk hands it; F, B and I leave their heads as they are, the mask through a sigmoid; the
mask enters scaled to [-1, 1] like the colours; the KL term of latent diffusion is kept (its weight
is the recipe's); the auxiliary image head has the form of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from diffusers.models.autoencoders.vae import Decoder, DiagonalGaussianDistribution, Encoder
from torch import Tensor, nn

from multiplane.models.planes import from_model

QUIET_LOGVAR = -6.0


@dataclass(frozen=True)
class CaT2IConfig:
    """channels: width of each stage from the picture inwards; every stage but the last halves the
    picture. layers: residual blocks a stage in the encoder, one more in the decoder. groups: of the
    group norms. image_head: the auxiliary head for the composed image; False is the paper's
    "no-sup". size: pixels a side of the pictures it was trained on, for the record.

    The defaults are Stable Diffusion's."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    latent_channels: int = 4
    groups: int = 32
    image_head: bool = True
    size: int = 256

    def __post_init__(self) -> None:
        if not self.channels or any(width % self.groups for width in self.channels):
            raise ValueError(
                f"channels must name at least one stage, each a multiple of groups {self.groups}, "
                f"got {self.channels}"
            )

    @property
    def factor(self) -> int:
        """Pixels a side of one latent cell."""
        return 2 ** (len(self.channels) - 1)


class TwoLayers(NamedTuple):
    """foreground, background: (B, 3, H, W), about [-1, 1]. mask: (B, 1, H, W) in [0, 1]. image:
    the auxiliary head's (B, 3, H, W), or None where there is no such head."""

    foreground: Tensor
    background: Tensor
    mask: Tensor
    image: Tensor | None = None

    def composite(self) -> Tensor:
        """C = m F + (1 - m) B (equation 1): (B, 3, H, W)."""
        return self.mask * self.foreground + (1 - self.mask) * self.background

    def planes(self) -> dict[str, Tensor]:
        """foreground, background, composite as (B, 4, H, W) premultiplied in [0, 1]; the composite
        is that of the clipped planes, so they add up."""
        opaque = torch.ones_like(self.mask)
        front = from_model(self.foreground) * self.mask
        back = from_model(self.background)
        return {
            "foreground": torch.cat([front, self.mask], dim=1),
            "background": torch.cat([back, opaque], dim=1),
            "composite": torch.cat([front + (1 - self.mask) * back, opaque], dim=1),
        }


def head(width: int, channels: int) -> nn.Sequential:
    """(B, width, H, W) -> (B, channels, H, W): the two-layer network of one plane."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels, 3, padding=1),
    )


class CaT2IAutoencoder(nn.Module):
    """(F, B, m) <-> latent (B, C, H/factor, W/factor).

    `latent_mean` and `latent_std` hold the training latents' statistics a channel, so that `encode`
    returns and `decode` takes latents of about zero mean and unit variance; Stable Diffusion's one
    scaling factor, a channel."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: CaT2IConfig) -> None:
        super().__init__()
        self.config = config
        stages = len(config.channels)
        latent = config.latent_channels
        self.encoder = Encoder(
            in_channels=7,
            out_channels=latent,
            down_block_types=("DownEncoderBlock2D",) * stages,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=config.groups,
        )
        self.decoder = Decoder(
            in_channels=latent,
            up_block_types=("UpDecoderBlock2D",) * stages,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=config.groups,
        )
        self.decoder.conv_out = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.moments = nn.Conv2d(2 * latent, 2 * latent, 1)
        # A quiet posterior at first, or the decoder learns to ignore it.
        nn.init.constant_(cast(Tensor, self.moments.bias)[latent:], QUIET_LOGVAR)
        self.from_latent = nn.Conv2d(latent, latent, 1)
        width = config.channels[0]
        planes = {"foreground": 3, "background": 3, "mask": 1}
        if config.image_head:
            planes["image"] = 3
        self.heads = nn.ModuleDict({name: head(width, count) for name, count in planes.items()})
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))

    def posterior(self, layers: TwoLayers) -> DiagonalGaussianDistribution:
        """The raw latent's distribution. layers: F and B in [-1, 1]; their image is not read.
        Raises ValueError where the sides are no multiple of the factor."""
        height, width = layers.mask.shape[-2:]
        if height % self.config.factor or width % self.config.factor:
            raise ValueError(
                f"the sides must be multiples of {self.config.factor}, got {width} x {height}: pad "
                "or resize the planes"
            )
        joined = torch.cat([layers.foreground, layers.background, layers.mask * 2 - 1], dim=1)
        return DiagonalGaussianDistribution(self.moments(self.encoder(joined)).float())

    def planes_of(self, raw: Tensor) -> TwoLayers:
        """Raw latent (B, C, h, w) -> its planes."""
        features = self.decoder(self.from_latent(raw))
        made = {name: head(features).float() for name, head in self.heads.items()}
        return TwoLayers(
            made["foreground"], made["background"], made["mask"].sigmoid(), made.get("image")
        )

    def forward(
        self, foreground: Tensor, background: Tensor, mask: Tensor, noise: Tensor
    ) -> tuple[TwoLayers, Tensor]:
        """The training pass: planes decoded from a draw of the posterior, and the posterior's KL
        divergence from a standard normal, (B,), in nats a picture. noise: (B, C, h, w) standard
        normal."""
        posterior = self.posterior(TwoLayers(foreground, background, mask))
        raw = posterior.mean + posterior.std * noise
        return self.planes_of(raw), posterior.kl()

    def encode(self, layers: TwoLayers) -> Tensor:
        """The normalised mode of the latent (B, C, h, w)."""
        raw = self.posterior(layers).mode()
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def decode(self, latent: Tensor) -> TwoLayers:
        """Normalised latent (B, C, h, w) -> its planes."""
        return self.planes_of(
            latent * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        )

    def compiled_parts(self) -> Sequence[nn.Module]:
        """What is worth compiling in training."""
        return self.encoder, self.decoder, *self.heads.values()
