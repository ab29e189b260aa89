"""Blend modes: one function a mode, `mode(backdrop, source) -> blended`, and `BLEND_MODES`.

Arguments and results are float32 of shape (3, ...), red, green, blue in 0..1, never premultiplied
(Cb and Cs of the formulas). A function answers what the colour is where both backdrop and source
are opaque; `multiplane.core.composite` mixes by alpha.

[W3C]: Compositing and Blending Level 1, sections 10.1 and 10.2. Adobe means the description of
the mode in the Photoshop reference; its formula in the PDF Reference where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float: TypeAlias = NDArray[np.float32]
BlendFunction: TypeAlias = Callable[[Float, Float], Float]

# Colours that passed through soft alpha come back within a few float32 steps of what they were.
# Where a formula jumps at Cb = 1 or Cb + Cs = 1, this much short of it counts as reached.
_NEAR = np.float32(1e-6)
_TINY = np.float32(1e-30)  # keeps a division by zero finite where its result is not used


# --- separable modes -------------------------------------------------------------------------


def normal(backdrop: Float, source: Float) -> Float:
    """B = Cs. [W3C 10.1.1]"""
    return source


def multiply(backdrop: Float, source: Float) -> Float:
    """B = Cb Cs. [W3C 10.1.2]"""
    return backdrop * source


def screen(backdrop: Float, source: Float) -> Float:
    """B = Cb + Cs - Cb Cs. [W3C 10.1.3]"""
    blended = np.subtract(1.0, backdrop)
    blended *= source
    blended += backdrop
    return blended


def overlay(backdrop: Float, source: Float) -> Float:
    """B = hard_light with the two exchanged. [W3C 10.1.4]"""
    return hard_light(source, backdrop)


def darken(backdrop: Float, source: Float) -> Float:
    """B = min(Cb, Cs). [W3C 10.1.5]"""
    return np.minimum(backdrop, source)


def lighten(backdrop: Float, source: Float) -> Float:
    """B = max(Cb, Cs). [W3C 10.1.6]"""
    return np.maximum(backdrop, source)


def color_dodge(backdrop: Float, source: Float) -> Float:
    """B = 0 if Cb = 0, 1 if Cs = 1, else min(1, Cb / (1 - Cs)). [W3C 10.1.7]"""
    rest = np.subtract(1.0, source)
    np.maximum(rest, _TINY, out=rest)
    np.divide(backdrop, rest, out=rest)
    return np.minimum(rest, 1.0, out=rest)


def color_burn(backdrop: Float, source: Float) -> Float:
    """B = 1 if Cb = 1, 0 if Cs = 0, else 1 - min(1, (1 - Cb) / Cs). [W3C 10.1.8]"""
    rest = np.subtract(1.0, backdrop)
    rest[rest <= _NEAR] = 0.0
    rest /= np.maximum(source, _TINY)
    np.minimum(rest, 1.0, out=rest)
    return np.subtract(1.0, rest, out=rest)


def hard_light(backdrop: Float, source: Float) -> Float:
    """B = multiply(Cb, 2 Cs) if Cs <= 1/2, else screen(Cb, 2 Cs - 1). [W3C 10.1.9]

    Both arms as one: with p = Cb Cs, min(Cs, 1/2) and max(Cs, 1/2) split 2 Cs into the part that
    multiplies and the part that screens."""
    doubled = source + source
    excess = np.maximum(doubled, 1.0)
    excess -= 1.0
    np.minimum(doubled, 1.0, out=doubled)
    blended = np.multiply(backdrop, doubled, out=doubled)
    # screen(m, excess) where m = Cb once 2 Cs passes 1
    excess *= 1.0 - blended
    blended += excess
    return blended


def soft_light(backdrop: Float, source: Float) -> Float:
    """B = Cb - (1 - 2 Cs) Cb (1 - Cb) if Cs <= 1/2, else Cb + (2 Cs - 1)(D(Cb) - Cb), with
    D(x) = ((16 x - 12) x + 4) x if x <= 1/4, else sqrt(x). [W3C 10.1.10]"""
    quartic = ((16.0 * backdrop - 12.0) * backdrop + 4.0) * backdrop
    lifted = np.where(backdrop <= 0.25, quartic, np.sqrt(np.maximum(backdrop, 0.0)))
    slope = np.where(source <= 0.5, backdrop * (1.0 - backdrop), lifted - backdrop)
    slope *= source + source - 1.0
    slope += backdrop
    return slope


def difference(backdrop: Float, source: Float) -> Float:
    """B = |Cb - Cs|. [W3C 10.1.11]"""
    blended = np.subtract(backdrop, source)
    return np.abs(blended, out=blended)


def exclusion(backdrop: Float, source: Float) -> Float:
    """B = Cb + Cs - 2 Cb Cs. [W3C 10.1.12]"""
    blended = 1.0 - (source + source)
    blended *= backdrop
    blended += source
    return blended


def linear_dodge(backdrop: Float, source: Float) -> Float:
    """B = min(1, Cb + Cs). Adobe, Linear Dodge (Add)."""
    blended = backdrop + source
    return np.minimum(blended, 1.0, out=blended)


def linear_burn(backdrop: Float, source: Float) -> Float:
    """B = max(0, Cb + Cs - 1). Adobe, Linear Burn."""
    blended = backdrop + source
    blended -= 1.0
    return np.maximum(blended, 0.0, out=blended)


def vivid_light(backdrop: Float, source: Float) -> Float:
    """B = burn(Cb, 2 Cs) if Cs <= 1/2, else dodge(Cb, 2 Cs - 1). Adobe, Vivid Light.

    At the ends the source decides whatever the backdrop is: Cs = 0 gives 0 and Cs = 1 gives 1, as
    Photoshop renders it, unlike color_burn and color_dodge alone."""
    burnt = 1.0 - (1.0 - backdrop) / np.maximum(source + source, _TINY)
    burnt[source <= 0.0] = 0.0
    rest = 2.0 - (source + source)
    dodged = backdrop / np.maximum(rest, _TINY)
    dodged[rest <= 0.0] = 1.0
    return np.where(source <= 0.5, np.maximum(burnt, 0.0), np.minimum(dodged, 1.0))


def linear_light(backdrop: Float, source: Float) -> Float:
    """B = Cb + 2 Cs - 1, clipped to 0..1. Adobe, Linear Light."""
    blended = source + source
    blended -= 1.0
    blended += backdrop
    return np.clip(blended, 0.0, 1.0, out=blended)


def pin_light(backdrop: Float, source: Float) -> Float:
    """B = min(Cb, 2 Cs) if Cs <= 1/2, else max(Cb, 2 Cs - 1). Adobe, Pin Light."""
    doubled = source + source
    blended = np.minimum(backdrop, doubled)
    doubled -= 1.0
    return np.maximum(blended, doubled, out=blended)


def hard_mix(backdrop: Float, source: Float) -> Float:
    """B = 1 if Cb + Cs >= 1, else 0. Adobe, Hard Mix."""
    return np.greater_equal(backdrop + source, 1.0 - _NEAR).astype(np.float32)


def subtract(backdrop: Float, source: Float) -> Float:
    """B = max(0, Cb - Cs). Adobe, Subtract."""
    blended = np.subtract(backdrop, source)
    return np.maximum(blended, 0.0, out=blended)


def divide(backdrop: Float, source: Float) -> Float:
    """B = min(1, Cb / Cs), and 0 where both are 0. Adobe, Divide."""
    blended = backdrop / np.maximum(source, _TINY)
    return np.minimum(blended, 1.0, out=blended)


# --- non-separable modes ---------------------------------------------------------------------


def _lum(color: Float) -> Float:
    """Lum(C) = 0.3 R + 0.59 G + 0.11 B. [W3C 10.2]"""
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def _low_and_high(color: Float) -> tuple[Float, Float]:
    low = np.minimum(np.minimum(color[0], color[1]), color[2])
    high = np.maximum(np.maximum(color[0], color[1]), color[2])
    return low, high


def _sat(color: Float) -> Float:
    """Sat(C) = max(R, G, B) - min(R, G, B). [W3C 10.2]"""
    low, high = _low_and_high(color)
    return high - low


def _set_lum(color: Float, lum: Float) -> Float:
    """SetLum(C, l) with ClipColor. [W3C 10.2]

    A colour inside 0..1 moved to a luminosity inside 0..1 can leave at one end only, so the two
    clips of ClipColor are one scale about l."""
    offset = color - _lum(color)  # from the grey axis; C + d = l + offset
    low, high = _low_and_high(offset)
    scale = np.minimum(lum / np.maximum(-low, _TINY), (1.0 - lum) / np.maximum(high, _TINY))
    np.minimum(scale, 1.0, out=scale)
    offset *= scale
    offset += lum
    return np.clip(offset, 0.0, 1.0, out=offset)


def _set_sat(color: Float, sat: Float) -> Float:
    """SetSat(C, s): the least channel to 0, the greatest to s, the middle in proportion.
    [W3C 10.2]"""
    low, high = _low_and_high(color)
    spread = high - low
    scale = np.where(spread > 0.0, sat / np.maximum(spread, _TINY), 0.0)
    return (color - low) * scale


def hue(backdrop: Float, source: Float) -> Float:
    """B = SetLum(SetSat(Cs, Sat(Cb)), Lum(Cb)). [W3C 10.2.1]"""
    return _set_lum(_set_sat(source, _sat(backdrop)), _lum(backdrop))


def saturation(backdrop: Float, source: Float) -> Float:
    """B = SetLum(SetSat(Cb, Sat(Cs)), Lum(Cb)). [W3C 10.2.2]"""
    return _set_lum(_set_sat(backdrop, _sat(source)), _lum(backdrop))


def color(backdrop: Float, source: Float) -> Float:
    """B = SetLum(Cs, Lum(Cb)). [W3C 10.2.3]"""
    return _set_lum(source, _lum(backdrop))


def luminosity(backdrop: Float, source: Float) -> Float:
    """B = SetLum(Cb, Lum(Cs)). [W3C 10.2.4]"""
    return _set_lum(backdrop, _lum(source))


def darker_color(backdrop: Float, source: Float) -> Float:
    """B = whichever of the two has the lower Lum, whole; Cb when equal. Adobe, Darker Color."""
    return np.where(_lum(source) < _lum(backdrop), source, backdrop)


def lighter_color(backdrop: Float, source: Float) -> Float:
    """B = whichever of the two has the higher Lum, whole; Cb when equal. Adobe, Lighter Color."""
    return np.where(_lum(source) > _lum(backdrop), source, backdrop)


BLEND_MODES: dict[str, BlendFunction] = {
    mode.__name__.replace("_", "-"): mode
    for mode in (
        normal,
        darken,
        multiply,
        color_burn,
        linear_burn,
        darker_color,
        lighten,
        screen,
        color_dodge,
        linear_dodge,
        lighter_color,
        overlay,
        soft_light,
        hard_light,
        vivid_light,
        linear_light,
        pin_light,
        hard_mix,
        difference,
        exclusion,
        subtract,
        divide,
        hue,
        saturation,
        color,
        luminosity,
    )
}
