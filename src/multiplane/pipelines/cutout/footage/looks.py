"""What the networks see in a frame: the salient matte, or the object that was pointed at, followed
from frame to frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from multiplane.core.pixels import Float
from multiplane.core.request import RequestError
from multiplane.pipelines.cutout.candidates import NoSubject, check_subject
from multiplane.pipelines.cutout.footage.settings import FootageSettings
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.pipelines.cutout.promptable import Box, Point, PromptableSegmenter

Matte = Callable[[Float], Float]

ROOM = 0.12  # of its sides: how much larger than the object the box is that it is looked for in
LEVELS = (0.25, 0.75)  # the promptable segmenter's values that become 0 and 1


class Segmenter(Protocol):
    """`PromptableSegmenter.segment`."""

    def segment(
        self,
        picture: Float,
        points: tuple[Point, ...] = (),
        boxes: tuple[Box, ...] = (),
    ) -> Float: ...


class Looks:
    """Mattes of frames, by the settings. Networks load when first used."""

    def __init__(
        self,
        settings: FootageSettings,
        mattes: Callable[[str, int], Matte] = SalientMatte.load,
        segmenter: Callable[[int], Segmenter] = PromptableSegmenter.load,
    ) -> None:
        self._settings = settings
        self._load, self._load_segmenter = mattes, segmenter
        self._matte: Matte | None = None
        self._segmenter: Segmenter | None = None

    def look(self, picture: Float, before: Float | None) -> Float | None:
        """(H, W, 3) 0..1 -> (H, W) coarse matte, None where nothing stands out clearly. before: the
        matte of the frame looked at last, None for the first.

        Raises RequestError for points and boxes that mean nothing in the first frame."""
        if self._settings.prompted:
            return self._followed(picture, before)
        if self._matte is None:
            self._matte = self._load(self._settings.matte, self._settings.threads)
        coarse = self._matte(picture)
        try:
            check_subject(coarse)
        except NoSubject:
            return None
        return coarse

    def _followed(self, picture: Float, before: Float | None) -> Float | None:
        """The object in a box around where it was, with the middle of it as a point."""
        if self._segmenter is None:
            self._segmenter = self._load_segmenter(self._settings.threads)
        points, boxes = self._settings.points, self._settings.boxes
        if before is not None:
            box = box_around(before > 0.5)
            if box is None:
                return None
            points, boxes = (), (box,)
        low, high = LEVELS
        found = np.clip(
            (self._segmenter.segment(picture, points, boxes) - low) / (high - low), 0, 1
        )
        if (found > 0.5).any():
            return found.astype(np.float32)
        if before is None:
            raise RequestError("nothing was found at the points and boxes in the first frame")
        return None


def box_around(solid: np.ndarray) -> Box | None:
    """(left, top, right, bottom) around where it is true, with some room; None for nothing."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not len(rows):
        return None
    left, right = float(columns[0]), float(columns[-1] + 1)
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    aside, above = ROOM * (right - left), ROOM * (bottom - top)
    return left - aside, top - above, right + aside, bottom + above
