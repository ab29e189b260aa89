"""Where the frames of a clip lie: each on a key frame, and the keys on each other.

A key is a frame that those after it are laid on directly, as long as they share most of it, so that
errors do not add up. Each key gets a plate of its own, over as much of its plane as frames need. A
camera that stands has one key; a cut begins a key that lies on none before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from multiplane.pipelines.cutout.footage.align import (
    IDENTITY,
    SHARED,
    Alignment,
    Matrix,
    align,
    corners_of,
    displacement,
    moved,
    scaled,
    shared,
    small_grey,
)

REACH = 2  # keys before and after whose frames a plate is gathered from
CONTEXT = 64  # pixels around what a plate has to show, for its completion to go by
MOST = 3.0  # sides of a frame that a plate may be long

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Place:
    """Of one frame. key: index of its key. matrix: its pixels -> its key's. link: on the first
    frame of a key, its pixels -> those of the key before; None after a cut. box: around what hides
    the background, None for nothing. corners: how many agree on the matrix."""

    key: int
    matrix: Matrix
    link: Matrix | None = None
    box: Box | None = None
    corners: int = 0


class Walk:
    """Places frame after frame. `take` is given each once, in order."""

    def __init__(self, is_still: bool) -> None:
        self._is_still = is_still
        self._key = -1
        self._key_grey: NDArray[np.uint8] | None = None
        self._last: Matrix = IDENTITY  # at the size frames are aligned in

    def take(self, picture: NDArray[np.uint8], free: Flags, box: Box | None) -> Place:
        """picture: (H, W, 3). free: (H, W), what of it is background."""
        size = (picture.shape[1], picture.shape[0])
        if self._is_still:
            self._key = 0
            return Place(0, IDENTITY, None, box)
        import cv2

        grey = small_grey(picture)
        factor = picture.shape[1] / grey.shape[1]
        if self._key_grey is None:
            return self._new_key(grey, None, box)
        small_free = cv2.resize(free.astype(np.uint8), (grey.shape[1], grey.shape[0])) > 0
        found = align(grey, self._key_grey, small_free, self._last)
        if found is None and not np.array_equal(self._last, IDENTITY):
            found = align(grey, self._key_grey, small_free)
        if found is None:
            return self._new_key(grey, None, box)
        small_size = (grey.shape[1], grey.shape[0])
        if shared(found.matrix, small_size) < SHARED:
            return self._new_key(grey, Alignment(scaled(found.matrix, factor), found.corners), box)
        self._last = found.matrix
        matrix = scaled(found.matrix, factor)
        assert displacement(matrix, size) < 1e6
        return Place(self._key, matrix, None, box, found.corners)

    def resume(self, picture: NDArray[np.uint8], place: Place) -> None:
        """Go on as if `place` had just been found for this picture."""
        if self._is_still:
            return
        grey = small_grey(picture)
        if place.key != self._key:
            self._key, self._key_grey = place.key, grey
        self._last = scaled(place.matrix, grey.shape[1] / picture.shape[1])

    def _new_key(self, grey: NDArray[np.uint8], link: Alignment | None, box: Box | None) -> Place:
        self._key += 1
        self._key_grey, self._last = grey, IDENTITY
        if link is None:
            return Place(self._key, IDENTITY, None, box)
        return Place(self._key, IDENTITY, link.matrix, box, link.corners)


@dataclass
class Key:
    """first: number of its first frame. link: its pixels -> those of the key before. need: around
    what its plate has to show, in its pixels."""

    first: int
    link: Matrix | None
    need: list[float] | None = None
    canvas: Box = (0, 0, 0, 0)


@dataclass
class Keys:
    """The keys of a clip in order. size: (width, height) of the frames."""

    size: tuple[int, int]
    keys: list[Key] = field(default_factory=list)

    @classmethod
    def of(cls, places: Sequence[Place], size: tuple[int, int], whole: bool) -> Keys:
        """The keys of all places. whole: plates show all of their frames, hidden or not."""
        found = cls(size)
        for number, place in enumerate(places):
            if place.key == len(found.keys):
                found.keys.append(Key(number, place.link))
        for place in places:
            box = (0, 0, *size) if whole else place.box
            if box is None:
                continue
            for key, matrix, _ in found.plates_of(place, 0):
                found._need(key, box, matrix)
        for key in found.keys:
            key.canvas = found._canvas(key)
        return found

    def between(self, key: int, other: int) -> Matrix | None:
        """The pixels of `key` -> those of `other`; None across a cut."""
        matrix = IDENTITY
        step = 1 if other > key else -1
        for at in range(key, other, step):
            link = self.keys[at + 1 if step > 0 else at].link
            if link is None:
                return None
            matrix = (np.linalg.inv(link) if step > 0 else link) @ matrix
        return matrix

    def plates_of(self, place: Place, number: int) -> list[tuple[int, Matrix, float]]:
        """(key, frame's pixels -> key's, weight) of the plates that frame `number` shows: its own
        and the next, which takes over little by little."""
        own = (place.key, place.matrix, 1.0)
        after = place.key + 1
        link = self.between(place.key, after) if after < len(self.keys) else None
        if link is None:
            return [own]
        first, last = self.keys[place.key].first, self.keys[after].first
        share = min(max((number - first) / max(last - first, 1), 0.0), 1.0)
        return [(*own[:2], 1.0 - share), (after, link @ place.matrix, share)]

    def gathering(self, place: Place) -> list[tuple[int, Matrix]]:
        """(key, frame's pixels -> key's) of the plates that a frame tells something about."""
        found: list[tuple[int, Matrix]] = []
        for key in range(max(0, place.key - REACH + 1), place.key + REACH + 1):
            if key < len(self.keys) and self.keys[key].need is not None:
                link = self.between(place.key, key)
                if link is not None:
                    found.append((key, link @ place.matrix))
        return found

    def done_before(self, place: Place) -> int:
        """Keys below this index get nothing more once frames of `place.key` come."""
        return max(0, place.key - REACH + 1)

    def _need(self, key: int, box: Box, matrix: Matrix) -> None:
        left, top, right, bottom = box
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
        there = moved(corners, matrix)
        low, high = there.min(axis=0), there.max(axis=0)
        need = self.keys[key].need or [np.inf, np.inf, -np.inf, -np.inf]
        self.keys[key].need = [
            min(need[0], low[0]), min(need[1], low[1]),
            max(need[2], high[0]), max(need[3], high[1]),
        ]  # fmt: skip

    def _canvas(self, key: Key) -> Box:
        """What is needed with some context, no larger than MOST frames on a side."""
        if key.need is None:
            return (0, 0, 0, 0)
        longer = max(key.need[2] - key.need[0], key.need[3] - key.need[1])
        margin = max(CONTEXT, longer / 4)
        extent = corners_of(self.size).max(axis=0)
        low = np.maximum(np.array(key.need[:2]) - margin, -extent * (MOST - 1) / 2)
        high = np.minimum(np.array(key.need[2:]) + margin, extent * (MOST + 1) / 2)
        # context beyond the key's own border was hardly seen: only what is needed reaches on
        low = np.maximum(low, np.minimum(key.need[:2], 0.0))
        high = np.minimum(high, np.maximum(key.need[2:], extent))
        left, top, right, bottom = *np.floor(low), *np.ceil(high)
        return int(left), int(top), int(right), int(bottom)
