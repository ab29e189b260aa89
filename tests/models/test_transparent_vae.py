from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from multiplane.core.padding import pad_colour
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_decode import DecodeOptions
from multiplane.models.transparent_vae import (
    CONVENTIONS,
    TransparentVAE,
    on_checkerboard,
    scale_latents,
    to_u8_nhwc,
    unscale_latents,
)
from parity_rule import case, fill, unit_input


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


@pytest.mark.parity
def test_decode_path() -> None:
    stored = case("decoder_augmented_a128")
    with torch.device("meta"):
        decoder = TransparencyDecoder()
    fill(decoder)
    vae = stand_in(picture=stored["vae_pixel"])
    transparent = TransparentVAE(vae, decoder=decoder)
    raw = []
    hook = decoder.register_forward_hook(lambda _module, _inputs, output: raw.append(output))
    rgba = transparent.decode(scale_latents(vae, stored["latent"]))
    hook.remove()

    torch.testing.assert_close(vae.fed, stored["latent"])
    picture = transparent.decode_picture(scale_latents(vae, stored["latent"])).clamp(0, 1)
    torch.testing.assert_close(picture, stored["pixel"])
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # lying passes go before standing ones
    for index, found in zip(order, torch.cat(raw).split(1), strict=True):
        torch.testing.assert_close(found, stored[f"raw_pass{index}"], atol=2e-5, rtol=0)
    argb = torch.cat([rgba[:, 3:], rgba[:, :3]], dim=1)
    torch.testing.assert_close(argb, stored["median"], atol=2e-5, rtol=0)
    for name, picture in (("png", rgba), ("vis", on_checkerboard(rgba))):
        levels = to_u8_nhwc(picture, "truncate").astype(int) - stored[name].numpy().astype(int)
        assert abs(levels).max() <= 1, name
        assert (levels != 0).mean() <= 1e-3, name


def test_a_vae_with_sixteen_channels_and_a_shift() -> None:
    vae = small_vae(16, scaling_factor=0.3611, shift_factor=0.1159)
    encoder = OffsetEncoder((4, 4, 4, 8), 16, **asdict(CONVENTIONS["flux"]))
    fill(encoder)
    transparent = TransparentVAE(vae, encoder, small_decoder(latent_channels=16))
    rgba = unit_input("flux.rgba", (2, 4, 64, 32))
    rgba[:, 3, :20] = 0
    latents = transparent.encode(rgba)

    padded = torch.stack(
        [torch.from_numpy(pad_colour(one.permute(1, 2, 0).numpy())) for one in rgba]
    ).permute(0, 3, 1, 2)
    offset = 300 * encoder(torch.cat([padded, rgba[:, 3:]], dim=1))
    found = vae.encode((rgba[:, :3] * 2 - 1) * rgba[:, 3:]).latent_dist
    expected = ((found.mean + found.std * offset) - 0.1159) * 0.3611
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(
        transparent.decode_picture(latents),
        vae.decode(latents / 0.3611 + 0.1159).sample * 0.5 + 0.5,
    )
    assert transparent.decode(latents).shape == (2, 4, 64, 32)


def test_the_web_interfaces_flatten_on_their_grey_and_do_not_scale() -> None:
    encoder = OffsetEncoder((4, 4, 4, 8), **asdict(CONVENTIONS["webui"]))
    fill(encoder)
    transparent = TransparentVAE(small_vae(), encoder)
    rgba = unit_input("web.rgba", (1, 4, 16, 16))
    rgba[:, 3, :8] = 0
    flat, feed = transparent.feeds(rgba)
    laid = rgba[:, :3] * rgba[:, 3:] + 127 / 255 * (1 - rgba[:, 3:])
    torch.testing.assert_close(flat, laid * 2 - 1)
    torch.testing.assert_close(feed[:, :1], rgba[:, 3:])
    torch.testing.assert_close(transparent.offset(feed), encoder(feed))


def test_statistics_a_channel_go_before_the_factor() -> None:
    vae = small_vae(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[0.5, 1.0, 2.0, 4.0])
    latents = torch.randn(2, 4, 3, 3)
    scaled = scale_latents(vae, latents)
    expected = (latents[:, 3] - 4) / 4 * vae.config.scaling_factor
    torch.testing.assert_close(scaled[:, 3], expected)
    torch.testing.assert_close(unscale_latents(vae, scaled), latents)


def test_a_sample_of_the_posterior_follows_the_generator() -> None:
    encoder = OffsetEncoder((4, 4, 4, 8))
    transparent = TransparentVAE(small_vae(), encoder)
    rgba = unit_input("sample.rgba", (1, 4, 16, 16))
    first, again, other = (
        transparent.encode(rgba, sample=True, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_picture_of_another_size_needs_the_zero_latent() -> None:
    transparent = TransparentVAE(small_vae(), decoder=small_decoder())
    latents, picture = torch.randn(1, 4, 4, 4), unit_input("enlarged", (1, 3, 64, 48))
    with pytest.raises(ValueError, match=r"48 x 64 goes with a latent of 6 x 8, got 4 x 4"):
        transparent.decode(latents, picture)
    rgba = transparent.decode(latents, picture, DecodeOptions(passes=1), zero_latent=True)
    expected = transparent.decoder(picture, torch.zeros(1, 4, 8, 6)).clamp(0, 1)
    torch.testing.assert_close(rgba[:, 3:], expected[:, :1])


def test_parts_of_another_vae_are_refused() -> None:
    with pytest.raises(ValueError, match="decoder is made for 16 latent channels at 1/8"):
        TransparentVAE(small_vae(), decoder=small_decoder(latent_channels=16))
    with pytest.raises(ValueError, match="encoder is made for 4 latent channels at 1/4"):
        TransparentVAE(small_vae(), OffsetEncoder((4, 4, 4)))
    with pytest.raises(ValueError, match="has no encoder"):
        TransparentVAE(small_vae()).encode(torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match="has no decoder"):
        TransparentVAE(small_vae()).decode(torch.rand(1, 4, 1, 1))
    with pytest.raises(ValueError, match="multiples of 8"):
        TransparentVAE(small_vae(), OffsetEncoder((4, 4, 4, 8))).encode(torch.rand(1, 4, 8, 12))


def test_rounding_of_eight_bits() -> None:
    values = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.5 / 255, 1.0, 1.7]).view(1, 1, 1, 6)
    assert to_u8_nhwc(values).ravel().tolist() == [0, 0, 1, 255, 255, 255]
    assert to_u8_nhwc(values, "truncate").ravel().tolist() == [0, 0, 0, 254, 255, 255]


def test_checkerboard_cells_of_a_size_that_is_no_multiple() -> None:
    clear = on_checkerboard(torch.zeros(1, 4, 70, 130))[0, 0]
    assert (clear[0, 0], clear[0, 64], clear[65, 64], clear[69, 129]) == pytest.approx(
        (0.45, 0.55, 0.45, 0.55), abs=1e-6
    )
