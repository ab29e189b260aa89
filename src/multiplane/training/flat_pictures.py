"""Flat RGB pictures from the scene feed: what a plain image model learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from multiplane.training.scenes import SceneFeed

GREY = 0.5  # what a clear pixel is where colour in [-1, 1] is multiplied by alpha


def flatten(planes: Tensor, background: Tensor | float) -> Tensor:
    """(B, 4, H, W) premultiplied in [0, 1] over a colour (B, 3, 1, 1), or one number for all three
    channels -> (B, 3, H, W) in [0, 1]."""
    return planes[:, :3] + (1 - planes[:, 3:]) * background


def draw_flat(feed: SceneFeed, count: int, generator: torch.Generator) -> Tensor:
    """(count, 3, S, S) in [0, 1]: a quarter composites, an eighth backgrounds, a quarter objects
    over mid grey, a quarter over random colours, an eighth mattes as grey pictures."""
    grey, colored, mattes, backgrounds = count // 4, count // 4, count // 8, count // 8
    composites = count - grey - colored - mattes - backgrounds
    planes = feed.alone(grey + colored + mattes, generator)[0]
    colors = torch.rand(colored, 3, 1, 1, generator=generator).to(feed.device)
    scenes = feed.scenes(composites, 0.5, generator)
    objects = torch.cat([planes[: grey // 2], scenes.foreground])[:grey]
    return torch.cat(
        [
            scenes.composite[:, :3],
            scenes.background[:backgrounds, :3],
            flatten(objects, GREY),
            flatten(planes[grey : grey + colored], colors),
            planes[grey + colored :, 3:].expand(-1, 3, -1, -1),
        ]
    )
