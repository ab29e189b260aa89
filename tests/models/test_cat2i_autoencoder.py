"""The joint autoencoder: its shapes are Stable Diffusion's, seven channels go in, a head a plane
comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from multiplane.core.config import to_table
from multiplane.models.cat2i_autoencoder import CaT2IAutoencoder, CaT2IConfig, TwoLayers
from multiplane.models.layer_codecs import JointLatents
from multiplane.models.weights_io import save_network
from small_text2layer import CAT2I, SIZE, a_cat2i, a_codec


def layers(count: int = 2, side: int = SIZE) -> TwoLayers:
    generator = torch.Generator().manual_seed(0)
    f, b, i = (torch.rand(count, 3, side, side, generator=generator) * 2 - 1 for _ in range(3))
    return TwoLayers(f, b, torch.rand(count, 1, side, side, generator=generator), i)


def test_at_stable_diffusions_size_only_the_first_and_last_layers_differ() -> None:
    """Trunk tensors have the shapes of diffusers' own autoencoder with SD's configuration."""
    with torch.device("meta"):
        ours = CaT2IAutoencoder(CaT2IConfig())
        published = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
    mine = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    theirs = {name: tuple(p.shape) for name, p in published.named_parameters()}
    trunk = {name for name in theirs if name.startswith(("encoder.", "decoder."))}
    changed = {name for name in trunk if mine.get(name) != theirs[name]}
    assert changed == {
        "encoder.conv_in.weight",
        "decoder.conv_out.weight",
        "decoder.conv_out.bias",
    }
    assert mine["encoder.conv_in.weight"] == (128, 7, 3, 3)
    assert mine["moments.weight"] == theirs["quant_conv.weight"]
    assert mine["from_latent.weight"] == theirs["post_quant_conv.weight"]
    assert ours.config.factor == 8


def test_heads_are_two_convolutions_around_a_batch_norm() -> None:
    model = a_cat2i()
    assert {name: part[-1].out_channels for name, part in model.heads.items()} == {  # pyright: ignore
        "foreground": 3,
        "background": 3,
        "mask": 1,
        "image": 3,
    }
    for head in model.heads.values():
        kinds = [type(part) for part in head]  # pyright: ignore[reportGeneralTypeIssues]
        assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]


def test_the_latent_and_the_planes_have_their_sizes() -> None:
    model = a_cat2i()
    latent = model.encode(layers())
    assert latent.shape == (2, 4, SIZE // 4, SIZE // 4)
    made = model.decode(latent)
    assert made.foreground.shape == made.background.shape == (2, 3, SIZE, SIZE)
    assert made.mask.shape == (2, 1, SIZE, SIZE)
    assert 0 <= float(made.mask.min()) <= float(made.mask.max()) <= 1
    assert made.image is not None
    assert CaT2IAutoencoder(replace(CAT2I, image_head=False)).decode(latent).image is None


def test_the_encoder_reads_all_three_planes_and_never_the_image() -> None:
    model = a_cat2i()
    plain = layers()
    base = model.encode(plain)
    for name in ("foreground", "background", "mask"):
        changed = plain._replace(**{name: 1 - getattr(plain, name)})
        assert float((model.encode(changed) - base).abs().max()) > 1e-3
    assert torch.equal(model.encode(plain._replace(image=None)), base)


def test_training_decodes_a_draw_and_its_kl_is_the_closed_form() -> None:
    model = a_cat2i()
    plain = layers()
    posterior = model.posterior(plain)
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
    made, kl = model(plain.foreground, plain.background, plain.mask, noise)
    mean, variance = posterior.mean.double(), posterior.var.double()
    wanted = 0.5 * (mean.square() + variance - 1 - variance.log()).flatten(1).sum(dim=1)
    torch.testing.assert_close(kl.double(), wanted, rtol=1e-4, atol=1e-3)
    drawn = model.planes_of(posterior.mean + posterior.std * noise)
    torch.testing.assert_close(made.mask, drawn.mask)


def test_composites_add_up() -> None:
    plain = layers()
    wanted = plain.mask * plain.foreground + (1 - plain.mask) * plain.background
    torch.testing.assert_close(plain.composite(), wanted)
    planes = plain.planes()
    front, back = planes["foreground"], planes["background"]
    over = front[:, :3] + (1 - front[:, 3:]) * back[:, :3]
    torch.testing.assert_close(planes["composite"][:, :3], over)
    assert float(back[:, 3:].min()) == 1.0


def test_saved_and_loaded_it_is_the_same_with_its_statistics(tmp_path: Path) -> None:
    model = a_cat2i()
    model.latent_mean.fill_(0.5)
    model.latent_std.fill_(2.0)
    save_network(model, tmp_path / "ae", to_table(CAT2I))
    again = JointLatents.load(tmp_path / "ae")
    plain = layers()
    torch.testing.assert_close(again.encode(plain), model.encode(plain))
    raw = model.posterior(plain).mode()
    torch.testing.assert_close(again.encode(plain), (raw - 0.5) / 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4, got 30 x 30"):
        a_cat2i().encode(layers(1, 30))
    with pytest.raises(ValueError, match="multiple of groups 32"):
        CaT2IConfig(channels=(48, 64))


def test_separate_latents_hold_each_plane_on_its_own() -> None:
    codec = a_codec("separate")
    plain = layers()
    latent = codec.encode(plain)
    assert latent.shape[1] == codec.latent_channels == 12
    base = latent.chunk(3, dim=1)
    changed = codec.encode(plain._replace(background=-plain.background)).chunk(3, dim=1)
    assert torch.equal(changed[0], base[0])
    assert torch.equal(changed[2], base[2])
    assert not torch.equal(changed[1], base[1])
    assert set(codec.planes(latent)) == {"foreground", "background", "composite"}
    # the scaling factor of the folder, as diffusers uses it
    mode = codec.network().encode(plain.foreground, return_dict=False)[0].mode()  # pyright: ignore
    torch.testing.assert_close(base[0], mode * 0.5)


def test_flat_latents_hold_the_composite_alone() -> None:
    codec = a_codec("flat")
    plain = layers()
    assert codec.encode(plain).shape[1] == codec.latent_channels == 4
    assert set(codec.planes(codec.encode(plain))) == {"composite"}
    with pytest.raises(ValueError, match="these layers have none"):
        codec.encode(plain._replace(image=None))
