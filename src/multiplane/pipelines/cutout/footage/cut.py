"""One frame cut with the clean plate at hand: what is known to lie behind says more about an edge
than any network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float
from multiplane.pipelines.cutout.complete import (
    Completion,
    complete_background,
    dilated,
)
from multiplane.pipelines.cutout.difference import (
    CLEAR_DIFFERENCE,
    NOISE,
    alpha_between,
    colours_over,
    difference_matte,
    spread_colours,
)
from multiplane.pipelines.cutout.footage.plates import Laid
from multiplane.pipelines.cutout.footage.settings import FootageSettings
from multiplane.pipelines.cutout.plate import CLEAR, met_at_rim
from multiplane.pipelines.cutout.refine import refine_alpha

Flags = NDArray[np.bool_]

UNLIKE = 0.06  # of full scale: a picture this far from a mixture of two colours is none
LEANS = (0.08, 0.35)  # the matte from which the plate may speak for the subject, and where fully
MOST_RAISED = 0.95  # what it can make of it
SPECK = 1 / 2000  # of the frame: what moves and is smaller is noise


@dataclass(frozen=True, eq=False)
class FrameCut:
    """foreground: (H, W, 4), background: (H, W, 3), both 0..1 and not yet settled on the frame.
    completed: pixels of the background that were made up for this frame alone."""

    foreground: Float
    background: Float
    completed: int


def cut_frame(
    picture: Float, coarse: Float | None, laid: Laid, settings: FootageSettings, grow: int
) -> FrameCut:
    """picture: (H, W, 3), a frame or the part of it that matters. coarse: (H, W) steadied matte;
    None takes what differs from the plate. laid: the plate behind it. grow: pixels around what is
    hidden in which picture and plate are made to meet.

    Raises as `complete_background`."""
    free = laid.seen if coarse is None else laid.seen & (coarse < CLEAR)
    plate = np.clip(laid.colour + exposure(picture, laid.colour, free), 0.0, 1.0)
    plate = np.where(laid.known[..., None], plate, picture).astype(np.float32)
    if coarse is None:
        coarse = without_specks(
            difference_matte(picture, plate), SPECK * max(laid.known.shape) ** 2
        )
    alpha, colours = _alpha(picture, coarse, plate, laid.seen, settings)
    hidden = alpha > CLEAR
    background, completed = _behind(picture, plate, laid.known, hidden, settings, grow)
    colours = colours_over(picture, background, alpha, colours)
    return FrameCut(np.dstack([colours, alpha]), background, completed)


def without_specks(matte: Float, least: float) -> Float:
    """(H, W): `matte` without parts whose solid area is under `least` pixels."""
    import cv2

    _, labels = cv2.connectedComponents((matte > 0.05).astype(np.uint8), connectivity=8)
    labels = np.asarray(labels, np.intp)
    area = np.bincount(labels.ravel(), weights=(matte > 0.5).ravel())
    kept = area >= least
    kept[0] = False
    return np.where(kept[labels], matte, np.float32(0.0)).astype(np.float32)


def exposure(picture: Float, plate: Float, free: Flags) -> Float:
    """(3,): how much lighter the picture is than the plate where both show the background: the
    median, 0 where there is too little to tell."""
    if np.count_nonzero(free) < 64:
        return np.zeros(3, np.float32)
    return np.median(picture[free] - plate[free], axis=0).astype(np.float32)


def _alpha(
    picture: Float, coarse: Float, plate: Float, seen: Flags, settings: FootageSettings
) -> tuple[Float, Float]:
    """(alpha, colours): (H, W) and (H, W, 3). The subject's colours are spread out from where it is
    solid; where the plate was seen, alpha is how far the picture lies from it towards them."""
    if not (coarse > 0.5).any():
        return np.zeros(coarse.shape, np.float32), picture
    coarse = decided_by_plate(picture, coarse, plate, seen)
    alpha = refine_alpha(picture, coarse) if settings.refine else coarse
    colours = spread_colours(picture, alpha)
    if settings.refine:
        alpha = np.where(seen, told_by_plate(picture, colours, plate, alpha), alpha)
    return without_specks(alpha, SPECK * max(alpha.shape) ** 2), colours


def told_by_plate(picture: Float, colours: Float, plate: Float, alpha: Float) -> Float:
    """(H, W): alpha where it is soft, from how far the picture lies between the plate and the
    subject's colours. It stays where the two hardly differ, and where the picture is no mixture of
    them: there the subject has another colour than was spread."""
    told = alpha_between(picture, colours, plate, alpha)
    laid = plate + told[..., None] * (colours - plate)
    explained = np.clip(2.0 - np.abs(picture - laid).max(axis=2) / UNLIKE, 0.0, 1.0)
    contrast = np.clip((np.abs(colours - plate).max(axis=2) - 0.1) / 0.2, 0.0, 1.0)
    return (alpha + explained * contrast * (told - alpha)).astype(np.float32)


def decided_by_plate(picture: Float, coarse: Float, plate: Float, seen: Flags) -> Float:
    """(H, W): the matte where it is in doubt, decided by the plate that was seen there: nothing
    where the picture is the plate; most where it clearly is not and the matte leans to it."""
    import cv2

    apart = np.abs(cv2.GaussianBlur(picture - plate, (0, 0), 1.0)).max(axis=2)
    same = np.clip(2.0 - 2.0 * apart / NOISE, 0.0, 1.0)
    doubt = np.clip((0.95 - coarse) / 0.25, 0.0, 1.0)
    other = np.clip((apart - NOISE) / (CLEAR_DIFFERENCE - NOISE), 0.0, 1.0)
    leans = np.clip((coarse - LEANS[0]) / (LEANS[1] - LEANS[0]), 0.0, 1.0)
    raised = np.maximum(coarse, MOST_RAISED * other * leans)
    decided = np.where(seen, raised * (1.0 - same * doubt), coarse)
    return decided.astype(np.float32)


def _behind(
    picture: Float,
    plate: Float,
    known: Flags,
    hidden: Flags,
    settings: FootageSettings,
    grow: int,
) -> tuple[Float, int]:
    """The background of a frame, and how many of its pixels no plate knew."""
    gap = hidden & ~known
    if gap.any():
        method: Completion = settings.complete  # pyright: ignore[reportAssignmentType]
        base = np.where((hidden & known)[..., None], plate, picture).astype(np.float32)
        filled = complete_background(base, gap, method, grow, settings.threads)
        plate = np.where(dilated(gap, grow)[..., None] & ~known[..., None], filled, plate)
    return met_at_rim(picture, plate.astype(np.float32), hidden, grow), int(gap.sum())
