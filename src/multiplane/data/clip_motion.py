"""How an object moves through a clip and how the camera moves over its photograph.

Everything is a smooth function of the time 0..1 of the clip and in shares of the canvas, so one
draw is the same clip at any size and any number of frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipMotion:
    """Ranges a clip draws from, uniformly; distances are shares of the canvas over the whole clip.

    travel: of the object, to either side. hop: height of its jumps; hops: how many, 0 for none.
    sway: degrees it leans to both sides. growth: its last size over its first. pan: of the camera,
    to either side. zoom: the last window over the first. still_camera: share of clips whose camera
    stands."""

    travel: tuple[float, float] = (0.1, 0.5)
    hop: tuple[float, float] = (0.03, 0.14)
    hops: tuple[int, int] = (0, 2)
    sway: tuple[float, float] = (0.0, 9.0)
    growth: tuple[float, float] = (0.85, 1.18)
    pan: tuple[float, float] = (0.1, 0.45)
    zoom: tuple[float, float] = (0.88, 1.1)
    still_camera: float = 0.15

    def __post_init__(self) -> None:
        ranges = (self.travel, self.hop, self.hops, self.sway, self.growth, self.pan, self.zoom)
        if any(low > high for low, high in ranges) or not 0 <= self.still_camera <= 1:
            raise ValueError(f"ranges run from low to high and shares lie in 0..1, got {self}")


@dataclass(frozen=True)
class ObjectPath:
    """start, end: the middle of the object's foot. ground: its foot line. height: of its visible
    box at first. The rest as in `ClipMotion`; phase: of the sway, in turns."""

    start: float
    end: float
    ground: float
    height: float
    growth: float
    hop: float
    hops: int
    sway: float
    phase: float

    def at(self, time: float) -> ObjectPlace:
        """Where it is at a time in 0..1."""
        lift = self.hop * abs(math.sin(math.pi * self.hops * time)) if self.hops else 0.0
        angle = self.sway * math.sin(2 * math.pi * (time + self.phase))
        height = self.height * self.growth**time
        return ObjectPlace(self.start + (self.end - self.start) * time, lift, height, angle)


@dataclass(frozen=True)
class ObjectPlace:
    """x: the middle of the foot. lift: how far the foot is above the ground line. height: of the
    visible box. angle: degrees it leans, turning about its foot."""

    x: float
    lift: float
    height: float
    angle: float


@dataclass(frozen=True)
class CameraPath:
    """The square window over a photograph, in shares of the photograph's height: its left, top
    and side at the first frame and at the last."""

    first: tuple[float, float, float]
    last: tuple[float, float, float]

    def at(self, time: float) -> tuple[float, float, float]:
        """(left, top, side) at a time in 0..1."""
        left, top, side = (a + (b - a) * time for a, b in zip(self.first, self.last, strict=True))
        return left, top, side


def draw_object(
    rng: np.random.Generator,
    motion: ClipMotion,
    aspect: float,
    ground: tuple[float, float],
    scale: tuple[float, float],
) -> ObjectPath:
    """A path for a box `aspect` times as wide as high; ground, scale: see `ScenePlacement`. The
    object stays on the canvas, its middle at least."""
    height = float(rng.uniform(*scale)) * 0.85  # room for hops and growth
    height = min(height, 0.8 / max(aspect, 0.5))
    travel = float(rng.uniform(*motion.travel)) * (1 if rng.random() < 0.5 else -1)
    middle = 0.5 + float(rng.uniform(-0.12, 0.12))
    start, end = (float(np.clip(middle + travel * side, 0.12, 0.88)) for side in (-0.5, 0.5))
    return ObjectPath(
        start=start,
        end=end,
        ground=float(rng.uniform(*ground)),
        height=height,
        growth=float(rng.uniform(*motion.growth)),
        hop=float(rng.uniform(*motion.hop)),
        hops=int(rng.integers(motion.hops[0], motion.hops[1] + 1)),
        sway=float(rng.uniform(*motion.sway)),
        phase=float(rng.random()),
    )


def draw_camera(
    rng: np.random.Generator, motion: ClipMotion, width: float, horizon: float
) -> CameraPath:
    """A window path inside a photograph `width` times as wide as high, its horizon above the
    middle of the window as far as the photograph allows."""
    side = min(float(rng.uniform(0.6, 0.85)), width)
    moves = rng.random() >= motion.still_camera
    last = min(side * (float(rng.uniform(*motion.zoom)) if moves else 1.0), width, 1.0)
    widest = max(side, last)
    pan = float(rng.uniform(*motion.pan)) * side * moves
    pan = min(pan, width - widest)
    left = float(rng.uniform(0, width - widest - pan))
    ends = (left, left + pan) if rng.random() < 0.5 else (left + pan, left)
    highest = float(np.clip(horizon - 0.6 * widest, 0, 1 - widest))
    top = float(rng.uniform(highest, 1 - widest))
    return CameraPath((ends[0], top, side), (ends[1], top, last))
