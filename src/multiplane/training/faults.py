"""What goes wrong when layers are cut from photographs, planted into scenes whose truth is known:
three faults that Text2Layer's two quality filters look for (arXiv 2307.09781, section III-D).

- incomplete: the mask lacks a part of the object; what it lacks stays in the background.
- background inside: the mask holds a part of the background, with its pixels.
- put back: the completed background holds the removed object again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multiplane.models.planes import over

KINDS = ("incomplete", "background inside", "put back")


def soft_cut(mask: Tensor, share: Tensor, angle: Tensor) -> Tensor:
    """(B, 1, H, W) coverage 0..1, 1 on one side of a line across each mask (B, 1, H, W), that side
    holding about `share` (B,) of the mask. angle: (B,) radians."""
    height, width = mask.shape[-2:]
    y = torch.linspace(-1, 1, height, device=mask.device)[:, None]
    x = torch.linspace(-1, 1, width, device=mask.device)[None]
    along = torch.cos(angle)[:, None, None] * x + torch.sin(angle)[:, None, None] * y  # (B, H, W)
    order = along.flatten(1).argsort(dim=1)
    covered = mask[:, 0].flatten(1).gather(1, order).cumsum(dim=1)
    wanted = covered[:, -1:] * (1 - share[:, None])
    place = (covered < wanted).sum(dim=1).clamp(max=height * width - 1)
    line = along.flatten(1).gather(1, order.gather(1, place[:, None]))
    sharpness = width / 2  # the line is about two pixels soft
    return torch.sigmoid((along - line[..., None]) * sharpness)[:, None]


def incomplete(foreground: Tensor, background: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    """What lies under `part` (B, 1, H, W) goes from the foreground into the background; the
    composite stays where coverage is whole. Planes (B, 4, H, W) premultiplied in [0, 1],
    the background opaque."""
    return foreground * (1 - part), over(foreground * part, background)


def disc_beside(mask: Tensor, angle: Tensor, radius: Tensor) -> Tensor:
    """(B, 1, H, W) soft discs of `radius` (B,), in shares of the width, around a point of each
    mask's rim: `angle` (B,) radians from its centre, as far out as a disc of its area reaches."""
    height, width = mask.shape[-2:]
    y = ((torch.arange(height, device=mask.device) + 0.5) / height)[:, None]
    x = ((torch.arange(width, device=mask.device) + 0.5) / width)[None]
    area = mask.mean(dim=(1, 2, 3)).clamp(min=1e-4)
    reach = (area / torch.pi).sqrt()
    total = mask[:, 0].sum(dim=(1, 2)).clamp(min=1e-4)
    centre_x = (mask[:, 0] * x).sum(dim=(1, 2)) / total + reach * torch.cos(angle)
    centre_y = (mask[:, 0] * y).sum(dim=(1, 2)) / total + reach * torch.sin(angle)
    away = ((x - centre_x[:, None, None]).square() + (y - centre_y[:, None, None]).square()).sqrt()
    return torch.sigmoid((radius[:, None, None] - away) * width)[:, None]


def background_inside(
    foreground: Tensor, background: Tensor, part: Tensor
) -> tuple[Tensor, Tensor]:
    """The foreground takes in what is seen of the background under `part` (B, 1, H, W); the
    composite stays."""
    return over(foreground, background * part), background


def put_back(foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """The background holds the object again."""
    return foreground, over(foreground, background)


@dataclass(frozen=True)
class PlantedFaults:
    """A `Fault` of `draw_two_layers`: each scene is spoilt by chance `rate`, in one of the three
    ways, drawn evenly."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of faults must be 0..1, got {self.rate}")

    def __call__(
        self, foreground: Tensor, background: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """foreground, background: (B, 4, H, W) premultiplied in [0, 1]. generator: on CPU."""
        count, device = len(foreground), foreground.device
        uniform = torch.rand(count, 4, generator=generator).to(device)
        kind = torch.where(uniform[:, 0] < self.rate, (uniform[:, 1] * 3).long(), -1)
        angle = uniform[:, 2] * 2 * torch.pi
        part = soft_cut(foreground[:, 3:], 0.25 + 0.35 * uniform[:, 3], angle)
        beside = disc_beside(foreground[:, 3:], angle, 0.12 + 0.15 * uniform[:, 3])
        spoilt = (
            incomplete(foreground, background, part),
            background_inside(foreground, background, beside),
            put_back(foreground, background),
        )
        for index, (front, back) in enumerate(spoilt):
            chosen = (kind == index)[:, None, None, None]
            foreground = torch.where(chosen, front, foreground)
            background = torch.where(chosen, back, background)
        return foreground, background
