"""How little planes must change so that they add up to a picture: the arithmetic of
`multiplane.core.recompose`, for a block of pixels.

A stack is an opaque background and foregrounds over it, the lowest first. What a plane's colour
adds to the picture is its weight: its alpha times what those above it let through. The weights of a
pixel sum to 1. Everything is 0..1, but pixels end on the 8-bit grid; half a step of that grid is
the error any of this aims at, a whole one the error allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float

Flags: TypeAlias = NDArray[np.bool_]

STEP = 1.0 / 255.0
HALF_STEP = 0.5 * STEP
TOO_FAR = 0.98 * STEP  # an error from here on is mended; the rest is room for float32 rounding


@dataclass
class Sheet:
    """One plane of a block. color: (h, w, 3). alpha: (h, w). free: (h, w), where it may change.
    The background's alpha is 1 and stays 1."""

    color: Float
    alpha: Float
    free: Flags


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
    picture = stack[0].color
    for sheet in stack[1:]:
        alpha = sheet.alpha[..., None]
        picture = np.add(picture, alpha * (sheet.color - picture), dtype=np.float32)
    return picture


def change_colors(stack: Sequence[Sheet], target: Float, known: Flags) -> None:
    """Move the colours of free sheets, in place, to meet `target` where it is known.

    With weights w of the free sheets and d = target - picture, the move of least squares is
    w d / sum(w^2) for each; for one foreground over a background these are a d / (a^2 + (1-a)^2)
    and (1-a) d / (a^2 + (1-a)^2). What clips at 0 or 1 is passed on to the others.

    Where given planes hide most of a pixel the little that is free would have to answer for every
    rounding error of the target, so d is first brought nearer to 0 by half a step times the hidden
    weight; rounding the free sheets to 8 bits costs half a step times theirs, and both together
    never more than half a step.
    """
    free = [(sheet, w * sheet.free) for sheet, w in zip(stack, weights(stack), strict=True)]
    d = np.where(known[..., None], target - picture_of(stack), np.float32(0.0))
    hidden = 1.0 - np.sum([w for _, w in free], axis=0)
    d = np.sign(d) * np.maximum(np.abs(d) - np.float32(HALF_STEP) * hidden[..., None], 0.0)
    for _ in free:  # each turn meets d exactly, or clips one more sheet
        pull = [w[..., None] * ~_is_stuck(sheet.color, d) for sheet, w in free]
        total = sum(p * p for p in pull)
        step = np.divide(d, total, out=np.zeros_like(d), where=total > 1e-12)
        for (sheet, w), p in zip(free, pull, strict=True):
            moved = np.clip(sheet.color + p * step, 0.0, 1.0)
            d -= w[..., None] * (moved - sheet.color)
            sheet.color = moved


def _is_stuck(color: Float, d: Float) -> Flags:
    return ((color >= 1.0) & (d > 0.0)) | ((color <= 0.0) & (d < 0.0))


def cover_up(stack: Sequence[Sheet], index: int, target: Float, bad: Flags) -> None:
    """Let foreground `index` meet `target` where `bad`, in place: its alpha rises as little as it
    must for a colour inside 0..1 to do it, its colour moves as little as that asks.

    On the 8-bit grid, within half a step; pixels where the sheets above leave no such colour stay.
    With C the target behind the sheets above and B the picture below, C = a F + (1 - a) B needs
    a >= (C - B) / (1 - B) where C > B and a >= (B - C) / B where C < B.
    """
    sheet = stack[index]
    light = np.ones_like(sheet.alpha)
    front = np.zeros_like(sheet.color)
    for above in reversed(stack[index + 1 :]):
        front += (light * above.alpha)[..., None] * above.color
        light = light * (1.0 - above.alpha)
    clearance = np.maximum(light, 1e-6)[..., None]
    least = (target - HALF_STEP - front) / clearance
    most = (target + HALF_STEP - front) / clearance
    can = bad & sheet.free & ((least <= 1.0) & (most >= 0.0)).all(axis=2)
    if not can.any():
        return
    least, most = np.maximum(least[can], 0.0), np.minimum(most[can], 1.0)  # (n, 3)
    below = picture_of([_at(each, can) for each in stack[:index]])
    brighter = (least - below) / np.maximum(1.0 - below, 1e-6)
    darker = (below - most) / np.maximum(below, 1e-6)
    needed = np.clip(np.maximum(brighter, darker).max(axis=1), 0.0, 1.0)
    alpha = np.maximum(sheet.alpha[can], np.ceil(needed * 255.0 - 1e-3) * STEP)
    share = np.maximum(alpha, STEP)[:, None]
    rest = (1.0 - alpha)[:, None] * below
    low = np.ceil((least - rest) / share * 255.0 - 1e-3)
    high = np.floor((most - rest) / share * 255.0 + 1e-3)
    middle = np.rint((low + high) / 2)
    low, high = np.minimum(low, middle), np.maximum(high, middle)
    color = np.clip(np.clip(np.rint(sheet.color[can] * 255.0), low, high), 0.0, 255.0)
    sheet.alpha[can] = alpha
    sheet.color[can] = color * STEP


def _at(sheet: Sheet, where: Flags) -> Sheet:
    return Sheet(sheet.color[where], sheet.alpha[where], sheet.free[where])


def settle(stack: Sequence[Sheet], target: Float, known: Flags) -> Sheet:
    """Make a stack add up to `target`, (h, w, 3), where it is known; changes its free sheets in
    place and leaves all of it on the 8-bit grid. Alphas must lie on it already.

    Returns the residual to lie on top, its alpha 0 wherever the stack does without."""
    if known.any():
        change_colors(stack, target, known)
    for sheet in stack:
        sheet.color = to_grid(sheet.color)
    residual = Sheet(target.copy(), np.zeros_like(stack[0].alpha), known)
    if not known.any():
        return residual
    for index in range(len(stack) - 1, 0, -1):
        cover_up(stack, index, target, _too_far(stack, target, known))
    cover_up([*stack, residual], len(stack), target, _too_far(stack, target, known))
    return residual


def _too_far(stack: Sequence[Sheet], target: Float, known: Flags) -> Flags:
    return known & (np.abs(picture_of(stack) - target).max(axis=2) > TOO_FAR)


def to_grid(values: Float) -> Float:
    """The nearest 8-bit values, still as 0..1."""
    return np.rint(np.clip(values, 0.0, 1.0) * np.float32(255.0)) * np.float32(STEP)
