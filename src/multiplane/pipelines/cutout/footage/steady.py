"""Mattes that agree with their neighbours in time: each frame's matte is the median, by weight, of
what its own network run said and those of the frames around it, carried along by optical flow.

A neighbour has a say where the flow lays its picture on this one; where it does not (what was
hidden is seen, what moved too fast) it is left out. Edges stay as soft as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, to_float
from multiplane.pipelines.cutout.footage.align import small_grey

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class SteadyConfig:
    """side: flow is computed on frames at most this large. reach: neighbours on each side that are
    asked. fade: their weight falls by exp(-(distance / fade)^2 / 2). apart: difference of pictures,
    of full scale, from which a neighbour is hardly heard."""

    side: int = 448
    reach: int = 2
    fade: float = 1.5
    apart: float = 0.05


DEFAULT_STEADY = SteadyConfig()


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame in the window. number: of the frame. grey: (h, w) small. matte: (H, W) uint8 of the
    network, None where it did not look or found nothing clear."""

    number: int
    grey: Grey
    matte: NDArray[np.uint8] | None


def small_frame(picture: NDArray[np.uint8], config: SteadyConfig) -> Grey:
    """(H, W, 3) as flow is computed on it."""
    return small_grey(picture, config.side)


def steadied(frame: Seen, neighbours: Sequence[Seen], config: SteadyConfig) -> Float:
    """(H, W): the matte of `frame`, from its own and those of the neighbours that have one.

    Raises ValueError when nobody has one."""
    said = [each for each in neighbours if each.matte is not None and each.number != frame.number]
    if frame.matte is None and not said:
        raise ValueError(f"no matte near frame {frame.number}")
    mattes: list[Float] = []
    weights: list[Float] = []
    if frame.matte is not None:
        mattes.append(to_float(frame.matte))
        weights.append(np.ones(frame.matte.shape, np.float32))
    for other in said:
        carried, trust = _carried(frame.grey, other, config)
        fade = np.exp(-0.5 * ((other.number - frame.number) / config.fade) ** 2)
        mattes.append(carried)
        weights.append(np.maximum(trust * np.float32(max(fade, 1e-3)), np.float32(1e-6)))
    return weighted_middle(np.stack(mattes), np.stack(weights))


def weighted_middle(values: Float, weights: Float) -> Float:
    """(H, W): of (N, H, W) values the median by weight; of two, which have none, the mean.

    A median takes sides: where a network changes its mind between frames, a mean of its mattes
    would be half transparent."""
    if len(values) < 3:
        return (values * weights).sum(axis=0) / weights.sum(axis=0)
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, axis=0)
    reached = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = (reached < 0.5 * reached[-1:]).sum(axis=0)[None]
    return np.take_along_axis(values, middle, axis=0)[0]


def _carried(here: Grey, other: Seen, config: SteadyConfig) -> tuple[Float, Float]:
    """(matte, trust), (H, W) each: the other's matte where it belongs in this frame, and how well
    the flow lays its picture on this one."""
    import cv2

    assert other.matte is not None
    height, width = other.matte.shape
    flow = flow_between(here, other.grey)
    small_height, small_width = here.shape
    laid = remapped(other.grey.astype(np.float32), flow)
    apart = cv2.GaussianBlur(np.abs(laid - here) / 255.0, (0, 0), 1.5)
    trust = np.exp(-np.square(apart / config.apart)).astype(np.float32)
    if (small_height, small_width) != (height, width):
        factors = np.array((width / small_width, height / small_height), np.float32)
        flow = np.asarray(cv2.resize(flow, (width, height)), np.float32) * factors
        trust = np.asarray(cv2.resize(trust, (width, height)), np.float32)
    return remapped(to_float(other.matte), flow), trust


def flow_between(here: Grey, there: Grey) -> Float:
    """(h, w, 2): how far each pixel of `here` lies away in `there`, (right, down). Dense inverse
    search (Kroeger et al. 2016)."""
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(search.calc(here, there, None), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]


def remapped(values: Float, flow: Float) -> Float:
    """(H, W): `values` fetched from where the flow points; the border goes on outside."""
    import cv2

    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    return np.asarray(
        cv2.remap(
            values,
            columns + flow[..., 0],
            rows + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )
