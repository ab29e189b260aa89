"""A layer's pixels laid on the canvas, and back into the layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from multiplane.core.document import Group, Layer, LayerDocument, Pixels


def on_canvas(layer: Layer, size: tuple[int, int]) -> Pixels:
    """(H, W, 4): the stored pixels of `layer` where they lie on the canvas, clear elsewhere."""
    width, height = size
    canvas = np.zeros((height, width, 4), layer.pixels.dtype)
    _paste(canvas, (0, 0), layer.pixels, layer.offset)
    return canvas


def all_on_canvas(document: LayerDocument) -> LayerDocument:
    """`document` with every layer as large as the canvas; what lies beyond it is cut off."""

    def placed(nodes: tuple[Layer | Group, ...]) -> tuple[Layer | Group, ...]:
        return tuple(
            replace(node, layers=placed(node.layers))
            if isinstance(node, Group)
            else replace(node, pixels=on_canvas(node, document.size), offset=(0, 0))
            for node in nodes
        )

    return replace(document, layers=placed(document.layers))


def put_back(layer: Layer, canvas: Pixels) -> Layer:
    """`layer` with the canvas in it; what it holds beyond the canvas stays."""
    height, width = canvas.shape[:2]
    left, top = min(layer.offset[0], 0), min(layer.offset[1], 0)
    right = max(layer.offset[0] + layer.size[0], width)
    bottom = max(layer.offset[1] + layer.size[1], height)
    pixels = np.zeros((bottom - top, right - left, 4), canvas.dtype)
    _paste(pixels, (left, top), layer.pixels, layer.offset)
    _paste(pixels, (left, top), canvas, (0, 0))
    return replace(layer, pixels=pixels, offset=(left, top))


def _paste(
    onto: Pixels, onto_offset: tuple[int, int], pixels: Pixels, offset: tuple[int, int]
) -> None:
    """Copy `pixels` into `onto` where they overlap; offsets are (x, y) on one canvas."""
    x, y = offset[0] - onto_offset[0], offset[1] - onto_offset[1]
    left, top = max(x, 0), max(y, 0)
    right = min(x + pixels.shape[1], onto.shape[1])
    bottom = min(y + pixels.shape[0], onto.shape[0])
    if left < right and top < bottom:
        onto[top:bottom, left:right] = pixels[top - y : bottom - y, left - x : right - x]
