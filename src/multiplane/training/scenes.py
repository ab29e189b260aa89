"""Scenes composed on the training device, fresh every step, with exact truth for every plane.

The planes depend on each other, or the conditional rows would learn nothing: an object stands on
the ground with a soft contact shadow in its own plane, and takes light and tint from the background
behind it. The composite is over(foreground, background) by definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.data.placement import ScenePlacement
from multiplane.models.planes import over
from multiplane.training.pools import BackgroundPool, ForegroundPool


@dataclass(frozen=True)
class SceneBatch:
    """Planes (B, 4, S, S) premultiplied in [0, 1] on the feed's device; prompt rows (B,) of
    foreground and background and the foreground's asset rows (B,), on CPU."""

    foreground: Tensor
    background: Tensor
    composite: Tensor
    foreground_prompt: Tensor
    background_prompt: Tensor
    rows: Tensor


def uniform(
    count: int, low: float, high: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """(count,) numbers in low..high on `device`, drawn on CPU."""
    return (torch.rand(count, generator=generator) * (high - low) + low).to(device)


def affine_sample(pictures: Tensor, matrix: Tensor, size: int) -> Tensor:
    """pictures: (B, C, S, S) premultiplied. matrix: (B, 2, 3), output to input coordinates in
    -1..1. Bilinear, clear outside."""
    grid = F.affine_grid(matrix, [pictures.shape[0], pictures.shape[1], size, size], False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def place(pictures: Tensor, scale: Tensor, x: Tensor, y: Tensor, flip: Tensor) -> Tensor:
    """Draw each of (B, 4, S, S) premultiplied pictures at `scale` of the canvas with its centre at
    (x, y) in 0..1, mirrored where `flip`; all four are (B,)."""
    zero = torch.zeros_like(scale)
    inverse = 1 / scale
    mirrored = torch.where(flip, -inverse, inverse)
    row_x = torch.stack([mirrored, zero, -(x * 2 - 1) * mirrored], dim=1)
    row_y = torch.stack([zero, inverse, -(y * 2 - 1) * inverse], dim=1)
    return affine_sample(pictures, torch.stack([row_x, row_y], dim=1), pictures.shape[-1])


def contact_shadow(box: Tensor, strength: Tensor, softness: Tensor, size: int) -> Tensor:
    """A soft black ellipse under box (B, 4) = (x0, y0, x1, y1) in 0..1: (B, 4, S, S) premultiplied.
    strength: (B,) alpha of its middle. softness: (B,) 0 crisp, 1 wide."""
    axis = (torch.arange(size, device=box.device) + 0.5) / size
    centre_x, half = (box[:, 0] + box[:, 2]) / 2, (box[:, 2] - box[:, 0]) / 2
    dx = (axis[None, None, :] - centre_x[:, None, None]) / (half * 0.95)[:, None, None]
    dy = (axis[None, :, None] - box[:, 3][:, None, None]) / (half * 0.22)[:, None, None]
    distance = (dx.square() + dy.square()).sqrt()
    edge = softness[:, None, None]
    alpha = strength[:, None, None] * torch.sigmoid((0.8 - distance) / (0.12 + 0.3 * edge) * 2)
    alpha = alpha * (alpha > 0.012)
    clear = torch.zeros_like(alpha)
    return torch.stack([clear, clear, clear, alpha], dim=1)


def lit_by(foreground: Tensor, background: Tensor, amount: Tensor) -> Tensor:
    """Tint and dim premultiplied objects by the mean colour of their background; alpha stays.
    foreground, background: (B, 4, S, S) in [0, 1]. amount: (B,), 0 leaves them as they are."""
    mean = background[:, :3].mean(dim=(2, 3))  # (B, 3)
    brightness = mean.mean(dim=1, keepdim=True)
    tint = mean / brightness.clamp(min=0.05)
    light = tint.clamp(0.6, 1.5) * (0.7 + 0.6 * brightness)
    gain = 1 + amount[:, None] * (light - 1)
    color = torch.minimum(foreground[:, :3] * gain[:, :, None, None], foreground[:, 3:])
    return torch.cat([color, foreground[:, 3:]], dim=1)


class SceneFeed:
    """Composes batches of scenes from two pools, on their device. Everything random comes from the
    generator given, a CPU one. style_weights: how often each drawing style is drawn."""

    def __init__(
        self,
        foregrounds: ForegroundPool,
        backgrounds: BackgroundPool,
        style_weights: dict[str, float],
        placement: ScenePlacement,
    ) -> None:
        self.foregrounds = foregrounds
        self.backgrounds = backgrounds
        self.style_weights = style_weights
        self.placement = placement
        self.device = foregrounds.pixels.device
        self.size = foregrounds.pixels.shape[-1]

    def caption(
        self, captions: list[list[int]], rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        """(B,) prompt rows on CPU: one of the captions of each asset row (B,)."""
        picks = torch.rand(len(rows), generator=generator).tolist()
        chosen = [captions[row] for row in rows.tolist()]
        return torch.tensor([c[int(p * len(c))] for c, p in zip(chosen, picks, strict=True)])

    def alone(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Objects filling the canvas: (planes (B, 4, S, S) premultiplied in [0, 1], prompt rows
        (B,), asset rows (B,))."""
        rows = self.foregrounds.draw(count, self.style_weights, generator)
        pictures = self.foregrounds.premultiplied(rows)
        scale = uniform(count, 0.86, 1.02, generator, self.device)
        slack = (1 - scale).abs() * 0.5
        x = 0.5 + slack * uniform(count, -1, 1, generator, self.device)
        y = 0.5 + slack * uniform(count, -1, 1, generator, self.device)
        flip = uniform(count, 0, 1, generator, self.device) < 0.3
        planes = place(pictures, scale, x, y, flip).clamp(0, 1)
        return planes, self.caption(self.foregrounds.captions, rows, generator), rows

    def _background(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """A window of each crop, zoomed, mirrored or not, a little darker or lighter: (B, 4, S, S),
        opaque."""
        count = len(rows)
        zoom = uniform(count, 0.72, 1.0, generator, self.device)
        x = uniform(count, -1, 1, generator, self.device) * (1 - zoom)
        y = uniform(count, -1, 1, generator, self.device) * (1 - zoom)
        mirrored = torch.where(uniform(count, 0, 1, generator, self.device) < 0.5, -zoom, zoom)
        zero = torch.zeros_like(zoom)
        matrix = torch.stack(
            [torch.stack([mirrored, zero, x], dim=1), torch.stack([zero, zoom, y], dim=1)], dim=1
        )
        crops = self.backgrounds.pixels[rows.to(self.device)].float() / 255
        grid = F.affine_grid(matrix, [count, 3, self.size, self.size], False)
        color = F.grid_sample(crops, grid, padding_mode="border", align_corners=False)
        gain = uniform(count, 0.85, 1.1, generator, self.device)[:, None, None, None]
        color = (color * gain).clamp(0, 1)
        return torch.cat([color, torch.ones_like(color[:, :1])], dim=1)

    def _object(
        self, rows: Tensor, background: Tensor, generator: torch.Generator, shrink: float = 1.0
    ) -> Tensor:
        """One lit object with its contact shadow on each background: (B, 4, S, S) premultiplied.
        shrink: times its height."""
        p, count = self.placement, len(rows)
        boxes = self.foregrounds.boxes[rows.to(self.device)]
        height = (boxes[:, 3] - boxes[:, 1]).clamp(min=0.2)
        width = (boxes[:, 2] - boxes[:, 0]).clamp(min=0.2)
        wanted = shrink * uniform(count, *p.scale, generator, self.device)
        scale = torch.minimum(wanted / height, 0.95 / width)
        ground = uniform(count, *p.ground, generator, self.device)
        flip = uniform(count, 0, 1, generator, self.device) < 0.5
        spare = (1 - width * scale).clamp(min=0) / 2
        x = 0.5 + spare * 0.8 * uniform(count, -1, 1, generator, self.device)
        offset_x = (boxes[:, 0] + boxes[:, 2]) / 2 - 0.5
        centre_x = x - torch.where(flip, -offset_x, offset_x) * scale
        centre_y = ground - (boxes[:, 3] - 0.5) * scale
        pictures = self.foregrounds.premultiplied(rows)
        drawn = place(pictures, scale, centre_x, centre_y, flip).clamp(0, 1)
        lit = lit_by(drawn, background, uniform(count, *p.tint, generator, self.device))
        half = width * scale / 2
        box = torch.stack([x - half, ground - height * scale, x + half, ground], dim=1)
        strength = uniform(count, *p.shadow_strength, generator, self.device)
        softness = uniform(count, *p.shadow_softness, generator, self.device)
        return over(lit, contact_shadow(box, strength, softness, self.size))

    def scenes(self, count: int, busy: float, generator: torch.Generator) -> SceneBatch:
        """busy: share of backgrounds that already hold one to three objects."""
        background_rows = self.backgrounds.draw(count, generator)
        background = self._background(background_rows, generator)
        busyness = torch.rand(count, generator=generator)
        for index in range(3):
            hit = (busyness < busy * (1 - index / 3)).to(self.device)
            if bool(hit.any()):
                rows = self.foregrounds.draw(count, self.style_weights, generator)
                extra = self._object(rows, background, generator, shrink=0.7)
                background = torch.where(
                    hit[:, None, None, None], over(extra, background), background
                )
        rows = self.foregrounds.draw(count, self.style_weights, generator)
        foreground = self._object(rows, background, generator)
        return SceneBatch(
            foreground,
            background,
            over(foreground, background),
            self.caption(self.foregrounds.captions, rows, generator),
            self.caption(self.backgrounds.captions, background_rows, generator),
            rows,
        )


def silhouette(plane: Tensor) -> Tensor:
    """The silhouette control of a premultiplied plane: (B, 4, S, S) premultiplied, white where it
    has coverage."""
    return plane[:, 3:].expand(-1, 4, -1, -1)


def edges(plane: Tensor) -> Tensor:
    """The edges control of a premultiplied plane: the largest Sobel magnitude of its four channels
    behind a soft threshold, 0 on flat parts. (B, 4, S, S) premultiplied, white lines on clear."""
    kernel = torch.tensor(
        [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]], device=plane.device
    )
    weight = torch.stack([kernel, kernel.t()])[:, None] / 4
    batch, _, height, width = plane.shape
    lines = F.conv2d(
        F.pad(plane, (1, 1, 1, 1), mode="replicate").reshape(batch * 4, 1, height + 2, width + 2),
        weight,
    )
    strength = (
        lines.square().sum(dim=1).sqrt().reshape(batch, 4, height, width).amax(1, keepdim=True)
    )
    flat = 1 / (1 + math.exp(0.25 * 16))  # the sigmoid where nothing changes
    line = (torch.sigmoid((strength - 0.25) * 16) - flat).clamp(min=0) / (1 - flat)
    return line.clamp(0, 1).expand(-1, 4, -1, -1)
