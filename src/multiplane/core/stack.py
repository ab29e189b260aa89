"""A stack of planes, for a block of pixels: an opaque background and foregrounds over it, the
lowest first.

What a plane's colour adds to the picture is its weight: its alpha times what those above it let
through. The weights of a pixel sum to 1. Everything is 0..1, but pixels end on the 8-bit grid; half
a step of that grid is the error recomposition aims at, a whole one the error allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float

Flags: TypeAlias = NDArray[np.bool_]

STEP = 1.0 / 255.0
HALF_STEP = 0.5 * STEP


@dataclass
class Sheet:
    """One plane of a block. color: (h, w, 3). alpha: (h, w). free: (h, w), where it may change.
    The background's alpha is 1 and stays 1."""

    color: Float
    alpha: Float
    free: Flags

    def at(self, where: Flags | NDArray[np.intp]) -> Sheet:
        """Its pixels where a flag is set, or at these places of a row, in a row: color (n, 3),
        alpha and free (n,). A copy."""
        return Sheet(self.color[where], self.alpha[where], self.free[where])


@dataclass(frozen=True)
class Room:
    """Where a colour may go. low, high: (h, w, 3), or one number for all of it."""

    low: Float | float = 0.0
    high: Float | float = 1.0

    def is_spent(self, color: Float, d: Float) -> Flags:
        """Where the colour cannot go further the way of d."""
        return ((color >= self.high) & (d > 0.0)) | ((color <= self.low) & (d < 0.0))


ANYWHERE = Room()


def weights(stack: Sequence[Sheet]) -> list[Float]:
    """(h, w) a sheet: how much of its colour reaches the picture."""
    light = np.ones_like(stack[0].alpha)
    result: list[Float] = []
    for sheet in reversed(stack):
        result.append(light * sheet.alpha)
        light = light * (1.0 - sheet.alpha)
    return result[::-1]


def picture_of(stack: Sequence[Sheet]) -> Float:
    """(h, w, 3): the stack, composited."""
    return _laid([sheet.color for sheet in stack], stack)


def _laid(colors: Sequence[Float], stack: Sequence[Sheet]) -> Float:
    picture = colors[0]
    for color, sheet in zip(colors[1:], stack[1:], strict=True):
        picture = np.add(picture, sheet.alpha[..., None] * (color - picture), dtype=np.float32)
    return picture


def around(
    stack: Sequence[Sheet], index: int, colors: Sequence[Float] | None = None
) -> tuple[Float, Float, Float]:
    """(front, light, below) of foreground `index`: what lies over it adds `front`, (h, w, 3), and
    lets `light`, (h, w, 1), through; under it lies `below`, (h, w, 3). The picture is front + light
    (a F + (1 - a) below). colors: one (h, w, 3) a sheet, taken in place of the sheets' own."""
    colors = [sheet.color for sheet in stack] if colors is None else colors
    front, light = np.zeros_like(colors[index]), np.ones_like(stack[index].alpha)[..., None]
    for sheet, color in zip(stack[:index:-1], colors[:index:-1], strict=True):
        alpha = sheet.alpha[..., None]
        front += light * alpha * color
        light = light * (np.float32(1.0) - alpha)
    return front, light, _laid(colors[:index], stack[:index])


def folded(fold: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
    """(..., 3) -> (...): np.maximum, np.logical_and or their like over the three channels, in a
    fraction of the time that `fold.reduce` takes along them."""
    return fold(fold(values[..., 0], values[..., 1]), values[..., 2])


def to_grid(values: Float) -> Float:
    """The nearest 8-bit values, still as 0..1."""
    return np.rint(np.clip(values, 0.0, 1.0) * np.float32(255.0)) * np.float32(STEP)
