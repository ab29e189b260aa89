"""Alpha in layered video: colours premultiplied over grey, the matte as a clip of its own.

A foreground clip is alpha times colour with colour in [-1, 1], so clear pixels are 0, mid grey. The
matte is a grey clip, -1 where clear and 1 where opaque.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = 0.5
_LEAST_ALPHA = 1.0 / 255.0
# How strongly the two-background equation is held to a guess where the background is grey itself.
_TIE = 2e-3


def to_clips(rgba: Tensor) -> tuple[Tensor, Tensor]:
    """Straight (..., 4, H, W) in [0, 1] -> the foreground and the matte clip, (..., 3, H, W) in
    [-1, 1] each."""
    colour, alpha = rgba[..., :3, :, :], rgba[..., 3:, :, :]
    return alpha * (2 * colour - 1), (2 * alpha - 1).expand_as(colour)


def matte_alpha(matte: Tensor) -> Tensor:
    """(..., 3, H, W) in [-1, 1] -> alpha (..., 1, H, W) in [0, 1], the mean of the channels."""
    return ((matte.mean(dim=-3, keepdim=True) + 1) / 2).clamp(0, 1)


def from_clips(foreground: Tensor, alpha: Tensor) -> Tensor:
    """The foreground clip (..., 3, H, W) in [-1, 1] and alpha (..., 1, H, W) in [0, 1] -> straight
    (..., 4, H, W) in [0, 1]. Where nothing can be seen the colour is grey."""
    colour = foreground / alpha.clamp_min(_LEAST_ALPHA)
    colour = torch.where(alpha >= _LEAST_ALPHA, colour, torch.zeros_like(colour))
    return torch.cat([((colour + 1) / 2).clamp(0, 1), alpha], dim=-3)


def two_background_alpha(foreground: Tensor, background: Tensor, composite: Tensor) -> Tensor:
    """Alpha (..., 1, H, W) in [0, 1] of a foreground that is seen over grey and, in `composite`,
    over `background`; clips (..., 3, H, W) in [-1, 1].

    Smith and Blinn's two-background matting (1996, theorem 4): over grey F' = aF, over the
    background C = aF + (1-a) B, so 1-a = <C - F', B> / <B, B>. Exact where the background is not
    grey; there, and only there, a guess takes over: a pixel is there by as much as it stands out
    from grey. The weights without alpha never made one; this is how they still give layers.
    """
    over = (background * background).sum(dim=-3, keepdim=True)
    seen = ((composite - foreground) * background).sum(dim=-3, keepdim=True)
    guess = 1 - (4 * foreground.abs().amax(dim=-3, keepdim=True)).clamp(0, 1)
    return (1 - (seen + _TIE * guess) / (over + _TIE)).clamp(0, 1)
