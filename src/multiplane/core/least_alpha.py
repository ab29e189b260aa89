"""Where colours alone cannot meet a picture, or only by going far: how little the alpha of a
foreground must change for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiplane.core.pixels import Float
from multiplane.core.stack import HALF_STEP, STEP, Flags, Room, Sheet, around, folded

ALPHA_SHARE = 0.5  # how far an alpha goes for a colour that goes 1; chosen by scenes with truth
_HALVINGS = 6  # of the reach: to 1/64 of the range of colours
_GRID_SLACK = 0.01  # of a step of alpha
_FLAT = 1e-6  # a slope from here on counts


def change_alphas(stack: Sequence[Sheet], goal: Float, least: Float) -> Float:
    """Change the alpha of one free foreground a pixel, in place, such that colours `within` a reach
    as small as can be meet the goal, (n, 3); returns that reach, (n,), 1 where no alpha helps.

    The reach is the largest move of any colour of any free sheet; at a reach r an alpha may move by
    r / 2. Of all that is possible at the least reach, the alpha nearest to what it was is taken;
    foregrounds that are clear stay clear, those that are opaque opaque. goal: what the stack can
    show as it is. least: (n,), the reach not worth going below. Sheets are in a row, as `Sheet.at`
    gives them.
    """
    reach, alphas = np.ones_like(least), [sheet.alpha.copy() for sheet in stack]
    for index in range(len(stack) - 1, 0, -1):
        sheet = stack[index]
        soft = (sheet.alpha > 0.0) & (sheet.alpha < 1.0)
        tried = np.flatnonzero(sheet.free & soft & (reach > least))
        part = [each.at(tried) for each in stack]
        found, alpha = _least_reach(part, index, goal[tried], least[tried])
        better = found < reach[tried]
        chosen = tried[better]
        reach[chosen] = found[better]
        for each, was in zip(alphas, stack, strict=True):
            each[chosen] = was.alpha[chosen]
        alphas[index][chosen] = alpha[better]
    for sheet, alpha in zip(stack, alphas, strict=True):
        sheet.alpha = alpha
    return reach


def within(stack: Sequence[Sheet], reach: Float) -> list[Room]:
    """Where colours may go that move by no more than `reach`, (n,); given ones stay."""
    return [Room(low, high) for low, high in zip(*_ends(stack, reach), strict=True)]


def _ends(stack: Sequence[Sheet], reach: Float) -> tuple[list[Float], list[Float]]:
    """Each sheet's colour, (n, 3), as dark and as bright as it gets `within` the reach."""
    lows: list[Float] = []
    highs: list[Float] = []
    for sheet in stack:
        most = (reach * sheet.free)[..., None]
        lows.append(np.maximum(sheet.color - most, 0.0))
        highs.append(np.minimum(sheet.color + most, 1.0))
    return lows, highs


def _least_reach(
    stack: Sequence[Sheet], index: int, goal: Float, least: Float
) -> tuple[Float, Float]:
    """(reach, alpha) of foreground `index`, (n,) each, by bisection: what is possible at a reach is
    so at any larger one. The reach is 1 where none was found."""
    can, alpha = _alpha_at(stack, index, goal, least)
    reach = np.where(can, least, np.float32(1.0))
    rest = np.flatnonzero(~can)  # often few, and all that needs the search
    part, goal = [sheet.at(rest) for sheet in stack], goal[rest]
    short, long, nearest = least[rest], reach[rest], alpha[rest]
    for _ in range(_HALVINGS):
        middle = (short + long) * np.float32(0.5)
        can, found = _alpha_at(part, index, goal, middle)
        nearest = np.where(can, found, nearest)
        short, long = np.where(can, short, middle), np.where(can, middle, long)
    reach[rest], alpha[rest] = long, nearest
    return reach, alpha


def _alpha_at(stack: Sequence[Sheet], index: int, goal: Float, reach: Float) -> tuple[Flags, Float]:
    """(can, alpha): whether some alpha of foreground `index` lets colours within `reach` meet the
    goal, and the nearest that does, on the 8-bit grid.

    With all colours as dark as they may go the picture must not be brighter than the goal, with all
    as bright as they may not darker. Both pictures are linear in the alpha, so each channel of each
    bounds it from one side.
    """
    was, (lows, highs) = stack[index].alpha, _ends(stack, reach)
    low = np.maximum(was - ALPHA_SHARE * reach, 0.0)
    high = np.minimum(was + ALPHA_SHARE * reach, 1.0)
    can = np.ones(reach.shape, bool)
    for sign, ends in ((1.0, lows), (-1.0, highs)):
        front, light, below = around(stack, index, ends)
        slope = sign * light * (ends[index] - below)
        most = sign * (goal - front - light * below)  # slope * alpha <= most
        rises, falls = slope > _FLAT, slope < -_FLAT
        bound = np.divide(most, slope, out=np.zeros_like(most), where=rises | falls)
        high = np.minimum(high, folded(np.minimum, np.where(rises, bound, 1.0)))
        low = np.maximum(low, folded(np.maximum, np.where(falls, bound, 0.0)))
        can &= folded(np.logical_and, rises | falls | (most >= -_FLAT))
    low, high = np.ceil(low * 255.0 - _GRID_SLACK), np.floor(high * 255.0 + _GRID_SLACK)
    alpha = np.minimum(np.maximum(np.rint(was * 255.0), low), high)
    return can & (low <= high), alpha * np.float32(STEP)


def cover_up(stack: Sequence[Sheet], index: int, target: Float, bad: Flags) -> None:
    """Let foreground `index` meet `target` where `bad`, in place: its alpha rises as little as it
    must for a colour inside 0..1 to do it, its colour moves as little as that asks.

    On the 8-bit grid, within half a step; pixels where the sheets above leave no such colour stay.
    With C the target behind the sheets above and B the picture below, C = a F + (1 - a) B needs
    a >= (C - B) / (1 - B) where C > B and a >= (B - C) / B where C < B.
    """
    sheet = stack[index]
    front, light, below = around(stack, index)
    clearance = np.maximum(light, 1e-6)
    least = (target - HALF_STEP - front) / clearance
    most = (target + HALF_STEP - front) / clearance
    can = bad & sheet.free & ((least <= 1.0) & (most >= 0.0)).all(axis=2)
    if not can.any():
        return
    least, most = np.maximum(least[can], 0.0), np.minimum(most[can], 1.0)  # (n, 3)
    below = below[can]
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
