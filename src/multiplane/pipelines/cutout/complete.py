"""What lies behind an object: the hole it leaves, filled in.

Three ways, chosen by name: "migan", a published inpainting network (MI-GAN, Sargsyan et al. 2023)
fetched once; "opencv", Telea's fast marching; "diffuse", colours spread in from the rim, which
needs numpy alone. None stands in for another by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels, to_float, to_u8
from multiplane.weights.onnx import open_session, package_folder

if TYPE_CHECKING:
    import onnxruntime

Flags = NDArray[np.bool_]
Completion = Literal["migan", "opencv", "diffuse"]
COMPLETIONS: tuple[str, ...] = get_args(Completion)

GROW_SHARE = 1 / 80  # of the longer side: how far the hole is dilated
TELEA_SIDE = 1024  # fast marching takes minutes on more, and blurs as much
TELEA_RADIUS = 5
RELAXATIONS = 12
CONTEXT = 1.0  # of the hole's longer side, on each side, is what the network sees


def complete_background(
    picture: Float,
    hole: NDArray[Any],
    method: Completion = "migan",
    grow: int | None = None,
    threads: int = 0,
) -> Float:
    """The picture (H, W, 3), 0..1, with `hole` (H, W) filled in; same values outside of it.

    hole: bool, or coverage of which everything above 0 is to be filled. grow: pixels the hole is
    dilated by first, so that no rim of the object tells what was there; None takes 1/80 of the
    longer side. threads: of the network, 0 for every core. Nothing to fill returns a copy.

    Raises ValueError for an unknown method and for a hole that leaves nothing to go by; FetchError
    when the network cannot be had."""
    if method not in COMPLETIONS:
        raise ValueError(f"no completion is called {method!r}; there are {', '.join(COMPLETIONS)}")
    if picture.shape[:2] != hole.shape:
        raise ValueError(f"the picture is {picture.shape[:2]}, the hole {hole.shape}")
    missing: Flags = hole > 0
    grown = dilated(missing, default_grow(missing.shape) if grow is None else grow)
    if not grown.any():
        return picture.copy()
    if grown.all():
        if missing.all():
            raise ValueError("the hole is the whole picture: nothing is left to fill it from")
        grown = missing
    fill: Callable[[Float, Flags], Float] = {
        "migan": lambda part, gap: _migan(part, gap, threads),
        "opencv": _telea,
        "diffuse": diffuse,
    }[method]
    part = _with_context(grown)
    filled = picture.copy()
    filled[part] = np.where(grown[part][..., None], fill(picture[part], grown[part]), picture[part])
    return filled


def default_grow(shape: tuple[int, ...]) -> int:
    """Pixels that a hole in a picture of this shape is dilated by."""
    return max(2, round(max(shape) * GROW_SHARE))


def dilated(region: Flags, radius: int) -> Flags:
    """`region` and everything within `radius` pixels of it (Euclidean)."""
    if radius < 1 or not region.any():
        return region.copy()
    import cv2

    away = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away) <= radius


def _with_context(hole: Flags) -> tuple[slice, slice]:
    """The rows and columns around a hole that it is filled from."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    margin = max(64, round(CONTEXT * longer))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


@lru_cache(maxsize=2)
def _migan_session(threads: int) -> onnxruntime.InferenceSession:
    return open_session(package_folder("migan") / "models" / "migan_pipeline_v2.onnx", threads)


def _migan(picture: Float, hole: Flags, threads: int) -> Float:
    """The network scales what it sees to 512 px itself, and what it painted back."""
    image = np.ascontiguousarray(to_u8(picture).transpose(2, 0, 1)[None])
    keep = np.where(hole, np.uint8(0), np.uint8(255))[None, None]
    result = _migan_session(threads).run(None, {"image": image, "mask": keep})[0]
    return to_float(np.asarray(result)[0].transpose(1, 2, 0))


def _telea(picture: Float, hole: Flags) -> Float:
    """Telea 2004, on a smaller picture where the true one is large."""
    import cv2

    height, width = hole.shape
    scale = TELEA_SIDE / max(height, width)
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small_hole = resize_channels(hole.astype(np.float32), size, "area") > 0.0
        small = _telea(resize_channels(picture, size, "area"), small_hole)
        return resize_channels(small, (width, height))
    values = np.ascontiguousarray(to_u8(picture))
    filled = cv2.inpaint(values, hole.astype(np.uint8), TELEA_RADIUS, cv2.INPAINT_TELEA)
    return to_float(np.asarray(filled))


def diffuse(picture: Float, hole: Flags) -> Float:
    """Colours spread in from the rim of the hole: a pyramid of means of what is known, each level
    smoothed towards the solution of Laplace's equation."""
    known = (~hole).astype(np.float32)[..., None]
    return _spread(picture * known, known, hole)


def _spread(weighted: Float, known: Float, hole: Flags) -> Float:
    """weighted: (h, w, C) colours times known, (h, w, 1) how much of a pixel is known."""
    height, width = known.shape[:2]
    colour: Float = np.divide(weighted, np.maximum(known, 1e-6), dtype=np.float32)
    if not hole.any() or max(height, width) <= 1:
        return colour
    below_weighted, below_known = _halved(weighted), _halved(known)
    below = _spread(below_weighted, below_known, below_known[..., 0] < 1e-6)
    filled: Float = np.where(hole[..., None], resize_channels(below, (width, height)), colour)
    rows, columns = np.nonzero(hole)
    beside = [
        (np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1))
        for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0))
    ]
    for _ in range(RELAXATIONS):
        filled[rows, columns] = sum(filled[near] for near in beside) / np.float32(4.0)
    return filled


def _halved(values: Float) -> Float:
    """Means of 2 x 2 pixels; an odd edge stands twice."""
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return padded.reshape(len(padded) // 2, 2, padded.shape[1] // 2, 2, -1).mean(axis=(1, 3))
