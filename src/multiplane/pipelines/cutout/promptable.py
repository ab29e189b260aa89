"""What lies under a click or in a box: SAM 2 (Ravi et al. 2024, arXiv 2408.00714), its tiny form.

The image encoder runs once a picture (seconds), the prompt decoder once an object (a tenth of one),
so that more clicks on the same picture cost next to nothing. The mattes are smooth at a quarter of
1024 px; `refine_alpha` brings them to the picture's own edges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels
from multiplane.core.request import RequestError
from multiplane.weights.catalogue import network_folder
from multiplane.weights.onnx import open_session

if TYPE_CHECKING:
    import onnxruntime

Point = tuple[float, float, int]  # x, y in pixels; 1: the object, 0: not the object
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

SOURCE = "sam2-tiny"
ENCODER = "sam2_hiera_tiny_encoder.with_runtime_opt.ort"
DECODER = "sam2_hiera_tiny_decoder_pr1.onnx"
SIDE = 1024  # the picture is stretched to a square of this side, as SAM 2 does
LOW_SIDE = 256  # of the masks
FEATURES = ("high_res_feats_0", "high_res_feats_1", "image_embed")
PADDING, CORNERS = -1, (2, 3)  # labels of the prompt encoder besides 0 and 1
STABLE = 1.0  # logits between which a good mask hardly grows
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)


class PromptableSegmenter:
    """Clicks and boxes on a picture, the alpha of what they mean out. Loads when first called.

    The features of the picture it saw last are kept."""

    name = "sam2-tiny"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self._folder, self._threads = folder, threads
        self._seen = ""
        self._features: dict[str, NDArray[np.float32]] = {}

    @classmethod
    def load(cls, threads: int = 0) -> PromptableSegmenter:
        """The published weights, fetched when they are not here yet. threads: 0 takes every core.

        Raises FetchError when they cannot be had."""
        return cls(network_folder(SOURCE), threads)

    @cached_property
    def _encoder(self) -> onnxruntime.InferenceSession:
        return open_session(self._folder / ENCODER, self._threads)

    @cached_property
    def _decoder(self) -> onnxruntime.InferenceSession:
        return open_session(self._folder / DECODER, self._threads)

    def segment(
        self,
        picture: NDArray[np.floating],
        points: Sequence[Point] = (),
        boxes: Sequence[Box] = (),
    ) -> Float:
        """(H, W, 3) sRGB 0..1 -> (H, W) alpha 0..1 of everything that the prompts mean together.

        Each box is an object of its own, told apart further by the points inside it; points in no
        box mean one more object together. What a point with label 0 touches belongs to none.

        Raises RequestError for prompts that mean nothing: none at all, outside the picture, an
        empty box, only points that say what it is not."""
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{self.name} reads (H, W, 3) pictures, got shape {picture.shape}")
        height, width = picture.shape[:2]
        asked = prompts_of(points, boxes, (width, height))
        features = self._encoded(picture)
        scale = np.array((SIDE / width, SIDE / height), np.float32)
        logits = [self._decoded(features, coords * scale, labels) for coords, labels in asked]
        alpha = 1.0 / (1.0 + np.exp(-np.maximum.reduce(logits)))
        return resize_channels(alpha, (width, height))

    def _encoded(self, picture: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        pixels = np.ascontiguousarray(picture, np.float32)
        key = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        if key != self._seen:
            square = (resize_channels(pixels, (SIDE, SIDE)) - _MEAN) / _DEVIATION
            batch = np.ascontiguousarray(square.transpose(2, 0, 1)[None], np.float32)
            made = self._encoder.run(list(FEATURES), {"image": batch})
            self._features = dict(zip(FEATURES, made, strict=True))  # pyright: ignore[reportAttributeAccessIssue]
            self._seen = key
        return self._features

    def _decoded(
        self,
        features: dict[str, NDArray[np.float32]],
        coords: NDArray[np.float32],
        labels: NDArray[np.float32],
    ) -> Float:
        """coords: (N, 2) in the square. (256, 256) logits of the likeliest of three masks."""
        masks, scores = self._decoder.run(
            ["masks", "iou_predictions"],
            {
                **features,
                "point_coords": coords[None],
                "point_labels": labels[None],
                "mask_input": np.zeros((1, 1, LOW_SIDE, LOW_SIDE), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
            },
        )
        return likeliest(np.asarray(masks)[0], np.asarray(scores)[0])


def prompts_of(
    points: Sequence[Point], boxes: Sequence[Box], size: tuple[int, int]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """One (coords (N, 2), labels (N,)) an object, in pixels. size: (width, height).

    A box is two points with labels of their own and comes first, as SAM 2 was trained; without a
    box an empty point is added, as it was too. Raises RequestError."""
    for point in points:
        _check_point(point, size)
    inside = [clipped(box, size) for box in boxes]
    objects = [
        _prompt([*_corners(box), *(point for point in points if _holds(box, point))])
        for box in inside
    ]
    free = [point for point in points if not any(_holds(box, point) for box in inside)]
    if any(label == 1 for *_, label in free):
        objects.append(_prompt([*free, (0.0, 0.0, PADDING)]))
    if not objects:
        meant = "only points with label 0, which say what is not meant" if points else "no prompt"
        raise RequestError(
            f"{meant}: give a point x,y on the object or a box x0,y0,x1,y1 around it"
        )
    return objects


def _check_point(point: Point, size: tuple[int, int]) -> None:
    x, y, label = point
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise RequestError(
            f"the point {x:g},{y:g} lies outside the picture of {width} x {height} pixels: x runs "
            f"from 0 to {width - 1}, y from 0 to {height - 1}, counted from the top left"
        )
    if label not in (0, 1):
        raise RequestError(f"a point is labelled 1 (the object) or 0 (not the object), got {label}")


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """The part of the box inside the picture. Raises RequestError when that is nothing."""
    width, height = size
    left, top, right, bottom = box
    kept = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (kept[2] - kept[0] >= 1 and kept[3] - kept[1] >= 1):
        raise RequestError(
            f"the box {left:g},{top:g},{right:g},{bottom:g} covers nothing of the picture of "
            f"{width} x {height} pixels: give left,top,right,bottom with left < right, top < bottom"
        )
    return kept


def _holds(box: Box, point: Point) -> bool:
    return box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]


def _corners(box: Box) -> list[Point]:
    return [(box[0], box[1], CORNERS[0]), (box[2], box[3], CORNERS[1])]


def _prompt(points: Sequence[Point]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values = np.array(points, np.float32)
    return np.ascontiguousarray(values[:, :2]), np.ascontiguousarray(values[:, 2])


def likeliest(masks: Float, scores: NDArray[np.floating]) -> Float:
    """Of (N, h, w) logits the one with the best score times stability.

    scores: (N,) the network's own guess of each mask's IoU. Stability is the IoU of the mask cut a
    little above and a little below 0 (Kirillov et al. 2023, appendix B): the guess alone prefers a
    part of the object to the whole where a single click leaves both open."""
    inner = (masks > STABLE).sum(axis=(1, 2))
    outer = np.maximum((masks > -STABLE).sum(axis=(1, 2)), 1)
    return masks[int(np.argmax(scores * inner / outer))]
