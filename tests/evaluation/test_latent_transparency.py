"""The held-out figures of latent transparency by hand, and its baselines on pictures that say what
they must find."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multiplane.evaluation.latent_transparency import (
    best_threshold,
    cut_from_grey,
    distance_from_grey,
    flat,
    harm_figures,
    made_see_through,
    reconstruction_figures,
)
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_vae import TransparentVAE
from multiplane.recipes.rgb_vae import VAEConfig, build


def a_square(alpha: float = 1.0) -> Tensor:
    """(1, 4, 8, 8): a red square of 16 pixels on a clear canvas, one pixel half clear."""
    picture = torch.zeros(1, 4, 8, 8)
    picture[:, 0, 2:6, 2:6] = 1.0
    picture[:, 3, 2:6, 2:6] = alpha
    picture[:, 3, 2, 2] = 0.5
    return picture


def test_figures_by_hand() -> None:
    truth, made = a_square(), a_square()
    made[:, 3, 2, 2] = 0.25  # the soft pixel, off by 0.25
    made[:, 3, 0, 0] = 0.5  # a clear one, black and half there
    made[:, 0, 5, 5] = 0.5  # a solid one, too dark by 0.5
    figures = reconstruction_figures(made, truth)
    assert figures["alpha mae"] == pytest.approx(0.75 / 64)
    assert figures["alpha mae, soft pixels"] == pytest.approx(0.25)
    assert figures["soft pixels"] == pytest.approx(1 / 64)
    alpha_error = (0.25**2 + 0.5**2) / 64
    assert figures["psnr, alpha"] == pytest.approx(-10 * math.log10(alpha_error))
    colour_error = 0.5**2 / (16 * 3)
    assert figures["psnr, visible colour"] == pytest.approx(-10 * math.log10(colour_error))
    premul_error = (0.25**2 + 0.5**2 + 0.25**2 + 0.5**2) / (64 * 4)
    assert figures["psnr, premultiplied"] == pytest.approx(-10 * math.log10(premul_error))


def test_equal_pictures_are_without_error() -> None:
    figures = reconstruction_figures(a_square(), a_square())
    assert figures["alpha mae"] == figures["alpha mae, soft pixels"] == 0
    assert figures["psnr, premultiplied"] == figures["psnr, nine backgrounds"] == 100


def test_the_cut_takes_the_distance_that_errs_least() -> None:
    truth = a_square()
    truth[:, 3, 2, 2] = 1.0
    decoded = flat(truth)
    decoded[:, :, 7] += 0.06  # noise that a distance below 0.06 would take for an object
    threshold = best_threshold(decoded, truth[:, 3:])
    assert 0.06 <= threshold < 0.3
    assert torch.equal(cut_from_grey(decoded, threshold)[:, 3], truth[:, 3])
    assert float(distance_from_grey(flat(torch.zeros(1, 4, 8, 8))).max()) == 0


def test_see_through_changes_opacity_alone_and_always_alike() -> None:
    truth = a_square()
    made = made_see_through(truth)
    assert torch.equal(made, made_see_through(truth))
    assert float(made[:, 3].max()) < 1
    covered = made[:, 3] > 0
    assert torch.equal(covered, truth[:, 3] > 0)
    one, other = (picture[:, :3].movedim(1, -1)[covered] for picture in (made, truth))
    assert torch.allclose(one, other, atol=1e-5)


def test_an_offset_of_nothing_does_no_harm() -> None:
    torch.manual_seed(0)
    vae = build(VAEConfig((8, 8, 8, 8)), 32).eval()
    encoder = OffsetEncoder((4, 8, 8, 8))
    model = TransparentVAE(vae, encoder, TransparencyDecoder((8, 8, 8, 8), 1, 1)).eval()
    straight = torch.rand(2, 4, 32, 32)
    figures, _ = harm_figures(model, straight)
    assert figures["psnr of one decode to the other"] > 90
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=0.1)  # pyright: ignore
    figures, (without, with_offset) = harm_figures(model, straight)
    assert figures["psnr of one decode to the other"] < 60
    truth = flat(straight)
    for name, decode in (("without", without), ("with", with_offset)):
        errors = (decode - truth).square().mean(dim=(1, 2, 3)).log10()
        assert figures[f"psnr of the decode, {name} offset"] == pytest.approx(
            float(-10 * errors.mean()), abs=1e-3
        )
