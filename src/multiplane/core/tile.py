"""One tile of a composition: the `Canvas` being painted, the `Source` painted onto it.

Planes are channels-first float32 so that every operation runs over contiguous memory. A canvas
holds premultiplied colour, because nothing must be divided to paint on it in normal mode; a source
holds straight colour, because blend functions want it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Layer, Mask
from multiplane.core.pixels import Curve, Float, alpha_range, read_plane, to_float
from multiplane.core.window import Window, window_of

_TINY = np.float32(1e-12)  # divides colour where alpha is 0; that colour is never used


@dataclass
class Canvas:
    """premul_color: (3, h, w). alpha: (h, w). Both cover `window`. is_clear: nothing is painted."""

    window: Window
    premul_color: Float
    alpha: Float
    is_clear: bool = True

    @classmethod
    def clear(cls, window: Window) -> Canvas:
        shape = (window.height, window.width)
        return cls(window, np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32))

    def copy(self) -> Canvas:
        return Canvas(self.window, self.premul_color.copy(), self.alpha.copy(), self.is_clear)

    def straight_color(self) -> Float:
        """(3, h, w), 0 where alpha is 0."""
        return _divide(self.premul_color, self.alpha)


def _divide(premul_color: Float, alpha: Float) -> Float:
    return np.divide(premul_color, np.maximum(alpha, _TINY), dtype=np.float32)


@dataclass
class Source:
    """color: (3, h, w) straight. alpha: (h, w), opacity and mask multiplied in. Both are this
    source's own to write to, and cover `window`."""

    window: Window
    color: Float
    alpha: Float


class Glimpse(NamedTuple):
    """The part of a layer to read: its `window`, and whether all of it is opaque as stored."""

    window: Window
    is_full: bool


def glimpse(layer: Layer, window: Window) -> Glimpse | None:
    """The part of a layer that lies in `window`, or None when nothing of it shows there."""
    stored = window_of(layer)
    window = window.intersect(stored)
    if window.is_empty or layer.opacity == 0.0:
        return None
    pixels = layer.pixels[window.within(stored)]
    least, greatest = alpha_range(pixels)
    return None if greatest <= 0.0 else Glimpse(window, least >= 1.0)


def hides_below(layer: Layer, seen: Glimpse, window: Window) -> bool:
    """Whether the layer alone decides every pixel of `window`."""
    is_masked = layer.mask is not None and layer.mask.enabled
    is_plain = layer.blend == "normal" and layer.opacity == 1.0 and not is_masked
    return is_plain and seen.is_full and seen.window == window


def read_layer(layer: Layer, seen: Glimpse, curve: Curve | None) -> Source:
    """The part of a layer that was glimpsed, its colour sent through `curve` if there is one."""
    pixels = layer.pixels[seen.window.within(window_of(layer))]
    color = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        read_plane(pixels, channel, color[channel], curve)
    alpha = np.ones(pixels.shape[:2], np.float32)
    if not seen.is_full:
        read_plane(pixels, 3, alpha)
    cover(alpha, seen.window, layer.opacity, layer.mask)
    return Source(seen.window, color, alpha)


def cover(alpha: Float, window: Window, opacity: float, mask: Mask | None) -> None:
    """Multiply opacity and mask into an alpha plane over `window`, in place."""
    if opacity != 1.0:
        alpha *= np.float32(opacity)
    if mask is None or not mask.enabled:
        return
    stored = window_of(mask)
    inner = window.intersect(stored)
    if inner.is_empty:
        alpha *= np.float32(mask.outside)
        return
    coverage = np.full(alpha.shape, mask.outside, np.float32)
    coverage[inner.within(window)] = to_float(mask.pixels[inner.within(stored)])
    alpha *= coverage


def blend_onto(canvas: Canvas, source: Source, mode: str) -> None:
    """Paint a source on a canvas. Uses the source up: its colour holds scratch values after.

    With P = ab Cb, the formula at the head of `multiplane.core.composite` is
    P += as (M - P), M = Cs + ab (B(Cb, Cs) - Cs); ab += as (1 - ab)."""
    at = source.window.within(canvas.window)
    backdrop, backdrop_alpha = canvas.premul_color[(slice(None), *at)], canvas.alpha[at]
    color, alpha = source.color, source.alpha
    if canvas.is_clear:
        canvas.is_clear = False
        np.multiply(color, alpha, out=backdrop)
        backdrop_alpha[...] = alpha
        return
    is_opaque = bool(backdrop_alpha.min() >= 1.0)
    if mode != "normal" and backdrop_alpha.max() > 0.0:
        blend = BLEND_MODES[mode]
        if is_opaque:
            color = blend(backdrop, color)
        else:
            straight = _divide(backdrop, backdrop_alpha)
            blended = blend(straight, color)
            blended -= color
            blended *= backdrop_alpha
            color += blended
    if alpha.min() >= 1.0:
        backdrop[...] = color
    else:
        color -= backdrop
        color *= alpha
        backdrop += color
    if not is_opaque:
        alpha -= alpha * backdrop_alpha
        backdrop_alpha += alpha


def clip_onto(base: Source, clipped: Source, mode: str) -> None:
    """Paint a clipped source on the colour of its base, whose alpha stays. Uses `clipped` up.

    The base's colour counts as opaque wherever the base is: C += as (B(C, Cs) - C)."""
    at = clipped.window.within(base.window)
    backdrop = base.color[(slice(None), *at)]
    color = BLEND_MODES[mode](backdrop, clipped.color)
    color -= backdrop
    color *= clipped.alpha
    backdrop += color
