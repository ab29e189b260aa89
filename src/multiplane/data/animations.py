"""Animated pictures with alpha, read frame by frame on their own clock."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.data.pictures import MAX_PIXELS, UNREADABLE, fit_square
from multiplane.data.shards import BrokenSource

MAX_FRAMES = 600
DEFAULT_MILLISECONDS = 100  # of a frame whose file names no time


@dataclass(frozen=True, eq=False)
class Animation:
    """frames: (S, S, 4) uint8 straight RGBA each, at least one. ends: milliseconds from the start
    at which each frame's turn is over."""

    frames: tuple[NDArray[np.uint8], ...]
    ends: tuple[int, ...]

    def at(self, seconds: Sequence[float]) -> list[NDArray[np.uint8]]:
        """The frames shown at these times of the endless loop."""
        total = self.ends[-1]
        places = (bisect_right(self.ends, (second * 1000) % total) for second in seconds)
        return [self.frames[min(place, len(self.frames) - 1)] for place in places]

    @property
    def seconds(self) -> float:
        """Length of the loop."""
        return self.ends[-1] / 1000

    def visible_box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) around what any frame shows with an alpha above a tenth.
        Raises BrokenSource where nothing shows."""
        shown = np.max([frame[..., 3] for frame in self.frames], axis=0) > 25
        rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            raise BrokenSource("nothing visible in any frame")
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def is_animated(path: Path) -> bool:
    """True for a readable picture of more than one frame."""
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except UNREADABLE:
        return False


@lru_cache(maxsize=1)
def read_animation(path: Path, size: int) -> Animation:
    """Every frame of an animated picture, or the one of a still, on a clear square of `size` px;
    the one read last is kept. Raises BrokenSource when it is missing, damaged, too large or
    opaque."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged just below
            opened = Image.open(path)
        with opened as picture:
            count = getattr(picture, "n_frames", 1)
            if picture.width * picture.height > MAX_PIXELS or count > MAX_FRAMES:
                raise BrokenSource(
                    f"too large: {count} frames of {picture.width} x {picture.height} pixels"
                )
            frames, times = [], []
            for index in range(count):
                picture.seek(index)
                frames.append(np.asarray(fit_square(picture.convert("RGBA"), size)))
                times.append(int(picture.info.get("duration") or DEFAULT_MILLISECONDS))
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise BrokenSource(
            f"{type(error).__name__}: {str(error).replace(str(path), path.name)}"
        ) from error
    if min(float((frame[..., 3] > 247).mean()) for frame in frames) > 0.985:
        raise BrokenSource("no transparency: more than 98.5 % of every frame is opaque")
    return Animation(tuple(frames), tuple(accumulate(times)))
