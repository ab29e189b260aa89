"""Stills that move: clips composed on the training device, fresh every step, with exact truth.

The motion is that of the clip shards (`multiplane.data.clip_motion`): an object walks, hops, leans
and grows over its ground line while the camera pans over a photograph. Every frame is composed as
`multiplane.training.scenes` composes a still.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.data.clip_motion import (
    CameraPath,
    ClipMotion,
    ObjectPath,
    draw_camera,
    draw_object,
)
from multiplane.data.placement import ScenePlacement
from multiplane.models.codecs import Codec
from multiplane.models.planes import over
from multiplane.training.pools import Prompts
from multiplane.training.rows import Row, RowBatch, row_batch
from multiplane.training.scenes import SceneFeed, affine_sample, contact_shadow, lit_by, uniform

# Where an object moves on an empty canvas: large, and never far from the middle.
ALONE = ScenePlacement(ground=(0.86, 0.98), scale=(0.7, 0.95))
ALONE_TRAVEL = (0.0, 0.16)


@dataclass(frozen=True)
class ClipSpan:
    """Which frames of a clip a sample shows: `frames` of them, `stride` apart, the first drawn by
    chance. length: of the whole clip its motion is drawn for. Raises ValueError."""

    frames: int = 8
    stride: int = 1
    length: int = 16

    def __post_init__(self) -> None:
        if min(self.frames, self.stride) < 1 or self.reach > self.length:
            raise ValueError(
                f"{self.frames} frames {self.stride} apart do not fit into a clip of {self.length}"
            )

    @property
    def reach(self) -> int:
        """From the first frame to the last, both counted."""
        return (self.frames - 1) * self.stride + 1

    def times(self, generator: torch.Generator) -> list[float]:
        """Of the frames, in 0..1 of the clip."""
        spare = self.length - self.reach
        first = int(torch.randint(spare + 1, (1,), generator=generator))
        return [(first + i * self.stride) / max(1, self.length - 1) for i in range(self.frames)]


@dataclass(frozen=True)
class MovingScenes:
    """Draws clips from the pools of `feed`. Planes are (B, F, 4, S, S) premultiplied in [0, 1] on
    the feed's device; prompt rows (B,) on CPU."""

    feed: SceneFeed
    motion: ClipMotion = field(default_factory=ClipMotion)

    def alone(
        self, count: int, span: ClipSpan, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Objects that move on an empty canvas: (planes, prompt rows) by role."""
        motion = replace(self.motion, travel=ALONE_TRAVEL)
        rows, paths, mirrored = self._objects(count, ALONE, motion, generator)
        planes = [self._drawn(rows, paths, mirrored, time) for time in span.times(generator)]
        captions = self.feed.caption(self.feed.foregrounds.captions, rows, generator)
        return {"foreground": torch.stack(planes, dim=1)}, {"foreground": captions}

    def scenes(
        self, count: int, span: ClipSpan, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Objects with their contact shadows over panning photographs, as `alone`."""
        feed, place = self.feed, self.feed.placement
        rows, paths, mirrored = self._objects(count, place, self.motion, generator)
        behind = feed.backgrounds.draw(count, generator)
        cameras = [
            draw_camera(rng, self.motion, 1.0, 0.5) for rng in _numpy_generators(count, generator)
        ]
        turned = uniform(count, 0, 1, generator, feed.device) < 0.5
        gain = uniform(count, 0.85, 1.1, generator, feed.device)
        tint = uniform(count, *place.tint, generator, feed.device)
        strength = uniform(count, *place.shadow_strength, generator, feed.device)
        softness = uniform(count, *place.shadow_softness, generator, feed.device)
        frames: list[tuple[Tensor, Tensor]] = []
        for time in span.times(generator):
            background = self._window(behind, cameras, turned, gain, time)
            lit = lit_by(self._drawn(rows, paths, mirrored, time), background, tint)
            box, lift = self._shadow_box(rows, paths, time)
            shadow = contact_shadow(
                box, strength * (1 - 4 * lift).clamp(min=0), softness, feed.size
            )
            frames.append((over(lit, shadow), background))
        foreground, background = (torch.stack(part, dim=1) for part in zip(*frames, strict=True))
        planes = {
            "foreground": foreground,
            "background": background,
            "composite": over(foreground, background),
        }
        captions = {
            "foreground": feed.caption(feed.foregrounds.captions, rows, generator),
            "background": feed.caption(feed.backgrounds.captions, behind, generator),
        }
        return planes, captions

    def _objects(
        self, count: int, place: ScenePlacement, motion: ClipMotion, generator: torch.Generator
    ) -> tuple[Tensor, list[ObjectPath], Tensor]:
        """(asset rows (B,), their paths, mirrored (B,) bool on the device)."""
        feed = self.feed
        rows = feed.foregrounds.draw(count, feed.style_weights, generator)
        boxes = feed.foregrounds.boxes[rows.to(feed.device)]
        aspects = ((boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])).tolist()
        paths = [
            draw_object(rng, motion, aspect, place.ground, place.scale)
            for rng, aspect in zip(_numpy_generators(count, generator), aspects, strict=True)
        ]
        return rows, paths, uniform(count, 0, 1, generator, feed.device) < 0.5

    def _drawn(
        self, rows: Tensor, paths: Sequence[ObjectPath], mirrored: Tensor, time: float
    ) -> Tensor:
        """The objects at one time: (B, 4, S, S) premultiplied."""
        feed = self.feed
        boxes = feed.foregrounds.boxes[rows.to(feed.device)]
        places = [path.at(time) for path in paths]
        wanted = torch.tensor(
            [
                (p.x, path.ground - p.lift, p.height, math.radians(p.angle))
                for p, path in zip(places, paths, strict=True)
            ],
            device=feed.device,
        )
        scale = wanted[:, 2] / (boxes[:, 3] - boxes[:, 1]).clamp(min=0.05)
        foot = torch.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], dim=1)
        matrix = _turned_about_the_foot(foot, wanted, scale, mirrored)
        pictures = feed.foregrounds.premultiplied(rows)
        return affine_sample(pictures, matrix, feed.size).clamp(0, 1)

    def _shadow_box(
        self, rows: Tensor, paths: Sequence[ObjectPath], time: float
    ) -> tuple[Tensor, Tensor]:
        """(boxes (B, 4) that stand on the ground line, lift (B,))."""
        boxes = self.feed.foregrounds.boxes[rows.to(self.feed.device)]
        aspect = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1]).clamp(min=0.05)
        places = [path.at(time) for path in paths]
        x, height, ground, lift = torch.tensor(
            [(p.x, p.height, path.ground, p.lift) for p, path in zip(places, paths, strict=True)],
            device=self.feed.device,
        ).unbind(dim=1)
        half = height * aspect / 2
        return torch.stack([x - half, ground - height, x + half, ground], dim=1), lift

    def _window(
        self,
        rows: Tensor,
        cameras: Sequence[CameraPath],
        mirrored: Tensor,
        gain: Tensor,
        time: float,
    ) -> Tensor:
        """What the cameras see of their crops: (B, 4, S, S) opaque."""
        feed = self.feed
        left, top, side = torch.tensor([c.at(time) for c in cameras], device=feed.device).unbind(1)
        zero = torch.zeros_like(side)
        across = torch.where(mirrored, -side, side)
        matrix = torch.stack(
            [
                torch.stack([across, zero, side + 2 * left - 1], dim=1),
                torch.stack([zero, side, side + 2 * top - 1], dim=1),
            ],
            dim=1,
        )
        crops = feed.backgrounds.pixels[rows.to(feed.device)].float() / 255
        grid = F.affine_grid(matrix, [len(rows), 3, feed.size, feed.size], False)
        color = F.grid_sample(crops, grid, padding_mode="border", align_corners=False)
        color = (color * gain[:, None, None, None]).clamp(0, 1)
        return torch.cat([color, torch.ones_like(color[:, :1])], dim=1)


def _numpy_generators(count: int, generator: torch.Generator) -> list[np.random.Generator]:
    """One of each clip's own, seeded by `generator`."""
    seeds = torch.randint(2**62, (count,), generator=generator).tolist()
    return [np.random.default_rng(seed) for seed in seeds]


def _turned_about_the_foot(foot: Tensor, wanted: Tensor, scale: Tensor, mirrored: Tensor) -> Tensor:
    """(B, 2, 3) output to input coordinates in -1..1. foot: (B, 2) in the picture. wanted: (B, 4)
    of (x, foot, height, radians) on the canvas, in 0..1. scale: (B,). mirrored: (B,) bool."""
    cosine, sine = wanted[:, 3].cos() / scale, wanted[:, 3].sin() / scale
    x, y = 1 - 2 * wanted[:, 0], 1 - 2 * wanted[:, 1]
    sign = torch.where(mirrored, -1.0, 1.0)
    along_x = [sign * cosine, sign * sine, sign * (cosine * x + sine * y) + 2 * foot[:, 0] - 1]
    along_y = [-sine, cosine, -sine * x + cosine * y + 2 * foot[:, 1] - 1]
    return torch.stack([torch.stack(along_x, dim=1), torch.stack(along_y, dim=1)], dim=1)


@dataclass(frozen=True)
class ClipRowFeed:
    """Clips of one split as latents, row by row; the counterpart of `RowFeed` for frames."""

    scenes: MovingScenes
    prompts: Prompts
    codec: Codec

    def draw(self, row: Row, count: int, span: ClipSpan, generator: torch.Generator) -> RowBatch:
        """`count` samples of this row, captions in place, nothing dropped, whole planes given.
        Composed in float32 whatever autocast is on: a grid in bfloat16 moves what it samples by a
        tenth of a pixel and more, another way in every frame. Raises ValueError for a row with a
        control."""
        layout = replace(row.layout, frames=span.frames, stride=span.stride)
        make = self.scenes.alone if row.alone else self.scenes.scenes
        with torch.autocast(self.scenes.feed.device.type, enabled=False):
            planes, captions = make(count, span, generator)
        if absent := [role for role in layout.roles if role not in planes]:
            raise ValueError(f"clips have no {absent[0]}: leave that row out")
        return row_batch(self.codec, self.prompts, row, layout, planes, captions)


def first_frames(given: Tensor, count: int) -> Tensor:
    """given: (B, P, F, h, w) bool. The same with the first `count` frames of every plane given:
    stills, or the end of a clip, to go on from."""
    given = given.clone()
    given[:, :, :count] = True
    return given


def draw_known(frames: int, generator: torch.Generator) -> int:
    """How many first frames a sample is given: one in two of three samples, else up to half."""
    chance, share = torch.rand(2, generator=generator).tolist()
    return 1 if chance < 2 / 3 else 1 + int(share * (frames // 2))
