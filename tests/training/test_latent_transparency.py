"""Losses of latent transparency by hand, who gets a gradient, and a VAE that stays as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from multiplane.core.padding import pad_colour
from multiplane.models.frozen_vae import fingerprint
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.planes import premultiply
from multiplane.recipes.rgb_vae import VAEConfig, build
from multiplane.training.latent_transparency import (
    Decoded,
    LatentTransparency,
    Pictures,
    identity_loss,
    picture_distance,
    reconstruction_loss,
    see_through,
)

SIZE = 32


def a_model(scale: float = 10.0, latent_channels: int = 4) -> LatentTransparency:
    torch.manual_seed(0)
    vae = build(VAEConfig((8, 8, 8, 8), latent_channels=latent_channels), SIZE)
    encoder = OffsetEncoder((4, 8, 8, 8), latent_channels, offset_scale=scale)
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=0.05)  # pyright: ignore
    decoder = TransparencyDecoder((8, 8, 8, 8), 1, 1, latent_channels, 3)
    return LatentTransparency(encoder, decoder, vae)


def some_pictures() -> tuple[Tensor, Pictures]:
    straight = torch.rand(4, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    planes = premultiply(straight)
    return straight, Pictures.of(planes)


def passed(model: LatentTransparency, pictures: Pictures, keep: list[bool]) -> Decoded:
    return model(pictures.flat, pictures.feed("argb"), torch.tensor(keep))


def test_pictures_are_grey_where_clear_and_padded_for_the_encoder() -> None:
    straight, pictures = some_pictures()
    by_hand = (straight[:, :3] * 2 - 1) * straight[:, 3:]
    assert torch.allclose(pictures.flat, by_hand, atol=1e-6)
    padded = pad_colour(np.ascontiguousarray(straight[1].permute(1, 2, 0).numpy()))
    feed = pictures.feed("argb")
    assert torch.equal(feed[:, 0], straight[:, 3])
    assert np.abs(feed[1, 1:].permute(1, 2, 0).numpy() - padded).max() < 2e-5
    assert torch.equal(pictures.feed("rgba")[:, 3], feed[:, 0])
    assert torch.equal(pictures.feed("rgba")[:, :3], feed[:, 1:])


def test_a_distance_by_hand() -> None:
    made, truth = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    made[0, 0] = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # norm 5, divided by sqrt(4)
    made[1, 0] = 1.0  # norm 2, divided by sqrt(4)
    assert picture_distance(made, truth).item() == pytest.approx((2.5 + 1.0) / 2, rel=1e-4)


def test_the_three_terms_compare_what_the_paper_says() -> None:
    zero, half = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    alpha = torch.full((1, 1, 2, 2), 0.25)
    pictures = Pictures(flat=zero, colour=half, alpha=alpha)
    decoded = Decoded(torch.zeros(1), flat=half * 0.6, colour=zero, alpha=alpha * 2)
    assert reconstruction_loss(decoded, pictures).item() == pytest.approx(0.5 + 0.25, rel=1e-4)
    assert identity_loss(decoded, pictures).item() == pytest.approx(0.3, rel=1e-4)


def test_the_latent_moves_by_scale_times_deviation_times_offset() -> None:
    model = a_model(scale=7.0)
    _, pictures = some_pictures()
    with torch.no_grad():
        decoded = passed(model, pictures, [True, False, True, False])
        posterior = model.vae.encode(pictures.flat).latent_dist  # pyright: ignore
        expected = posterior.mean + 7 * posterior.std * model.encoder(pictures.feed("argb"))
        plain = model.vae.decode(posterior.mean).sample  # pyright: ignore
    assert torch.allclose(decoded.adjusted[::2], expected[::2], atol=1e-5)
    assert not torch.allclose(expected, posterior.mean, atol=1e-3)
    assert torch.equal(decoded.adjusted[1::2], posterior.mean[1::2])
    assert torch.allclose(decoded.flat[1::2], plain[1::2], atol=1e-5)


@pytest.mark.parametrize("channels", [4, 16])
def test_gradients_reach_both_networks_through_the_frozen_vae(channels: int) -> None:
    model = a_model(latent_channels=channels)
    _, pictures = some_pictures()
    before = fingerprint(model.vae)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(2):
        decoded = passed(model, pictures, [True] * 4)
        optimizer.zero_grad()
        (reconstruction_loss(decoded, pictures) + identity_loss(decoded, pictures)).backward()
        optimizer.step()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert fingerprint(model.vae) == before
    assert all(p.grad is None and not p.requires_grad for p in model.vae.parameters())
    assert not any(name.startswith("vae") for name in model.state_dict())


def test_identity_alone_teaches_the_encoder_and_not_the_decoder() -> None:
    model = a_model()
    _, pictures = some_pictures()
    identity_loss(passed(model, pictures, [True] * 4), pictures).backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


def test_without_its_offset_a_picture_teaches_the_encoder_nothing() -> None:
    model = a_model()
    _, pictures = some_pictures()
    loss = reconstruction_loss(passed(model, pictures, [False] * 4), pictures)
    loss.backward()
    assert all(not p.grad.any() for p in model.encoder.parameters() if p.grad is not None)
    assert any(p.grad.any() for p in model.decoder.parameters() if p.grad is not None)


def test_see_through_is_one_straight_ramp_of_opacity_a_plane() -> None:
    planes = torch.ones(64, 4, 16, 16)
    made = see_through(planes, torch.Generator().manual_seed(0))
    assert torch.equal(made[:, 0], made[:, 3])  # premultiplied: colour follows alpha
    assert 0.15 <= float(made.min()) < 0.3
    assert 0.8 < float(made.max()) <= 1
    inner = made[:, 3, 4:12, 4:12]  # away from where the ramp is cut off
    assert float(inner.diff(n=2, dim=1).abs().max()) < 1e-5
    assert len({round(float(plane[0, 0]), 4) for plane in inner}) > 50
    assert math.isclose(float(made[:, 3].mean()), 0.575, abs_tol=0.08)


def test_the_offset_tells_apart_what_looks_alike_over_grey() -> None:
    """A solid disc of a pale colour and a half clear one of a strong colour are one flat picture,
    so only the offset can carry which of them it is."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = ((y - 15.5).square() + (x - 15.5).square() < 100).float()
    pale, strong = torch.tensor([0.75, 0.5, 0.25]), torch.tensor([1.0, 0.5, 0.0])
    solid = torch.cat([pale[:, None, None] * disc, disc[None]])
    clear = torch.cat([strong[:, None, None] * disc, disc[None]]) * 0.5
    pictures = Pictures.of(torch.stack([solid, clear]))
    assert torch.allclose(pictures.flat[0], pictures.flat[1], atol=1e-6)
    model = a_model(scale=math.e)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(250):
        decoded = passed(model, pictures, [True, True])
        optimizer.zero_grad()
        reconstruction_loss(decoded, pictures).backward()
        optimizer.step()
    with torch.no_grad():
        told = passed(model, pictures, [True, True]).alpha[:, 0, 15, 15]
        untold = passed(model, pictures, [False, False]).alpha[:, 0, 15, 15]
    assert told.tolist() == pytest.approx([1.0, 0.5], abs=0.1)
    assert float(untold[0] - untold[1]) == pytest.approx(0, abs=1e-4)
