"""The compositor: a `LayerDocument` to its picture, and `over` for single planes.

Follows [W3C] Compositing and Blending Level 1: a source of colour Cs and alpha as over a backdrop
of colour Cb and alpha ab gives, premultiplied (section 10, with source-over of section 9.1.4),

    co = as (1 - ab) Cs + as ab B(Cb, Cs) + (1 - as) ab Cb,    ao = as + ab (1 - as).

Work runs in tiles that fit the processor's cache, on several threads, so what is held beside the
document and its result does not grow with the picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import PASS_THROUGH, ColorSpace, Group, Layer, LayerDocument, Pixels
from multiplane.core.pixels import Curve, Float, curve_between, to_dtype, to_float
from multiplane.core.tile import (
    Canvas,
    Glimpse,
    Source,
    blend_onto,
    clip_onto,
    cover,
    glimpse,
    hides_below,
    read_layer,
)
from multiplane.core.window import Window, window_of, window_of_nodes

TILE_WIDTH = 512  # wide enough that a row is worth a call, and all planes of a tile stay in cache
TILE_HEIGHT = 64
MAX_THREADS = 4
TILES_A_THREAD = 8  # fewer are not worth starting a thread for


def composite(
    document: LayerDocument, light: ColorSpace | None = None, threads: int | None = None
) -> Float:
    """The picture of a document: (H, W, 4) float32, straight alpha 0..1, in the document's space.

    Colour is 0 where nothing is. light: the space layers are blended in; the document's own unless
    told otherwise ("linear" blends sRGB layers in linear light and encodes the result again).
    threads: at most this many tiles at once; the result does not depend on it.

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
    """Fill `picture`, float32 or uint8, tile by tile, in the space `shown`."""
    width, height = document.size
    light = light or document.space
    to_light = curve_between(document.space, light)
    to_shown = curve_between(light, shown)
    page = Window(0, 0, width, height)
    is_bounded = all(layer.pixels.dtype.kind != "f" for layer in document.leaves())

    def render_tile(corner: tuple[int, int]) -> None:
        left, top = corner
        window = Window(left, top, left + TILE_WIDTH, top + TILE_HEIGHT).intersect(page)
        out = picture[window.within(page)]
        stacks = _seen(document.layers, window)
        if document.space == light == shown and len(stacks) == 1:
            stored = stacks[0].stored_pixels(window)
            if stored is not None:
                out[...] = to_dtype(stored, out.dtype)
                return
        canvas = Canvas.clear(window)
        _paint(stacks, canvas, to_light)
        _store(canvas, to_shown, out, is_bounded)

    corners = [(x, y) for y in range(0, height, TILE_HEIGHT) for x in range(0, width, TILE_WIDTH)]
    workers = min(threads or os.cpu_count() or 1, MAX_THREADS, len(corners) // TILES_A_THREAD)
    if workers <= 1:
        for corner in corners:
            render_tile(corner)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(render_tile, corners):
            pass


def _store(canvas: Canvas, curve: Curve | None, out: NDArray[Any], is_bounded: bool) -> None:
    """Write a canvas as straight pixels: out (h, w, 4) float32 or uint8.

    is_bounded: no value can lie outside 0..1, so none needs clipping."""
    color, alpha = canvas.premul_color, canvas.alpha
    if alpha.min() < 1.0:
        color = canvas.straight_color()
    if curve is not None:
        color = curve(color)
    if out.dtype == np.uint8:
        color, alpha = (plane * np.float32(255.0) for plane in (color, alpha))
        for plane in (color, alpha):
            plane += np.float32(0.5)
            if not is_bounded:
                np.clip(plane, 0.0, 255.0, out=plane)
    for channel, plane in enumerate((*color, alpha)):
        np.copyto(out[..., channel], plane, casting="unsafe")


class _Stack(NamedTuple):
    """A visible layer or group and what is clipped to it. seen: the glimpse of a layer."""

    base: Layer | Group
    clipped: tuple[Layer | Group, ...]
    seen: Glimpse | None

    def hides_below(self, window: Window) -> bool:
        if self.seen is None or isinstance(self.base, Group):
            return False
        return hides_below(self.base, self.seen, window)

    def stored_pixels(self, window: Window) -> Pixels | None:
        """The layer's own pixels of `window` where they are all there is to show, else None."""
        if isinstance(self.base, Group) or self.clipped or not self.hides_below(window):
            return None
        return self.base.pixels[window.within(window_of(self.base))]


def _stacks(nodes: tuple[Layer | Group, ...]) -> Iterator[_Stack]:
    """Every visible base with what is clipped to it, top to bottom."""
    clipped: list[Layer | Group] = []
    for node in reversed(nodes):
        if node.clip:
            if node.visible:
                clipped.append(node)
        else:
            if node.visible:
                yield _Stack(node, tuple(reversed(clipped)), None)
            clipped = []


def _seen(nodes: tuple[Layer | Group, ...], window: Window) -> list[_Stack]:
    """The stacks that can show in `window`, bottom to top: none that is empty there, none under a
    layer that hides all below it."""
    found: list[_Stack] = []
    for stack in _stacks(nodes):
        if isinstance(stack.base, Layer):
            seen = glimpse(stack.base, window)
            if seen is None:
                continue
            stack = stack._replace(seen=seen)
        found.append(stack)
        if stack.hides_below(window):
            break
    return found[::-1]


def _paint(stacks: list[_Stack], canvas: Canvas, curve: Curve | None) -> None:
    for base, clipped, seen in stacks:
        if isinstance(base, Group) and base.blend == PASS_THROUGH and not clipped:
            _pass_through(base, canvas, curve)
            continue
        source = _source(base, canvas.window, seen, curve)
        if source is None:
            continue
        for node in clipped:
            inner = _source(node, source.window, None, curve)
            if inner is not None:
                clip_onto(source, inner, _own_mode(node))
        blend_onto(canvas, source, _own_mode(base))


def _own_mode(node: Layer | Group) -> str:
    """The mode an isolated node blends in."""
    return "normal" if node.blend == PASS_THROUGH else node.blend


def _source(
    node: Layer | Group, window: Window, seen: Glimpse | None, curve: Curve | None
) -> Source | None:
    """A layer, or a group composited on its own, where it shows in `window`."""
    if isinstance(node, Layer):
        seen = seen or glimpse(node, window)
        return None if seen is None else read_layer(node, seen, curve)
    window = window.intersect(window_of_nodes(node.layers))
    if window.is_empty or node.opacity == 0.0:
        return None
    canvas = Canvas.clear(window)
    _paint(_seen(node.layers, window), canvas, curve)
    color = canvas.straight_color()
    cover(canvas.alpha, window, node.opacity, node.mask)
    return Source(window, color, canvas.alpha)


def _pass_through(group: Group, canvas: Canvas, curve: Curve | None) -> None:
    """Paint a group's layers straight on what lies under it.

    Its opacity and mask m fade between the canvas without and with it, premultiplied:
    P = (1 - m) P0 + m P1, and alpha likewise."""
    if group.opacity == 0.0:
        return
    stacks = _seen(group.layers, canvas.window)
    if group.opacity == 1.0 and (group.mask is None or not group.mask.enabled):
        _paint(stacks, canvas, curve)
        return
    inside = canvas.copy()
    _paint(stacks, inside, curve)
    canvas.is_clear = inside.is_clear
    share = np.ones_like(canvas.alpha)
    cover(share, canvas.window, group.opacity, group.mask)
    for before, after in (
        (canvas.premul_color, inside.premul_color),
        (canvas.alpha, inside.alpha),
    ):
        after -= before
        after *= share
        before += after
