from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_vae import (
    TransparentVAE,
    unscale_latents,
)
from parity_rule import case, fill


def small_vae(latent_channels: int = 4, **options: object) -> AutoencoderKL:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        **options,
    )
    return vae.eval().requires_grad_(False)


def small_decoder(**options: object) -> TransparencyDecoder:
    network = TransparencyDecoder(
        block_channels=(8, 8, 16, 16, 32), layers_per_block=1, attention_levels=1, **options
    )
    fill(network)
    return network


class StandIn(AutoencoderKL):
    """An SD VAE whose networks answer with stored tensors, and which keeps what it was asked."""

    def stand_in(self, moments: Tensor | None = None, picture: Tensor | None = None) -> StandIn:
        self.moments, self.picture = moments, picture
        return self

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        self.fed = x
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self.moments))

    def decode(self, z: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        self.fed = z
        return (self.picture,)


def stand_in(**stored: Tensor) -> StandIn:
    return StandIn(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=1,
        layers_per_block=1,
    ).stand_in(**stored)


@pytest.mark.parity
def test_encode_path() -> None:
    stored = case("encoder_a64")
    encoder = OffsetEncoder()
    fill(encoder)
    vae = stand_in(moments=stored["moments"])
    transparent = TransparentVAE(vae, encoder)
    rgba = stored["rgba"].permute(0, 3, 1, 2) / 255

    flat, feed = transparent.feeds(rgba)
    torch.testing.assert_close(flat, stored["vae_feed"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(feed, stored["path_offset_feed"], atol=2e-5, rtol=1e-4)
    mean, std = transparent.posterior(flat)
    torch.testing.assert_close(mean, stored["dist_mean"])
    torch.testing.assert_close(std, stored["dist_std"])
    offset = transparent.offset(feed)
    torch.testing.assert_close(offset, stored["path_offset_times_alpha"], atol=6e-3, rtol=1e-4)
    latent = unscale_latents(vae, transparent.encode(rgba))
    torch.testing.assert_close(vae.fed, stored["vae_feed"], atol=1e-5, rtol=1e-4)
    relative = (latent - stored["latent"]).abs().max() / stored["latent"].abs().max()
    assert relative <= 1e-4
    torch.testing.assert_close(latent, stored["latent"], atol=1e-2, rtol=1e-4)
