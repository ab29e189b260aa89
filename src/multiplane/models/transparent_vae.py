"""A frozen VAE whose latents carry transparency: LayerDiffuse's encode and decode paths.

Which function here is which step of the published code:

- padding of colour under clear pixels: `multiplane.core.padding.pad_colour`
- what the VAE and the offset encoder are fed: `TransparentVAE.feeds`
- the whole encode path: `TransparentVAE.encode`
- one network pass: `multiplane.models.latent_transparency.TransparencyDecoder`
- the eight-fold pass with the median: `multiplane.models.transparent_decode.decode_transparent`
- the whole decode path: `TransparentVAE.decode`
- the preview on a checkerboard, 8-bit values: `on_checkerboard`, `to_u8_nhwc`

Latents outside this module are the scaled ones a diffusion model works on; inside, both the VAE's
decoder and the transparency decoder take them unscaled. `scale_latents` and `unscale_latents` are
the only places where one becomes the other.

Three releases of the offset encoder have the same tensors and want different treatment:

| release | channel_order | offset_scale | vae_feed |
|---|---|---|---|
| LayerDiffuse_Diffusers: `ld_diffusers_sdxl_vae_transparent_encoder` | argb | 300 | premultiplied |
| layerdiffusion-v1: `vae_transparent_encoder`, `layer_sd15_vae_...` | argb | 1 | grey |
| Flux port: the encoder in `TransparentVAE` | rgba | 300 | premultiplied |

The paper multiplies by 100, and so do encoders trained here. `CONVENTIONS` has these by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from multiplane.core.padding import pad_colour
from multiplane.core.pixels import checkerboard
from multiplane.models.latent_transparency import (
    ChannelOrder,
    OffsetEncoder,
    TransparencyDecoder,
    VaeFeed,
)
from multiplane.models.transparent_decode import DecodeOptions, decode_transparent

GREY = 127 / 255  # the flatten colour of the web interfaces, as they write it


@dataclass(frozen=True)
class OffsetConvention:
    """How a release's offset encoder wants to be used; the table above. Unpack it into the config:
    `OffsetEncoder(**dataclasses.asdict(CONVENTIONS["webui"]))`."""

    channel_order: ChannelOrder = "argb"
    offset_scale: float = 300.0
    vae_feed: VaeFeed = "premultiplied"


CONVENTIONS = {
    "diffusers": OffsetConvention(),
    "webui": OffsetConvention(offset_scale=1.0, vae_feed="grey"),
    "flux": OffsetConvention(channel_order="rgba"),
    "paper": OffsetConvention(offset_scale=100.0),
}


def _statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """(shift, spread) of the unscaled latents: a channel where the VAE's config has them so."""
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is not None and std is not None:
        shift, spread = (torch.tensor(v).view(1, -1, 1, 1).to(like) for v in (mean, std))
        return shift, spread
    return vae.config.get("shift_factor") or 0.0, 1.0


def scale_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """(B, C, h, w) as the VAE encodes -> as a diffusion model sees them."""
    shift, spread = _statistics(vae, latents)
    return (latents - shift) * vae.config["scaling_factor"] / spread


def unscale_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """(B, C, h, w) as a diffusion model sees them -> as the VAE decodes them."""
    shift, spread = _statistics(vae, latents)
    return latents * spread / vae.config["scaling_factor"] + shift


def padded_picture(rgba: Tensor) -> Tensor:
    """(B, 4, H, W) straight 0..1 -> the same with colour padded, float32 on the same device.

    Runs on the CPU, a picture at a time."""
    pictures = rgba.detach().float().permute(0, 2, 3, 1).cpu().numpy()
    padded = np.stack([pad_colour(np.ascontiguousarray(picture)) for picture in pictures])
    colour = torch.from_numpy(padded).permute(0, 3, 1, 2).to(rgba.device)
    return torch.cat([colour, rgba[:, 3:].float()], dim=1)


class TransparentVAE(nn.Module):
    """Pictures with alpha <-> scaled latents of an ordinary VAE.

    vae: any diffusers AutoencoderKL, 4 or 16 latent channels, never changed. encoder, decoder: what
    was trained for it; either may be None where only the other way is needed. The encoder's config
    says how it is used. Raises ValueError for parts that do not fit each other.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        encoder: OffsetEncoder | None = None,
        decoder: TransparencyDecoder | None = None,
    ) -> None:
        super().__init__()
        channels = vae.config["latent_channels"]
        factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if part is None:
                continue
            found = part.config["latent_channels"]
            if (found, part.factor) != (channels, factor):
                raise ValueError(
                    f"the transparency {name} is made for {found} latent channels at 1/"
                    f"{part.factor} of the size, the VAE has {channels} at 1/{factor}: load the "
                    "one that was trained for this VAE"
                )
        self.vae, self.encoder, self.decoder, self.factor = vae, encoder, decoder, factor

    def feeds(self, rgba: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4, H, W) straight 0..1 -> (B, 3, H, W) in [-1, 1] for the VAE, (B, 4, H, W) in 0..1
        for the offset encoder.

        The VAE gets the colour as it is, not padded, times alpha in [-1, 1]: clear is mid grey."""
        encoder = self._need_encoder()
        color, alpha = rgba[:, :3].float(), rgba[:, 3:].float()
        flat = (color * 2 - 1) * alpha
        if encoder.config["vae_feed"] == "grey":
            flat = flat + (2 * GREY - 1) * (1 - alpha)
        padded = padded_picture(rgba)
        if encoder.config["channel_order"] == "argb":
            padded = torch.cat([padded[:, 3:], padded[:, :3]], dim=1)
        return flat, padded

    def posterior(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] -> mean and standard deviation of the VAE's unscaled latent,
        (B, C, H/f, W/f) each, float32."""
        found = self.vae.encode(flat.to(self.vae.dtype)).latent_dist  # pyright: ignore
        return found.mean.float(), found.std.float()

    def offset(self, feed: Tensor) -> Tensor:
        """(B, 4, H, W), what `feeds` returns second -> the offset in standard deviations, times the
        encoder's offset_scale, (B, C, H/f, W/f) float32."""
        encoder = self._need_encoder()
        return encoder(feed.to(encoder.dtype)).float() * encoder.config["offset_scale"]

    def encode(
        self, rgba: Tensor, *, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B, 4, H, W) straight 0..1 -> scaled latents (B, C, H/f, W/f), float32.

        sample: instead of adding the offset, draw from the VAE's posterior with `generator`; this
        is what the published code does with its offset turned off, and alpha is not in it.
        Raises ValueError for sizes that are no multiple of the VAE's factor."""
        height, width = rgba.shape[-2:]
        if rgba.shape[1] != 4 or height % self.factor or width % self.factor:
            raise ValueError(
                f"encode takes (B, 4, H, W) with sides in multiples of {self.factor}, got "
                f"{tuple(rgba.shape)}: pad the picture first"
            )
        flat, feed = self.feeds(rgba)
        mean, std = self.posterior(flat)
        if sample:
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
            return scale_latents(self.vae, mean + std * noise.to(mean.device))
        return scale_latents(self.vae, mean + std * self.offset(feed))

    def decode_picture(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> what the VAE alone decodes, (B, 3, H, W) float32 about
        0..1, not clipped."""
        unscaled = unscale_latents(self.vae, latents)
        decoded = self.vae.decode(unscaled.to(self.vae.dtype), return_dict=False)  # pyright: ignore
        return decoded[0].float() * 0.5 + 0.5

    def decode(
        self,
        latents: Tensor,
        picture: Tensor | None = None,
        options: DecodeOptions | None = None,
        *,
        zero_latent: bool = False,
    ) -> Tensor:
        """Scaled latents (B, C, h, w) -> (B, 4, H, W) straight R, G, B, A in 0..1, float32.

        picture: (B, 3, H, W) in 0..1 to read instead of the VAE's own decode, such as one that was
        refined or enlarged. zero_latent: decode from the picture alone, with zeros for the latent,
        as the web interface does when their sizes differ; nothing does it unasked. options: passes,
        precision, tiles. Raises ValueError for sizes that do not fit.
        """
        if self.decoder is None:
            raise ValueError("this TransparentVAE has no decoder: pass one when it is made")
        if picture is None:
            picture = self.decode_picture(latents)
        picture = picture.float().clamp(0, 1)
        if zero_latent:
            size = [side // self.factor for side in picture.shape[-2:]]
            unscaled = latents.new_zeros(picture.shape[0], latents.shape[1], *size)
        else:
            unscaled = unscale_latents(self.vae, latents)
        argb = decode_transparent(self.decoder, picture, unscaled.float(), options)
        return torch.cat([argb[:, 1:], argb[:, :1]], dim=1)

    def _need_encoder(self) -> OffsetEncoder:
        if self.encoder is None:
            raise ValueError("this TransparentVAE has no encoder: pass one when it is made")
        return self.encoder


def on_checkerboard(rgba: Tensor, cell: int = 64) -> Tensor:
    """(B, 4, H, W) straight 0..1 -> (B, 3, H, W) in 0..1 over faint grey squares of 0.45 and 0.55,
    the published preview."""
    height, width = rgba.shape[-2:]
    board = checkerboard((width, height), cell, light=0.45, dark=0.55)[..., :3]
    grey = torch.from_numpy(np.ascontiguousarray(board)).permute(2, 0, 1).to(rgba)
    color, alpha = rgba[:, :3], rgba[:, 3:]
    return color * alpha + grey * (1 - alpha)


def to_u8_nhwc(
    picture: Tensor, rounding: Literal["nearest", "truncate"] = "nearest"
) -> NDArray[np.uint8]:
    """(B, C, H, W) in 0..1 -> (B, H, W, C) uint8.

    "nearest" is what our files get: half a level of error at most, no bias. "truncate" is what the
    published code writes, a level too dark as often as not, and is there to compare with it."""
    values = picture.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * np.float32(
        255
    )
    if rounding == "nearest":
        values = values + np.float32(0.5)
    return values.astype(np.uint8)
