"""Between the pixels of a request and the square planes a fixed-size model works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multiplane.core.document import Coverage, Pixels
from multiplane.core.pixels import premultiply, resize, to_float, unpremultiply


@dataclass(frozen=True)
class SquareCanvas:
    """A request's canvas laid centred into a square, which is scaled to `native` pixels a side.

    Nothing of the canvas is lost; what a model makes beyond it is cropped away. width, height: the
    request's size."""

    width: int
    height: int
    native: int

    @property
    def side(self) -> int:
        return max(self.width, self.height)

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the canvas in the square."""
        return (self.side - self.width) // 2, (self.side - self.height) // 2

    def _square(self, values: np.ndarray, extend: bool) -> np.ndarray:
        x, y = self.origin
        margins = [(y, self.side - self.height - y), (x, self.side - self.width - x)]
        margins += [(0, 0)] * (values.ndim - 2)
        square = np.pad(values, margins, mode="edge" if extend else "constant")
        return resize(square, (self.native, self.native))

    def inward(self, pixels: Pixels, extend: bool = False) -> np.ndarray:
        """(H, W, 4) straight -> (native, native, 4) float32 premultiplied 0..1. extend: continue
        the border pixels beyond the canvas (backgrounds, composites); otherwise clear."""
        return premultiply(self._square(to_float(pixels), extend))

    def inward_coverage(self, coverage: Coverage) -> np.ndarray:
        """(H, W) -> (native, native) float32 0..1, 0 beyond the canvas."""
        return self._square(to_float(coverage), extend=False)

    def outward(self, premul: np.ndarray) -> np.ndarray:
        """(native, native, 4) premultiplied -> (height, width, 4) float32 straight 0..1."""
        straight = unpremultiply(np.clip(premul, 0, 1).astype(np.float32))
        straight[..., :3] = np.clip(straight[..., :3], 0, 1)
        square = resize(straight, (self.side, self.side))
        x, y = self.origin
        return np.ascontiguousarray(square[y : y + self.height, x : x + self.width])
