"""Premultiplied clips over grey, and alpha from two backgrounds."""

from __future__ import annotations

import torch

import small_layerflow as small
from multiplane.models.clip_alpha import (
    from_clips,
    matte_alpha,
    to_clips,
    two_background_alpha,
)


def soft(seed: int = 0) -> torch.Tensor:
    """(3 frames, 4, 8, 8) straight: all of alpha's range, clear and opaque among it."""
    rgba = torch.rand(3, 4, 8, 8, generator=small.generator(seed))
    rgba[0, 3] = 0.0
    rgba[1, 3] = 1.0
    return rgba


def test_a_clear_pixel_is_mid_grey_and_an_opaque_one_its_colour() -> None:
    rgba = soft()
    foreground, matte = to_clips(rgba)
    assert not foreground[0].any()  # 0 in [-1, 1]
    assert torch.equal(foreground[1], 2 * rgba[1, :3] - 1)
    assert (matte[0] == -1).all()
    assert (matte[1] == 1).all()
    on_grey = rgba[:, 3:] * rgba[:, :3] + (1 - rgba[:, 3:]) * 0.5
    assert torch.allclose((foreground + 1) / 2, on_grey, atol=1e-6)


def test_there_and_back() -> None:
    rgba = soft()
    foreground, matte = to_clips(rgba)
    back = from_clips(foreground, matte_alpha(matte))
    assert torch.allclose(back[:, 3], rgba[:, 3], atol=1e-6)
    seen = (rgba[:, 3:] > 0.02).expand(-1, 3, -1, -1)
    assert torch.allclose(back[:, :3][seen], rgba[:, :3][seen], atol=1e-4)
    assert (back[0, :3] == 0.5).all()


def test_two_backgrounds_give_the_alpha_back() -> None:
    rgba = soft(3)
    background = torch.rand(3, 3, 8, 8, generator=small.generator(4)) * 2 - 1
    background += 0.5 * background.sign()  # away from grey
    foreground, _ = to_clips(rgba)
    alpha = rgba[:, 3:]
    composite = alpha * (2 * rgba[:, :3] - 1) + (1 - alpha) * background
    found = two_background_alpha(foreground, background, composite)
    assert (found - alpha).abs().max() < 0.01


def test_over_a_grey_background_what_stands_out_is_there() -> None:
    rgba = soft(5)
    rgba[1, :3] = torch.tensor([1.0, 0.0, 0.2])[:, None, None]
    foreground, _ = to_clips(rgba)
    grey = torch.zeros_like(foreground)
    found = two_background_alpha(foreground, grey, foreground)
    assert found[0].max() == 0
    assert found[1].min() > 0.99
