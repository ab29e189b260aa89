"""The clean plate gathered: of every pixel some of the values it had while it was seen, and their
median. The memory is that of a few frames, however long the footage is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Pixels
from multiplane.core.pixels import Float, full_scale

Flags = NDArray[np.bool_]

SLOTS = 24  # values of a pixel that are kept
_ROWS = 64


class Samples:
    """Values (h, w, 3) of one dtype seen at different times; at most `slots` of each pixel are
    kept, a fair draw of all there were (reservoir sampling), by seed."""

    def __init__(
        self, shape: tuple[int, int], dtype: np.dtype[Any], slots: int = SLOTS, seed: int = 0
    ) -> None:
        self.kept: NDArray[Any] = np.zeros((slots, *shape, 3), dtype)
        self.count = np.zeros(shape, np.int32)
        self._slots, self._seed = slots, seed

    def add(self, pixels: Pixels, seen: Flags, number: int) -> None:
        """pixels: (h, w, 3). seen: (h, w), where they show the background. number: of the frame,
        which with the seed decides what is kept."""
        rows, columns = np.nonzero(seen)
        if not len(rows):
            return
        before = self.count[rows, columns]
        self.count[rows, columns] = before + 1
        # one draw a frame: neighbours that were seen as often keep the same frames, without speckle
        draw = np.random.default_rng([self._seed, number]).random()
        slot = np.where(before < self._slots, before, (draw * (before + 1)).astype(np.int64))
        kept = slot < self._slots
        rows, columns, slot = rows[kept], columns[kept], slot[kept]
        self.kept[slot, rows, columns] = pixels[rows, columns]

    def median(self) -> Float:
        """(h, w, 3) 0..1: of what is kept, channel by channel; 0 where nothing was seen."""
        slots, height, width = self.kept.shape[:3]
        top = full_scale(self.kept.dtype)
        result = np.zeros((height, width, 3), np.float32)
        for start in range(0, height, _ROWS):
            part = slice(start, start + _ROWS)
            count = np.minimum(self.count[part], slots)
            empty = np.arange(slots)[:, None, None] >= count
            values = np.where(empty[..., None], self.kept.dtype.type(top), self.kept[:, part])
            values.sort(axis=0)
            middle = np.maximum(count, 1)
            low = np.take_along_axis(values, ((middle - 1) // 2)[None, ..., None], axis=0)[0]
            high = np.take_along_axis(values, (middle // 2)[None, ..., None], axis=0)[0]
            mean = (low.astype(np.float32) + high.astype(np.float32)) / np.float32(2 * top)
            result[part] = np.where((count > 0)[..., None], mean, np.float32(0.0))
        return result
