"""The compositor: a `LayerDocument` to its picture, and `over` for single planes.

Follows [W3C] Compositing and Blending Level 1: a source of colour Cs and alpha as over a backdrop
of colour Cb and alpha ab gives, premultiplied (section 10, with source-over of section 9.1.4),

    co = as (1 - ab) Cs + as ab B(Cb, Cs) + (1 - as) ab Cb,    ao = as + ab (1 - as).

Work runs in horizontal strips that fit the processor's cache, several at once on threads, so what
is held beside the document and its result does not grow with the picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import ColorSpace, Group, Layer, LayerDocument
from multiplane.core.pixels import Curve, Float, curve_between, to_float
from multiplane.core.strip import Canvas, Source, blend_onto, clip_onto, cover, read_layer
from multiplane.core.window import Window, window_of_nodes

STRIP_PIXELS = 1 << 15
MAX_THREADS = 4


def composite(
    document: LayerDocument, light: ColorSpace | None = None, threads: int | None = None
) -> Float:
    """The picture of a document: (H, W, 4) float32, straight alpha 0..1, in the document's space.

    Colour is 0 where nothing is. light: the space layers are blended in; the document's own unless
    told otherwise ("linear" blends sRGB layers in linear light and encodes the result again).
    threads: at most this many strips at once; the result does not depend on it.

    Clipped layers paint on the colour of the layer below them and keep its alpha; without a layer
    below they show nothing. A pass-through group with layers clipped to it is isolated.
    """
    width, height = document.size
    picture = np.empty((height, width, 4), dtype=np.float32)
    _render(document, picture, light, document.space, threads)
    return picture


def composite_u8(
    document: LayerDocument, light: ColorSpace | None = None, threads: int | None = None
) -> NDArray[np.uint8]:
    """The picture of a document as it is shown: (H, W, 4) uint8, straight alpha, sRGB-encoded
    whatever the document's space. Arguments as for `composite`."""
    width, height = document.size
    picture = np.empty((height, width, 4), dtype=np.uint8)
    _render(document, picture, light, "srgb", threads)
    return picture


def over(front: NDArray[Any], back: NDArray[Any]) -> Float:
    """One plane over another: (H, W, 4) float32 straight alpha, from two of the same size.

    Colour where neither covers anything is the back's, so a clear front changes nothing at all.
    """
    if front.shape != back.shape or front.ndim != 3 or front.shape[2] != 4:
        raise ValueError(
            f"over needs two (H, W, 4) planes of one size, got {front.shape} over {back.shape}"
        )
    front, back = to_float(front), to_float(back)
    front_alpha = front[..., 3:]
    alpha = front_alpha + back[..., 3:] * (1.0 - front_alpha)
    share = np.divide(front_alpha, alpha, out=np.zeros_like(alpha), where=alpha > 0.0)
    result = front * share
    np.subtract(1.0, share, out=share)
    result += back * share
    result[..., 3:] = alpha
    return result


def _render(
    document: LayerDocument,
    picture: NDArray[Any],
    light: ColorSpace | None,
    shown: ColorSpace,
    threads: int | None,
) -> None:
    """Fill `picture`, float32 or uint8, strip by strip, in the space `shown`."""
    width, height = document.size
    light = light or document.space
    to_light = curve_between(document.space, light)
    to_shown = curve_between(light, shown)
    rows = max(1, STRIP_PIXELS // width)

    def render_strip(top: int) -> None:
        canvas = Canvas.clear(Window(0, top, width, min(top + rows, height)))
        _paint(document.layers, canvas, to_light)
        _store(canvas, to_shown, picture[top : canvas.window.bottom])

    tops = range(0, height, rows)
    workers = min(threads or os.cpu_count() or 1, MAX_THREADS, len(tops))
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(render_strip, tops):
            pass


def _store(canvas: Canvas, curve: Curve | None, rows: NDArray[Any]) -> None:
    """Write a canvas as straight pixels: rows (h, W, 4) float32 or uint8."""
    color = canvas.premul_color
    if canvas.alpha.min() < 1.0:
        color = canvas.straight_color()
    if curve is not None:
        color = curve(color)
    for channel, plane in enumerate((*color, canvas.alpha)):
        if rows.dtype == np.uint8:
            plane = plane * np.float32(255.0)
            plane += np.float32(0.5)
            np.clip(plane, 0.0, 255.0, out=plane)
        np.copyto(rows[..., channel], plane, casting="unsafe")


def _stacks(
    nodes: tuple[Layer | Group, ...],
) -> Iterator[tuple[Layer | Group, list[Layer | Group]]]:
    """(base, what is clipped to it) of every visible base, bottom to top."""
    base: Layer | Group | None = None
    clipped: list[Layer | Group] = []
    for node in nodes:
        if node.clip:
            if node.visible:
                clipped.append(node)
            continue
        if base is not None and base.visible:
            yield base, clipped
        base, clipped = node, []
    if base is not None and base.visible:
        yield base, clipped


def _paint(nodes: tuple[Layer | Group, ...], canvas: Canvas, curve: Curve | None) -> None:
    for base, clipped in _stacks(nodes):
        if isinstance(base, Group) and base.blend == "pass-through" and not clipped:
            _pass_through(base, canvas, curve)
            continue
        source = _source(base, canvas.window, curve)
        if source is None:
            continue
        for node in clipped:
            inner = _source(node, source.window, curve)
            if inner is not None:
                clip_onto(source, inner, _own_mode(node))
        blend_onto(canvas, source, _own_mode(base))


def _own_mode(node: Layer | Group) -> str:
    """The mode an isolated node blends in."""
    return "normal" if node.blend == "pass-through" else node.blend


def _source(node: Layer | Group, window: Window, curve: Curve | None) -> Source | None:
    """A layer, or a group composited on its own, where it shows in `window`."""
    if isinstance(node, Layer):
        return read_layer(node, window, curve)
    window = window.intersect(window_of_nodes(node.layers))
    if window.is_empty or node.opacity == 0.0:
        return None
    canvas = Canvas.clear(window)
    _paint(node.layers, canvas, curve)
    color = canvas.straight_color()
    cover(canvas.alpha, window, node.opacity, node.mask)
    return Source(window, color, canvas.alpha)


def _pass_through(group: Group, canvas: Canvas, curve: Curve | None) -> None:
    """Paint a group's layers straight on what lies under it.

    Its opacity and mask m fade between the canvas without and with it, premultiplied:
    P = (1 - m) P0 + m P1, and alpha likewise."""
    is_faded = group.opacity != 1.0 or (group.mask is not None and group.mask.enabled)
    if not is_faded:
        _paint(group.layers, canvas, curve)
        return
    if group.opacity == 0.0:
        return
    inside = canvas.copy()
    _paint(group.layers, inside, curve)
    share = np.ones_like(canvas.alpha)
    cover(share, canvas.window, group.opacity, group.mask)
    for before, after in (
        (canvas.premul_color, inside.premul_color),
        (canvas.alpha, inside.alpha),
    ):
        after -= before
        after *= share
        before += after
