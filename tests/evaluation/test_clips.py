"""Motion, edges and samples of layered clips, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from multiplane.evaluation.clip_samples import SamplingConfig, sample_clips
from multiplane.evaluation.clips import (
    alpha_edge_error,
    alpha_softness,
    edge_band,
    film_strip,
    frame_difference,
    plane_figures,
)
from multiplane.models.layered_transformer import (
    LayeredTransformer,
    LayeredTransformerConfig,
    PlaneLayout,
)
from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.training.rows import RowBatch

PLANES = ("background", "foreground", "composite")


def test_frame_difference_is_the_mean_step() -> None:
    steps = torch.tensor([0.0, 0.1, 0.3, 0.3])
    clip = steps[:, None, None, None].expand(4, 4, 8, 8)
    assert frame_difference(clip) == pytest.approx(0.1)
    assert frame_difference(clip[:1].expand(4, -1, -1, -1)) == 0
    assert math.isnan(frame_difference(clip[:1]))


def a_square(low: int, high: int) -> torch.Tensor:
    picture = torch.zeros(1, 4, 24, 24)
    picture[..., low:high, low:high] = 1
    return picture


def test_the_edge_band_reaches_both_ways_from_the_edge() -> None:
    """Oracle: scipy's dilation without its erosion."""
    alpha = a_square(8, 16)[:, 3:]
    inside = alpha[0, 0].numpy() > 0.5
    square = np.ones((5, 5))
    expected = ndimage.binary_dilation(inside, square) & ~ndimage.binary_erosion(inside, square)
    assert (edge_band(alpha)[0, 0].numpy() == expected).all()
    assert edge_band(torch.full((1, 1, 4, 4), 0.3)).all()


def test_alpha_edge_error_counts_the_band_alone() -> None:
    true, made = a_square(8, 16), a_square(7, 17)
    band = edge_band(true[:, 3:])
    assert alpha_edge_error(true, true) == 0
    assert alpha_edge_error(made, true) == pytest.approx(36 / int(band.sum()))
    far = true.clone()
    far[..., 3, 0, 0] = 1  # outside the band
    assert alpha_edge_error(far, true) == 0


def test_softness_is_the_share_of_partial_pixels() -> None:
    picture = a_square(8, 16)
    assert alpha_softness(picture) == 0
    picture[..., 3, 8, 8:16] = 0.5
    assert alpha_softness(picture) == pytest.approx(8 / 64)


def test_figures_of_exact_layers_disagree_by_nothing() -> None:
    foreground = a_square(8, 16)[None].expand(2, 3, -1, -1, -1) * 0.5
    background = torch.ones(2, 3, 4, 24, 24) * 0.4
    background[:, :, 3] = 1
    composite = foreground + (1 - foreground[:, :, 3:]) * background
    figures = plane_figures(torch.stack([background, foreground, composite], dim=1), PLANES)
    assert figures["disagreement"] == pytest.approx(0, abs=1e-7)
    assert figures["motion composite"] == 0
    off = plane_figures(torch.stack([background, foreground, composite + 0.1], dim=1), PLANES)
    assert off["disagreement"] == pytest.approx(0.1, abs=1e-6)


def test_a_film_strip_has_its_frames_side_by_side() -> None:
    clip = torch.arange(3 * 2).float().view(3, 2, 1, 1, 1).expand(3, 2, 4, 5, 5)
    strip = film_strip(clip)
    assert strip.shape == (3, 4, 5, 10)
    assert torch.equal(strip[1, 0, 0], torch.tensor([2.0] * 5 + [3.0] * 5))


CODEC = PixelPatches(PixelPatchesConfig(4))


def a_denoiser() -> LayeredTransformer:
    torch.manual_seed(0)
    config = LayeredTransformerConfig(
        channels=64,
        grid=2,
        width=32,
        depth=1,
        head_channels=16,
        text_channels=6,
        text_tokens=2,
        rotary_split=(1, 2, 2, 3),
    )
    model = LayeredTransformer(config)
    torch.nn.init.normal_(model.picture_out.weight, std=0.2)
    return model.eval()


def rows_of_noise(count: int = 3) -> RowBatch:
    g = torch.Generator().manual_seed(2)
    clean = torch.randn(count, 3, 2, 64, 2, 2, generator=g)
    given = torch.zeros(count, 3, 2, 2, 2, dtype=torch.bool)
    text = torch.randn(count, 3, 2, 6, generator=g)
    has_text = torch.ones(count, 3, 2, dtype=torch.bool)
    return RowBatch(clean, given, text, has_text, PlaneLayout.of(PLANES, 2))


def test_given_planes_come_back_as_they_were() -> None:
    rows, config = rows_of_noise(), SamplingConfig(steps=3)
    given = rows.given.clone()
    given[:, 2] = True
    made = sample_clips(a_denoiser(), CODEC, rows, given, config, 1)
    assert made.shape == (3, 3, 2, 4, 8, 8)
    shown = (CODEC.decode(rows.clean[:, 2].flatten(0, 1)) * 0.5 + 0.5).clamp(0, 1)
    torch.testing.assert_close(made[:, 2, :, 3], shown[:, 3].unflatten(0, (3, 2)))
    assert (made[:, :, :, :3] <= made[:, :, :, 3:]).all()


def test_a_clips_noise_is_its_own() -> None:
    """The same clips whatever the chunk, other ones for another seed."""
    rows, denoiser = rows_of_noise(), a_denoiser()
    whole, parts, other = (
        sample_clips(denoiser, CODEC, rows, rows.given, SamplingConfig(3, chunk=chunk), seed)
        for chunk, seed in ((3, 1), (1, 1), (3, 2))
    )
    torch.testing.assert_close(whole, parts, atol=0.02, rtol=0)
    assert (whole - other).abs().mean() > 0.05


def test_sampling_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SamplingConfig(steps=0)
