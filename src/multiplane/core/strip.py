"""One strip of a composition: the `Canvas` being painted, the `Source` painted onto it.

Planes are channels-first float32 so that every operation runs over contiguous memory. A canvas
holds premultiplied colour, because nothing must be divided to paint on it in normal mode; a source
holds straight colour, because blend functions want it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Layer, Mask
from multiplane.core.pixels import Curve, Float, curve_table, full_scale
from multiplane.core.window import Window, window_of

_TINY = np.float32(1e-12)  # divides colour where alpha is 0; that colour is never used


@dataclass
class Canvas:
    """premul_color: (3, h, w). alpha: (h, w). Both cover `window`."""

    window: Window
    premul_color: Float
    alpha: Float

    @classmethod
    def clear(cls, window: Window) -> Canvas:
        shape = (window.height, window.width)
        return cls(window, np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32))

    def copy(self) -> Canvas:
        return Canvas(self.window, self.premul_color.copy(), self.alpha.copy())

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


def read_layer(layer: Layer, window: Window, curve: Curve | None) -> Source | None:
    """The part of a layer that shows in `window`, or None when nothing does."""
    stored = window_of(layer)
    window = window.intersect(stored)
    if window.is_empty or layer.opacity == 0.0:
        return None
    alpha = _read_plane(layer.pixels[(*window.within(stored), 3)])
    cover(alpha, window, layer.opacity, layer.mask)
    shown = _shown_part(alpha, window)
    if shown.is_empty:
        return None
    rows, columns = shown.within(window)
    pixels = layer.pixels[shown.within(stored)]
    color = np.empty((3, shown.height, shown.width), np.float32)
    for channel in range(3):
        _read_plane(pixels[..., channel], curve, out=color[channel])
    return Source(shown, color, alpha[rows, columns])


def _read_plane(
    values: NDArray[Any], curve: Curve | None = None, out: Float | None = None
) -> Float:
    """(h, w) stored values -> contiguous float32 0..1, through `curve` if there is one."""
    if out is None:
        out = np.empty(values.shape, np.float32)
    scale = full_scale(values.dtype)
    if curve is None:
        np.copyto(out, values, casting="unsafe")
        if scale != 1:
            out /= np.float32(scale)
    elif scale != 1:
        np.take(curve_table(curve, values.dtype), values, out=out, mode="clip")
    else:
        np.copyto(out, curve(values.astype(np.float32, copy=False)))
    return out


def _shown_part(alpha: Float, window: Window) -> Window:
    """The rows and columns of `window` outside of which alpha is 0."""
    rows = np.flatnonzero(alpha.max(axis=1) > 0.0)
    if rows.size == 0:
        return Window(window.left, window.top, window.left, window.top)
    columns = np.flatnonzero(alpha.max(axis=0) > 0.0)
    return Window(
        window.left + int(columns[0]),
        window.top + int(rows[0]),
        window.left + int(columns[-1]) + 1,
        window.top + int(rows[-1]) + 1,
    )


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
    coverage[inner.within(window)] = _read_plane(mask.pixels[inner.within(stored)])
    alpha *= coverage


def blend_onto(canvas: Canvas, source: Source, mode: str) -> None:
    """Paint a source on a canvas. Uses the source up: its colour holds scratch values after.

    With P = ab Cb, the formula at the head of `multiplane.core.composite` is
    P += as (M - P), M = Cs + ab (B(Cb, Cs) - Cs); ab += as (1 - ab)."""
    at = source.window.within(canvas.window)
    backdrop, backdrop_alpha = canvas.premul_color[(slice(None), *at)], canvas.alpha[at]
    color, alpha = source.color, source.alpha
    is_opaque = bool(backdrop_alpha.min() >= 1.0)
    if mode != "normal" and backdrop_alpha.max() > 0.0:
        blend = BLEND_MODES[mode]
        if is_opaque:
            color = blend(backdrop, color)
        else:
            straight = _divide(backdrop, backdrop_alpha)
            np.minimum(straight, 1.0, out=straight)
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
