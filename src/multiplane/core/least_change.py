"""How little planes must change so that they add up to a picture: the arithmetic of
`multiplane.core.recompose`, for a block of pixels. Colours move first, by least squares; alphas
only where colours would go far (`change_least`) or cannot do it at all (`settle`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiplane.core.least_alpha import change_alphas, cover_up, within
from multiplane.core.pixels import Float
from multiplane.core.stack import (
    ANYWHERE,
    HALF_STEP,
    STEP,
    Flags,
    Room,
    Sheet,
    folded,
    picture_of,
    to_grid,
    weights,
)

TOO_FAR = 0.98 * STEP  # an error from here on is mended; the rest is room for float32 rounding
UNSEEN = 8 * STEP  # colours may go this far without a search for another way
MARGIN = 1.25  # and this much beyond what least squares asks of them where nothing clips


def missing(stack: Sequence[Sheet], target: Float, known: Flags) -> Float:
    """(h, w, 3): what the free sheets have to add for the picture to be `target` where it is known.

    Where given planes hide most of a pixel the little that is free would have to answer for every
    rounding error of the target, so the difference is brought nearer to 0 by half a step times the
    hidden weight; rounding the free sheets to 8 bits costs half a step times theirs, and both
    together never more than half a step.
    """
    d = np.where(known[..., None], target - picture_of(stack), np.float32(0.0))
    hidden = 1.0 - _free_weight(stack)
    return np.sign(d) * np.maximum(np.abs(d) - np.float32(HALF_STEP) * hidden[..., None], 0.0)


def _free_weight(stack: Sequence[Sheet]) -> Float:
    return np.sum([w * sheet.free for sheet, w in zip(stack, weights(stack), strict=True)], axis=0)


def change_colors(stack: Sequence[Sheet], target: Float, known: Flags) -> None:
    """Move the colours of free sheets, in place, to meet `target` where it is known: what is
    `missing` is `spread`."""
    spread(stack, missing(stack, target, known), [ANYWHERE] * len(stack))


def spread(stack: Sequence[Sheet], d: Float, rooms: Sequence[Room]) -> Float:
    """Move the colours of free sheets, in place and each in its room, for the picture to change by
    d, (h, w, 3); returns what of d they had no room for.

    With weights w of the free sheets the move of least squares is w d / sum(w^2) for each; for one
    foreground over a background these are a d / (a^2 + (1-a)^2) and (1-a) d / (a^2 + (1-a)^2). What
    leaves a colour's room is passed on to the others.
    """
    free = [w * sheet.free for sheet, w in zip(stack, weights(stack), strict=True)]
    for _ in stack:  # each turn meets d exactly, or leaves one more sheet without room
        pull = [
            w[..., None] * ~room.is_spent(sheet.color, d)
            for sheet, room, w in zip(stack, rooms, free, strict=True)
        ]
        total = sum(p * p for p in pull)
        step = np.divide(d, total, out=np.zeros_like(d), where=total > 1e-12)
        left = d.copy()
        for sheet, room, w, p in zip(stack, rooms, free, pull, strict=True):
            moved = np.clip(sheet.color + p * step, room.low, room.high)
            left -= w[..., None] * (moved - sheet.color)
            sheet.color = moved
        d = left
    return d


def change_least(stack: Sequence[Sheet], target: Float, known: Flags) -> None:
    """Move the colours of free sheets, in place, to meet `target` where it is known, and where one
    would be dragged far, the alpha of a foreground with it.

    A colour that leaves 0..1 passes what it lacks on to the others, and one that hardly shows has
    to go far for it: a background of weight 0.03 over its whole range, where three hundredths of
    alpha would have done. Least squares with nothing clipped moves no colour by more than
    (1 + sqrt(K)) / 2 times the difference, K sheets sharing the pixel (1.21 for one foreground over
    a background). Where a colour went well beyond that, the pixel is settled again: `change_alphas`
    finds the least reach, and no colour leaves it.

    Only where the background is free. Before a given one the colour of a foreground follows from
    the picture, and its alpha is trusted as long as it can be.
    """
    made = [sheet.color for sheet in stack]
    d = missing(stack, target, known)
    spread(stack, d, [ANYWHERE] * len(stack))
    gain = MARGIN * (1.0 + len(stack) ** 0.5) / 2.0
    share = np.maximum(_free_weight(stack), np.float32(1e-6))
    least = np.maximum(gain * _largest(d) / share, UNSEEN)
    moved = np.zeros_like(least)
    for sheet, was in zip(stack, made, strict=True):
        shows = sheet.alpha > 0.0
        np.maximum(moved, shows * _largest(sheet.color - was), out=moved)
    far = stack[0].free & (moved > least)
    if not far.any():
        return
    part = [Sheet(was, s.alpha, s.free).at(far) for s, was in zip(stack, made, strict=True)]
    goal = picture_of(part) + d[far]
    rooms = within(part, change_alphas(part, goal, least[far]))
    left = spread(part, goal - picture_of(part), rooms)
    # What is left: the rounding of alphas, and what given planes contradict.
    spread(part, left, [ANYWHERE] * len(part))
    for sheet, new in zip(stack, part, strict=True):
        sheet.color[far], sheet.alpha[far] = new.color, new.alpha


def _largest(values: Float) -> Float:
    """(h, w): the largest size of the three channels."""
    return folded(np.maximum, np.abs(values))


def settle(stack: Sequence[Sheet], target: Float, known: Flags) -> Sheet:
    """Make a stack add up to `target`, (h, w, 3), where it is known; changes its free sheets in
    place and leaves all of it on the 8-bit grid. Alphas must lie on it already.

    Returns the residual to lie on top, its alpha 0 wherever the stack does without."""
    if known.any():
        change_least(stack, target, known)
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
    return known & (_largest(picture_of(stack) - target) > TOO_FAR)
