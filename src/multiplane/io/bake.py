"""Turning what a format cannot hold into pixels that it can, with the picture left the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from multiplane.core.document import Coverage, Group, Layer, Mask, Pixels
from multiplane.core.pixels import full_scale, to_dtype, to_float, to_u16


def rounded(pixels: Pixels) -> Pixels:
    """float32 as uint16; the rest as it is."""
    return to_u16(pixels) if pixels.dtype == np.float32 else pixels


def mask_in_alpha(layer: Layer) -> Pixels:
    """The layer's pixels with its enabled mask multiplied into their alpha, in their own dtype."""
    mask = layer.mask
    if mask is None or not mask.enabled:
        return layer.pixels
    x, y = layer.offset
    width, height = layer.size
    coverage = to_float(spread(mask, (x, y, x + width, y + height)).pixels)
    pixels = layer.pixels.copy()
    alpha = to_float(pixels[..., 3]) * coverage
    pixels[..., 3] = to_dtype(alpha, pixels.dtype)
    return pixels


def spread(mask: Mask, window: tuple[int, int, int, int]) -> Mask:
    """The same coverage stored over exactly `window` (left, top, right, bottom), with nothing
    left for `outside` to say inside it."""
    left, top, right, bottom = window
    full = full_scale(mask.pixels.dtype)
    fill = mask.outside * full
    cover: Coverage = np.full(
        (bottom - top, right - left), fill if full == 1 else round(fill), mask.pixels.dtype
    )
    height, width = mask.pixels.shape
    x, y = mask.offset[0] - left, mask.offset[1] - top
    to_x, to_y = slice(max(x, 0), max(x + width, 0)), slice(max(y, 0), max(y + height, 0))
    part = mask.pixels[max(-y, 0) :, max(-x, 0) :]
    target = cover[to_y, to_x]
    target[...] = part[: target.shape[0], : target.shape[1]]
    return replace(mask, pixels=cover, offset=(left, top))


def bounds(node: Layer | Group) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) that holds every pixel of a node; None for an empty group."""
    if isinstance(node, Layer):
        x, y = node.offset
        width, height = node.size
        return x, y, x + width, y + height
    boxes = [box for child in node.layers if (box := bounds(child)) is not None]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
