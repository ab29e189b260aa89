"""Requests over several frames: every plane filled to all of them, and one frame taken out.

How frames are spoken of is written down in `multiplane.core.clip`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import full_scale
from multiplane.core.request import LayerRequest, MadePlanes, Plane


def filled(request: LayerRequest) -> LayerRequest:
    """`request` with every plane at all its frames; doing so twice changes nothing.

    For one frame pixels are (H, W, 4). For more, pixels are (T, H, W, 4) with the last given frame
    repeated, and a plane that was given over fewer has a keep mask (T, H, W) that is 0 in the rest.
    A plane with `strength` has no keep mask from that: every frame starts from its picture."""
    return replace(
        request,
        foregrounds=tuple(_filled(plane, request.frames) for plane in request.foregrounds),
        background=_filled(request.background, request.frames),
        composite=_filled(request.composite, request.frames),
    )


def _filled(plane: Plane, frames: int) -> Plane:
    pixels, keep = plane.pixels, plane.keep
    if pixels is None:
        return plane
    if frames == 1:
        if pixels.ndim == 3:
            return plane
        return replace(
            plane, pixels=pixels[0], keep=None if keep is None else keep.reshape(keep.shape[-2:])
        )
    given = plane.frames
    stack = pixels if pixels.ndim == 4 else pixels[None]
    if keep is not None and keep.ndim == 2:
        keep = np.broadcast_to(keep, (given, *keep.shape))
    if given == frames:
        return replace(plane, pixels=stack, keep=keep)
    rest = frames - given
    if keep is None and plane.strength is None:
        keep = np.full(stack.shape[:3], 255, np.uint8)
    if keep is not None:
        keep = np.concatenate([keep, np.zeros((rest, *keep.shape[1:]), keep.dtype)])
    stack = np.concatenate([stack, np.repeat(stack[-1:], rest, axis=0)])
    return replace(plane, pixels=stack, keep=keep, wanted=True)


def known_frames(plane: Plane) -> int:
    """Over how many frames, from the first, a plane of a filled request is given whole; 0 for one
    that is wanted from the start."""
    if plane.pixels is None or plane.strength is not None:
        return 0
    if plane.keep is None:
        return plane.frames
    keep = plane.keep if plane.keep.ndim == 3 else plane.keep[None]
    whole = (keep >= full_scale(keep.dtype)).all(axis=(1, 2))
    return int(np.cumprod(whole).sum())


def request_at(request: LayerRequest, frame: int) -> LayerRequest:
    """The request of one frame of a filled request of several, a still."""

    def at(plane: Plane) -> Plane:
        if plane.pixels is None:
            return plane
        return replace(plane, pixels=_at(plane.pixels, frame, 4), keep=_at(plane.keep, frame, 3))

    return replace(
        request,
        foregrounds=tuple(at(plane) for plane in request.foregrounds),
        background=at(request.background),
        composite=at(request.composite),
        frames=1,
        controls=tuple(
            replace(control, pixels=_at(control.pixels, frame, 3)) for control in request.controls
        ),
    )


def made_at(made: MadePlanes, frame: int) -> MadePlanes:
    """One frame of what a family made, its planes (T, H, W, 4)."""
    return replace(
        made,
        foregrounds=tuple(pixels[frame] for pixels in made.foregrounds),
        background=_at(made.background, frame, 4),
        composite=_at(made.composite, frame, 4),
    )


def _at(array: NDArray[Any] | None, frame: int, dimensions: int) -> Any:
    return array[frame] if array is not None and array.ndim == dimensions else array
