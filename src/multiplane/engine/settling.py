"""Planes that add up, of a still or of every frame of a clip by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from multiplane.core.composite import composite_u8
from multiplane.core.document import Layer, LayerDocument, Pixels
from multiplane.core.frames import made_at, request_at
from multiplane.core.recompose import Difference, Reconciled, reconcile
from multiplane.core.request import LayerRequest, MadePlanes


def settle(made: MadePlanes, request: LayerRequest) -> Reconciled:
    """`multiplane.core.recompose.reconcile`, frame by frame where the request has several.

    Then all planes are (T, H, W, 4), the residual too when any frame needs one, and the figures are
    those of all frames together. request: resolved."""
    if request.frames == 1:
        return reconcile(made, request)
    return _together(
        [
            reconcile(made_at(made, frame), request_at(request, frame))
            for frame in range(request.frames)
        ],
        request,
    )


def _together(frames: Sequence[Reconciled], request: LayerRequest) -> Reconciled:
    first = frames[0]
    residuals = [each.residual for each in frames]
    some = next((residual for residual in residuals if residual is not None), None)
    return Reconciled(
        foregrounds=tuple(
            plane.pixels
            if plane.state == "given" and plane.pixels is not None
            else np.stack([each.foregrounds[index] for each in frames])
            for index, plane in enumerate(request.foregrounds)
        ),
        background=_stacked([each.background for each in frames]),
        composite=_stacked([each.composite for each in frames]),
        residual=None
        if some is None
        else np.stack([np.zeros_like(some) if each is None else each for each in residuals]),
        before=mean_difference([each.before for each in frames]),
        after=mean_difference([each.after for each in frames]),
        changed={
            name: float(np.mean([each.changed[name] for each in frames])) for name in first.changed
        },
    )


def _stacked(planes: Sequence[Pixels | None]) -> Pixels | None:
    """(T, H, W, 4), or None where the frames have no such plane."""
    there = [plane for plane in planes if plane is not None]
    return np.stack(there) if there else None


def mean_difference(found: Sequence[Difference | None]) -> Difference | None:
    """The difference over pictures of one size together: psnr of their mean square, mean of their
    means, the largest maximum. None where nothing was compared."""
    there = [each for each in found if each is not None]
    if not there:
        return None
    squares = [0.0 if each.psnr is None else 10.0 ** (-each.psnr / 10.0) for each in there]
    mean_square = sum(squares) / len(squares)
    return Difference(
        psnr=None if mean_square == 0.0 else -10.0 * math.log10(mean_square),
        mean=sum(each.mean for each in there) / len(there),
        maximum=max(each.maximum for each in there),
    )


def flattened(request: LayerRequest, planes: Sequence[Pixels | None]) -> Pixels | None:
    """What planes, the lowest first, show: (H, W, 4) or (T, H, W, 4) uint8; None without any."""
    there = [pixels for pixels in planes if pixels is not None]
    if not there:
        return None
    if request.frames == 1:
        return _picture(there)
    return np.stack(
        [_picture([pixels[frame] for pixels in there]) for frame in range(request.frames)]
    )


def _picture(planes: Sequence[Pixels]) -> Pixels:
    height, width = planes[0].shape[:2]
    layers = tuple(Layer(str(index), pixels) for index, pixels in enumerate(planes))
    return composite_u8(LayerDocument((width, height), layers))
