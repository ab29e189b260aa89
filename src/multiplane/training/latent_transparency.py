"""The training pass of latent transparency around a frozen VAE, and its losses.

LayerDiffuse (arXiv 2402.17113), section 3.1: an encoder hides alpha in an offset of the VAE's
latent, a decoder reads colour and alpha back, and the VAE's own decode must not notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.padding import pad_colour_batch
from multiplane.models.planes import premultiply
from multiplane.models.transparent_vae import TransparentVAE, scale_latents
from multiplane.training.flat_pictures import GREY, flatten
from multiplane.training.scenes import SceneFeed, uniform


def see_through(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Opacity of each premultiplied plane (B, 4, H, W) times a straight ramp in a direction of its
    own, between two opacities in 0.15..1."""
    count, size = len(planes), planes.shape[-1]
    axis = torch.linspace(-1, 1, size, device=planes.device)
    angle = uniform(count, 0, 6.2832, generator, planes.device)[:, None, None]
    ramp = (angle.cos() * axis[None, None] + angle.sin() * axis[None, :, None]) * 0.5 + 0.5
    low, high = (uniform(count, 0.15, 1, generator, planes.device)[:, None, None] for _ in range(2))
    return planes * (low + (high - low) * ramp.clamp(0, 1))[:, None]


def draw_transparent(
    feed: SceneFeed, count: int, translucent: float, generator: torch.Generator
) -> Tensor:
    """(count, 4, S, S) premultiplied in [0, 1]: two thirds fill the canvas, the rest stand in a
    scene with their contact shadow; a share `translucent` is made see-through in parts."""
    placed = count // 3
    planes = [feed.alone(count - placed, generator)[0]]
    if placed:
        planes.append(feed.scenes(placed, 0.0, generator).foreground)
    drawn = torch.cat(planes)
    chosen = uniform(count, 0, 1, generator, drawn.device) < translucent
    return torch.where(chosen[:, None, None, None], see_through(drawn, generator), drawn)


@dataclass(frozen=True)
class Pictures:
    """What the pass compares with. flat: (B, 3, H, W) in [-1, 1], the colour times alpha, so clear
    is mid grey. colour: (B, 3, H, W) in [-1, 1], padded. alpha: (B, 1, H, W) in [0, 1]."""

    flat: Tensor
    colour: Tensor
    alpha: Tensor

    @classmethod
    def of(cls, planes: Tensor) -> Pictures:
        """planes: (B, 4, H, W) premultiplied in [0, 1]."""
        flat = flatten(planes, GREY) * 2 - 1
        return cls(flat, pad_colour_batch(planes) * 2 - 1, planes[:, 3:])

    def feed(self, order: str) -> Tensor:
        """(B, 4, H, W) in [0, 1] for the offset encoder, "argb" or "rgba"."""
        parts = [self.alpha, self.colour * 0.5 + 0.5]
        return torch.cat(parts if order == "argb" else parts[::-1], dim=1)


@dataclass(frozen=True)
class Decoded:
    """adjusted: (B, C, h, w) the unscaled latent, with its offset or without where that was
    dropped. flat: (B, 3, H, W) in [-1, 1], what the VAE makes of it. colour, alpha: the decoder's,
    in the ranges of `Pictures`."""

    adjusted: Tensor
    flat: Tensor
    colour: Tensor
    alpha: Tensor


class LatentTransparency(nn.Module):
    """Offset encoder and transparency decoder around a VAE that is no part of it: not trained, not
    averaged, not saved."""

    def __init__(
        self, encoder: OffsetEncoder, decoder: TransparencyDecoder, vae: AutoencoderKL
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self._vae = (vae.requires_grad_(False).eval(),)  # a tuple, so that it is not registered

    @property
    def vae(self) -> AutoencoderKL:
        return self._vae[0]

    def adjusted(self, flat: Tensor, feed: Tensor, keep: Tensor) -> Tensor:
        """The unscaled latent x_a = E*(I) + scale x_std E(I_c, I_a), (B, C, h, w), with the mean of
        the VAE's posterior as E*(I).

        flat: (B, 3, H, W) in [-1, 1]. feed: (B, 4, H, W) in [0, 1], as the encoder's config orders
        it. keep: (B,) bool, where the offset is added."""
        with torch.no_grad():
            posterior = self.vae.encode(flat, return_dict=False)[0]
            mean, std = posterior.mean.float(), posterior.std.float()
        offset = self.encoder(feed).float() * self.encoder.config["offset_scale"]
        return mean + keep[:, None, None, None] * std * offset

    @torch.no_grad()
    def encode(self, planes: Tensor) -> Tensor:
        """(B, 4, H, W) premultiplied in [0, 1] -> the scaled latents (B, C, h, w) that a diffusion
        model learns, every offset added."""
        pictures = Pictures.of(planes)
        feed = pictures.feed(self.encoder.config["channel_order"])
        keep = torch.ones(len(planes), dtype=torch.bool, device=planes.device)
        return scale_latents(self.vae, self.adjusted(pictures.flat, feed, keep))

    @classmethod
    def trained(cls, run: Path, vae: AutoencoderKL) -> LatentTransparency:
        """The networks in the folder of a run of multiplane.recipes.latent_transparency, frozen."""
        encoder = OffsetEncoder.from_pretrained(run / "encoder")
        decoder = TransparencyDecoder.from_pretrained(run / "decoder")
        return cls(encoder, decoder, vae).eval().requires_grad_(False)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled latents -> (B, 4, H, W) premultiplied in [0, 1], by the eight-fold decode; and the
        (B, 3, H, W) in [0, 1] that the VAE alone makes of them."""
        whole = TransparentVAE(self.vae, self.encoder, self.decoder)
        flat = whole.decode_picture(latents).clamp(0, 1)
        return premultiply(whole.decode(latents, flat)), flat

    def forward(self, flat: Tensor, feed: Tensor, keep: Tensor) -> Decoded:
        """Adjusted as above, then decoded by both. keep: (B,) bool, False where the offset is
        dropped."""
        adjusted = self.adjusted(flat, feed, keep)
        seen = self.vae.decode(adjusted, return_dict=False)[0].float()  # pyright: ignore
        argb = self.decoder((seen * 0.5 + 0.5).clamp(0, 1), adjusted).float()
        return Decoded(adjusted, seen, argb[:, 1:] * 2 - 1, argb[:, :1])


def picture_distance(made: Tensor, truth: Tensor) -> Tensor:
    """The mean over pictures of ||made - truth||_2 / sqrt(n), n numbers a picture: the paper's norm
    with the size of the picture taken out, so the weights of the losses mean the same at any size.

    made, truth: (B, C, H, W). Returns a scalar."""
    return ((made - truth).square().mean(dim=(1, 2, 3)) + 1e-8).sqrt().mean()


def reconstruction_loss(decoded: Decoded, pictures: Pictures) -> Tensor:
    """||I_c - I_c'||_2 + ||I_a - I_a'||_2, colour padded on both sides."""
    colour = picture_distance(decoded.colour, pictures.colour)
    return colour + picture_distance(decoded.alpha, pictures.alpha)


def identity_loss(decoded: Decoded, pictures: Pictures) -> Tensor:
    """||I - D*(x_a)||_2: the offset must not harm what the VAE decodes."""
    return picture_distance(decoded.flat, pictures.flat)


def rgba_for_judge(colour: Tensor, alpha: Tensor) -> Tensor:
    """(B, 4, H, W) in [-1, 1] for the discriminator."""
    return torch.cat([colour, alpha * 2 - 1], dim=1)
