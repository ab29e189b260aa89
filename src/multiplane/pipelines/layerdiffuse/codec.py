"""Planes into a diffusion model's latents and back, on one padded canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from multiplane.models.transparent_decode import DecodeOptions
from multiplane.models.transparent_vae import TransparentVAE, scale_latents
from multiplane.pipelines.layerdiffuse.grey import check_grey
from multiplane.pipelines.layerdiffuse.modes import TRANSPARENT, Mode
from multiplane.pipelines.layerdiffuse.output import MadePictures
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas

if TYPE_CHECKING:
    from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline


@dataclass(frozen=True)
class PlaneCodec:
    """canvas: the caller's, padded inside. Pictures pass one at a time, whatever the batch: memory
    stays that of one, and a picture does not depend on its neighbours."""

    pipeline: LayeredPipeline
    canvas: PaddedCanvas

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one plane."""
        factor = self.pipeline.vae_scale_factor
        width, height = self.canvas.inner
        return self.pipeline.vae.config.latent_channels, height // factor, width // factor

    def encode(self, name: str, rgba: Tensor, use_offset: bool = True) -> Tensor:
        """Pictures (N, 4, height, width) of a plane -> scaled latents (N, C, h, w) float32.

        A foreground's latents carry its alpha, unless use_offset is False: then its colours on grey
        are all there is. Raises ValueError when the network for that is not loaded."""
        padded = self.canvas.inward(rgba).to(self.pipeline._execution_device)
        with self.pipeline.precise_vae() as vae:
            if name not in TRANSPARENT or not use_offset:
                return encode_flat(vae, on_grey(padded))
            if vae.encoder is None:
                raise ValueError(
                    "starting from a foreground with alpha needs the transparency encoder: load it "
                    "with load_transparency(encoder=...), or pass use_offset=False to start from "
                    "its colours on grey alone"
                )
            return torch.cat([vae.encode(one[None]) for one in padded])

    def condition(self, rgb: Tensor) -> Tensor:
        """A given plane as `shown_to_model` makes it, (N, 3, height, width) -> scaled latents of
        the plain VAE (the posterior's mean), (N, C, h, w)."""
        padded = self.canvas.inward(rgb).to(self.pipeline._execution_device)
        with self.pipeline.precise_vae() as vae:
            return encode_flat(vae, padded)

    def latent_mask(self, keep: Tensor) -> Tensor:
        """(N, 1, height, width) -> (N, 1, h, w): a cell stays where all of its pixels do."""
        free = 1 - self.canvas.inward(keep)
        return (F.max_pool2d(free, self.pipeline.vae_scale_factor) < 0.5).float()

    def decode(
        self, mode: Mode, latents: Tensor, options: DecodeOptions | None, output: bool = True
    ) -> MadePictures:
        """Latents (N streams, C, h, w), the stream index fastest -> what was made, on the caller's
        canvas. output: False for the latents alone."""
        split = rearrange(latents, "(b f) c h w -> f b c h w", f=len(mode.streams))
        made = MadePictures(dict(zip(mode.streams, split.unbind(), strict=True)))
        if not output:
            return made
        with self.pipeline.precise_vae() as vae:
            for name, own in made.latents.items():
                pairs = [_decode_one(vae, name, one[None], options) for one in own]
                flat, rgba = (
                    self.canvas.outward(torch.cat(list(part))) for part in zip(*pairs, strict=True)
                )
                made.rgba[name] = rgba
                if name in TRANSPARENT:
                    made.flat[name] = flat
                    both = zip(rgba[:, 3:], flat, strict=True)
                    made.checks[name] = [check_grey(alpha, colour) for alpha, colour in both]
        return made


def _decode_one(
    vae: TransparentVAE, name: str, latents: Tensor, options: DecodeOptions | None
) -> tuple[Tensor, Tensor]:
    """(1, C, h, w) -> the plain decode (1, 3, H, W) and the plane (1, 4, H, W), float32 on CPU."""
    flat = vae.decode_picture(latents).clamp(0, 1)
    if name in TRANSPARENT:
        rgba = vae.decode(latents, flat, options)
    else:
        rgba = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)
    return flat.cpu(), rgba.cpu()


def on_grey(rgba: Tensor) -> Tensor:
    """(N, 4, H, W) straight -> (N, 3, H, W) over mid grey, which is 0 in [-1, 1]."""
    return 0.5 + (rgba[:, :3] - 0.5) * rgba[:, 3:]


def encode_flat(vae: TransparentVAE, rgb: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> scaled latents, the mean of the plain VAE's posterior."""
    means = [vae.posterior(one[None] * 2 - 1)[0] for one in rgb]
    return scale_latents(vae.vae, torch.cat(means))


def pasted(rgba: Tensor, source: Tensor, keep: Tensor) -> Tensor:
    """`source` laid over what was made, (N, 4, H, W) both: exactly its values where keep is 1,
    mixed by premultiplied colour where keep is in between. keep: (N, 1, H, W)."""
    alpha = torch.lerp(rgba[:, 3:], source[:, 3:], keep)
    premul = torch.lerp(rgba[:, :3] * rgba[:, 3:], source[:, :3] * source[:, 3:], keep)
    colour = torch.where(alpha > 0, premul / alpha.clamp_min(1e-8), rgba[:, :3])
    mixed = torch.cat([colour.clamp(0, 1), alpha], dim=1)
    return torch.where(keep >= 1.0, source, torch.where(keep <= 0.0, rgba, mixed))
