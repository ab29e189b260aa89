"""The plate of a key frame, finished, and laid behind another frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float
from multiplane.io.atomic import replacing
from multiplane.pipelines.cutout.complete import Completion
from multiplane.pipelines.cutout.footage.align import Matrix
from multiplane.pipelines.cutout.footage.gather import Samples
from multiplane.pipelines.cutout.footage.keys import Box
from multiplane.pipelines.cutout.plate import clean_plate

Flags = NDArray[np.bool_]
_WHOLE = 0.999  # of a pixel that must come from inside when a picture is laid on another


@dataclass(frozen=True, eq=False)
class Plate:
    """origin: (left, top) on its key's plane. colour: (h, w, 3) 0..1. seen: (h, w), gathered from
    frames; the rest is completed."""

    origin: tuple[int, int]
    colour: Float
    seen: Flags

    def save(self, path: Path) -> None:
        """Write it as one file, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, origin=np.array(self.origin), colour=self.colour, seen=self.seen)

    @classmethod
    def load(cls, path: Path) -> Plate:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            left, top = (int(value) for value in kept["origin"])
            return cls((left, top), kept["colour"], kept["seen"])


def add_frame(
    samples: Samples,
    canvas: Box,
    pixels: NDArray[Any],
    free: Flags,
    matrix: Matrix,
    number: int,
) -> None:
    """Add what frame `number` shows of the background to the samples of a key's canvas.

    pixels: (H, W, 3). free: (H, W), where it is background. matrix: its pixels -> the key's."""
    import cv2

    size = (canvas[2] - canvas[0], canvas[3] - canvas[1])
    onto = _shift(canvas[:2]) @ matrix
    laid = cv2.warpPerspective(pixels, onto, size, flags=cv2.INTER_CUBIC)
    inside = cv2.warpPerspective(free.astype(np.float32), onto, size, flags=cv2.INTER_LINEAR)
    samples.add(laid, np.asarray(inside) > _WHOLE, number)


def finished(
    samples: Samples,
    canvas: Box,
    before: Plate | None,
    link: Matrix | None,
    method: Completion,
    threads: int,
) -> Plate:
    """The plate of what was gathered. Where no frame shows it, the plate of the key before goes on
    (link: this key's pixels -> that one's), and what that does not know either is completed.

    Raises ValueError when nothing of the background is known at all, and as `complete_background`.
    """
    enough = 1 if int(samples.count.max(initial=0)) < 4 else 2
    seen = samples.count >= enough
    colour = samples.median()
    known = seen.copy()
    if before is not None and link is not None and not seen.all():
        size = (seen.shape[1], seen.shape[0])
        laid = _laid(before, link @ np.linalg.inv(_shift(canvas[:2])), size)
        gap = ~seen & laid.known
        colour[gap] = laid.colour[gap]
        known |= gap
    if not known.any():
        raise ValueError(
            "the subject hides the whole background in all frames of a shot: nothing is left to "
            "complete it from"
        )
    if not known.all():
        unknown = (~known).astype(np.float32)
        colour = clean_plate(colour, unknown, colour, method, threads)
    return Plate((canvas[0], canvas[1]), colour, seen)


@dataclass(frozen=True, eq=False)
class Laid:
    """A plate behind a frame. colour: (H, W, 3). known: (H, W), where there is one. seen: where it
    was gathered from frames, not made up."""

    colour: Float
    known: Flags
    seen: Flags


def _laid(plate: Plate, matrix: Matrix, size: tuple[int, int]) -> Laid:
    import cv2

    onto = _shift(plate.origin) @ matrix
    back = cv2.WARP_INVERSE_MAP
    colour = cv2.warpPerspective(
        plate.colour, onto, size, flags=cv2.INTER_CUBIC | back, borderMode=cv2.BORDER_REPLICATE
    )
    whole = np.ones(plate.seen.shape, np.float32)
    known = cv2.warpPerspective(whole, onto, size, flags=cv2.INTER_LINEAR | back)
    seen = cv2.warpPerspective(
        plate.seen.astype(np.float32), onto, size, flags=cv2.INTER_LINEAR | back
    )
    clipped = np.clip(np.asarray(colour, np.float32), 0.0, 1.0)
    return Laid(clipped, np.asarray(known) > _WHOLE, np.asarray(seen) > _WHOLE)


def laid_behind(plates: Sequence[tuple[Plate, Matrix, float]], box: Box) -> Laid:
    """The plates behind the part `box` of a frame, mixed by weight where they are known; what was
    seen goes before what was made up. Each with its matrix: frame's pixels -> key's."""
    size = (box[2] - box[0], box[3] - box[1])
    part_of = np.linalg.inv(_shift(box[:2]))
    parts = [(_laid(plate, matrix @ part_of, size), weight) for plate, matrix, weight in plates]
    shape = (size[1], size[0])
    if not parts:
        nothing = np.zeros(shape, bool)
        return Laid(np.zeros((*shape, 3), np.float32), nothing, nothing)
    if len(parts) == 1:
        return parts[0][0]
    colour = np.zeros((*shape, 3), np.float32)
    total = np.zeros((*shape, 1), np.float32)
    for part, weight in parts:
        share = np.where(part.seen, 1.0, np.where(part.known, 1e-3, 0.0)) * max(weight, 1e-3)
        colour += share[..., None].astype(np.float32) * part.colour
        total += share[..., None].astype(np.float32)
    known = parts[0][0].known | parts[1][0].known
    seen = parts[0][0].seen | parts[1][0].seen
    mean: Float = np.divide(colour, np.maximum(total, 1e-9), dtype=np.float32)
    return Laid(mean, known, seen)


def _shift(corner: tuple[int, int] | Sequence[int]) -> Matrix:
    """The homography to a canvas whose top left corner lies at `corner`."""
    left, top = corner
    return np.array([(1, 0, -left), (0, 1, -top), (0, 0, 1)], np.float64)
