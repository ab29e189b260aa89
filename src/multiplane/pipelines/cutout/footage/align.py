"""How the camera moved: the homography that lays one frame on another, from what stands still.

Corners are tracked from the frame to the other one (pyramidal Lucas-Kanade), there and back again,
and a homography is fitted by RANSAC. What a matte covers takes no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # (3, 3): pixels of one frame -> pixels of another
Flags = NDArray[np.bool_]

SIDE = 960  # frames are aligned at most this large
CORNERS = 400
ENOUGH_FOR_HOMOGRAPHY, ENOUGH_FOR_SIMILARITY = 40, 10  # corners that agree
AGREES = 1.5  # pixels: of the fit, and of tracking there and back
STILL = 0.4  # pixels: a motion below this at every corner of the frame is none
ALIKE = 0.03  # mean difference, of full scale, of two frames without corners that are one place
SHARED = 0.75  # of the frame that a key must still show

IDENTITY: Matrix = np.eye(3)


@dataclass(frozen=True, eq=False)
class Alignment:
    """matrix: pixels of the frame -> pixels of the other. corners: how many agree on it, 0 where
    there were none and the frames are alike."""

    matrix: Matrix
    corners: int


def small_grey(picture: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """(h, w) grey values of (H, W, 3), at most `side` long."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    scale = side / max(grey.shape)
    if scale < 1.0:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def align(
    frame: NDArray[np.uint8],
    other: NDArray[np.uint8],
    free: Flags,
    guess: Matrix = IDENTITY,
) -> Alignment | None:
    """How `frame` (h, w) lies on `other` (h, w), both grey; None where they do not show one place.

    free: (h, w), what of the frame is background. guess: where to look first. A motion that is less
    than tracking can tell is exactly none."""
    import cv2

    corners = cv2.goodFeaturesToTrack(frame, CORNERS, 0.01, 7, mask=free.astype(np.uint8) * 255)
    if corners is None or len(corners) < ENOUGH_FOR_SIMILARITY:
        return _alike(frame, other, free, guess)
    there = cv2.perspectiveTransform(corners.astype(np.float64), guess).astype(np.float32)
    window = {"winSize": (21, 21), "maxLevel": 3}
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        frame, other, corners, there, flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **window
    )
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        other, frame, there, corners.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **window
    )
    away = np.abs(back - corners).reshape(-1, 2).max(axis=1)
    kept = (ok.ravel() == 1) & (ok_back.ravel() == 1) & (away < AGREES)
    start, end = corners.reshape(-1, 2)[kept], there.reshape(-1, 2)[kept]
    found = _fitted(start.astype(np.float32), end.astype(np.float32))
    if found is None:
        return _alike(frame, other, free, guess)
    height, width = frame.shape
    if displacement(found.matrix, (width, height)) < STILL:
        return Alignment(IDENTITY, found.corners)
    return found


def _fitted(start: NDArray[np.float32], end: NDArray[np.float32]) -> Alignment | None:
    """A homography where many corners agree on one, a similarity where few do."""
    import cv2

    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator
    if len(start) >= ENOUGH_FOR_HOMOGRAPHY:
        matrix, inside = cv2.findHomography(start, end, cv2.RANSAC, AGREES)
        agreeing = 0 if inside is None else int(inside.sum())
        if matrix is not None and agreeing >= max(ENOUGH_FOR_HOMOGRAPHY, 0.4 * len(start)):
            return Alignment(np.asarray(matrix, np.float64), agreeing)
    if len(start) >= ENOUGH_FOR_SIMILARITY:
        part, inside = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=AGREES)
        agreeing = 0 if inside is None else int(inside.sum())
        if part is not None and agreeing >= max(ENOUGH_FOR_SIMILARITY, 0.4 * len(start)):
            return Alignment(np.vstack([part, (0.0, 0.0, 1.0)]), agreeing)
    return None


def _alike(
    frame: NDArray[np.uint8], other: NDArray[np.uint8], free: Flags, guess: Matrix
) -> Alignment | None:
    """Without corners to go by: the guess, when it lays the frames on each other closely."""
    import cv2

    height, width = frame.shape
    laid = cv2.warpPerspective(
        other, guess, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    if not free.any():
        return None
    apart = np.abs(laid.astype(np.float32) - frame)[free].mean() / 255.0
    return Alignment(guess, 0) if apart < ALIKE else None


def corners_of(size: tuple[int, int]) -> NDArray[np.float64]:
    """(4, 2): the corners of a frame of (width, height)."""
    width, height = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def moved(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """(N, 2) points through a homography."""
    lifted = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return lifted[:, :2] / lifted[:, 2:]


def displacement(matrix: Matrix, size: tuple[int, int]) -> float:
    """How far the homography moves a corner of the frame at most, in pixels."""
    corners = corners_of(size)
    return float(np.linalg.norm(moved(corners, matrix) - corners, axis=1).max())


def shared(matrix: Matrix, size: tuple[int, int]) -> float:
    """Share of the frame that the other one shows too; 0 for a motion no camera makes."""
    import cv2

    corners = corners_of(size)
    there = moved(corners, matrix)
    if not np.isfinite(there).all() or not cv2.isContourConvex(there.astype(np.float32)):
        return 0.0
    both, _ = cv2.intersectConvexConvex(there.astype(np.float32), corners.astype(np.float32))
    area = float(cv2.contourArea(there.astype(np.float32)))
    return float(both) / max(area, size[0] * size[1])


def scaled(matrix: Matrix, factor: float) -> Matrix:
    """The homography between frames `factor` times as large."""
    grow = np.diag((factor, factor, 1.0))
    return grow @ matrix @ np.linalg.inv(grow)
