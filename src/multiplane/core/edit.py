"""Pure edits: each takes a document and returns a new one.

A layer is named by its name, where only one has it, or by its path from `LayerDocument.walk`
((0,) the lowest, (1, 0) the lowest inside the group second from below). Layers an edit does not
touch are the same objects in the new document, so their stored bytes and hashes are too; moving,
cropping and reordering never touch stored pixels at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np

from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Pixels
from multiplane.core.pixels import ResizeMethod, resize, to_dtype
from multiplane.core.window import Window, window_of, window_of_nodes

Node: TypeAlias = Layer | Group
Target: TypeAlias = str | tuple[int, ...]
_Placed = TypeVar("_Placed", Layer, Mask)


# --- finding -----------------------------------------------------------------------------------


def locate(document: LayerDocument, target: Target) -> tuple[int, ...]:
    """The path of a layer or group. Raises KeyError naming what there is."""
    found = [path for path, node in document.walk() if target in (path, node.name)]
    if len(found) != 1:
        there = ", ".join(f"{node.name!r} {path}" for path, node in document.walk()) or "nothing"
        problem = f"{len(found)} nodes are called" if found else "there is no"
        raise KeyError(f"{problem} {target!r}: give a name only one has, or a path, of: {there}")
    return found[0]


def node_at(document: LayerDocument, target: Target) -> Node:
    """The layer or group itself. Raises KeyError as `locate` does."""
    path = locate(document, target)
    return _siblings(document, path)[path[-1]]


def _siblings(document: LayerDocument, path: tuple[int, ...]) -> tuple[Node, ...]:
    """The nodes that lie in the same group as the node at `path`, itself among them."""
    nodes = document.layers
    for index in path[:-1]:
        parent = nodes[index]
        assert isinstance(parent, Group)  # a path that `locate` answered
        nodes = parent.layers
    return nodes


def _with_siblings(
    document: LayerDocument, path: tuple[int, ...], siblings: Sequence[Node]
) -> LayerDocument:
    """The document with the group that holds `path` filled anew."""

    def rebuild(nodes: tuple[Node, ...], rest: tuple[int, ...]) -> tuple[Node, ...]:
        if len(rest) == 1:
            return tuple(siblings)
        parent = nodes[rest[0]]
        assert isinstance(parent, Group)
        filled = replace(parent, layers=rebuild(parent.layers, rest[1:]))
        return (*nodes[: rest[0]], filled, *nodes[rest[0] + 1 :])

    return replace(document, layers=rebuild(document.layers, path))


# --- the tree ----------------------------------------------------------------------------------


def replace_layer(document: LayerDocument, target: Target, node: Node) -> LayerDocument:
    """Put another layer or group in the place of one."""
    path = locate(document, target)
    siblings = list(_siblings(document, path))
    siblings[path[-1]] = node
    return _with_siblings(document, path, siblings)


def replace_pixels(
    document: LayerDocument, target: Target, pixels: Pixels, offset: tuple[int, int] | None = None
) -> LayerDocument:
    """Give one layer other pixels; all else about it stays. offset: None keeps where it lies."""
    layer = node_at(document, target)
    if isinstance(layer, Group):
        raise ValueError(f"{target!r} is a group: replace the pixels of a layer inside it")
    offset = layer.offset if offset is None else offset
    return replace_layer(document, target, replace(layer, pixels=pixels, offset=offset))


def rename(document: LayerDocument, target: Target, name: str) -> LayerDocument:
    return replace_layer(document, target, replace(node_at(document, target), name=name))


def insert(document: LayerDocument, node: Node, above: Target | None = None) -> LayerDocument:
    """Add a layer or group directly above another, in the same group; on top if `above` is None."""
    if above is None:
        return replace(document, layers=(*document.layers, node))
    path = locate(document, above)
    siblings = list(_siblings(document, path))
    siblings.insert(path[-1] + 1, node)
    return _with_siblings(document, path, siblings)


def remove(document: LayerDocument, target: Target) -> LayerDocument:
    """Take a layer or group out. A group left empty stays."""
    path = locate(document, target)
    siblings = list(_siblings(document, path))
    del siblings[path[-1]]
    return _with_siblings(document, path, siblings)


def reorder(document: LayerDocument, target: Target, index: int) -> LayerDocument:
    """Move a node to another height within its group: 0 is the bottom, -1 the top."""
    path = locate(document, target)
    siblings = list(_siblings(document, path))
    if not -len(siblings) <= index < len(siblings):
        raise ValueError(
            f"cannot move {target!r} to place {index}: its group holds {len(siblings)}, "
            f"places 0..{len(siblings) - 1}, or negative from the top"
        )
    node = siblings.pop(path[-1])
    siblings.insert(index % (len(siblings) + 1), node)
    return _with_siblings(document, path, siblings)


# --- place and size ----------------------------------------------------------------------------


def move(document: LayerDocument, target: Target, dx: int, dy: int) -> LayerDocument:
    """Shift a layer, or all of a group, with its masks: dx right, dy down, in whole pixels."""
    return replace_layer(document, target, _moved(node_at(document, target), dx, dy))


def _moved(node: Node, dx: int, dy: int) -> Node:
    mask = None if node.mask is None else _shifted(node.mask, dx, dy)
    if isinstance(node, Layer):
        return replace(_shifted(node, dx, dy), mask=mask)
    return replace(node, layers=tuple(_moved(n, dx, dy) for n in node.layers), mask=mask)


def _shifted(placed: _Placed, dx: int, dy: int) -> _Placed:
    x, y = placed.offset
    return replace(placed, offset=(x + dx, y + dy))


def resize_layer(
    document: LayerDocument,
    target: Target,
    size: tuple[int, int],
    method: ResizeMethod = "lanczos",
) -> LayerDocument:
    """Scale one layer's pixels to (width, height); its top left corner and its mask stay."""
    layer = node_at(document, target)
    if isinstance(layer, Group):
        raise ValueError(f"{target!r} is a group: resize its layers one by one, or the document")
    return replace_pixels(document, target, resize(layer.pixels, size, method))


def resize_document(
    document: LayerDocument, size: tuple[int, int], method: ResizeMethod = "lanczos"
) -> LayerDocument:
    """Scale the canvas and everything on it to (width, height)."""
    if size == document.size:
        return document
    x_scale, y_scale = size[0] / document.size[0], size[1] / document.size[1]

    def scaled(placed: _Placed) -> _Placed:
        # Edges are scaled and rounded, not sizes, so that neighbours still meet.
        window = window_of(placed)
        left, right = round(window.left * x_scale), round(window.right * x_scale)
        top, bottom = round(window.top * y_scale), round(window.bottom * y_scale)
        shape = (max(1, right - left), max(1, bottom - top))
        return replace(placed, pixels=resize(placed.pixels, shape, method), offset=(left, top))

    def visit(node: Node) -> Node:
        mask = None if node.mask is None else scaled(node.mask)
        if isinstance(node, Layer):
            return replace(scaled(node), mask=mask)
        return replace(node, layers=tuple(visit(n) for n in node.layers), mask=mask)

    return replace(document, size=size, layers=tuple(visit(node) for node in document.layers))


def crop(document: LayerDocument, box: tuple[int, int, int, int]) -> LayerDocument:
    """Make (left, top, right, bottom) the canvas; it may reach beyond the old one.

    Stored pixels stay as they are, those outside the new canvas too."""
    window = Window(*box)
    if window.is_empty:
        raise ValueError(f"cannot crop to {box}: right and bottom must lie beyond left and top")
    layers = tuple(_moved(node, -window.left, -window.top) for node in document.layers)
    return replace(document, size=(window.width, window.height), layers=layers)


def trim(document: LayerDocument) -> LayerDocument:
    """Crop to the smallest canvas that shows the same: clear margins of the picture go.

    A document that shows nothing is returned unchanged."""
    window = _window_of_alpha(composite_u8(document))
    return document if window is None else crop(document, window)


def trim_layer(document: LayerDocument, target: Target) -> LayerDocument:
    """Cut the clear margins off one layer's stored pixels. What it shows stays in place.

    A layer that is clear throughout keeps one pixel."""
    layer = node_at(document, target)
    if isinstance(layer, Group):
        raise ValueError(f"{target!r} is a group: trim the layers inside it")
    window = _window_of_alpha(layer.pixels) or Window(0, 0, 1, 1)
    if (window.width, window.height) == layer.size:
        return document
    rows, columns = window.within(Window(0, 0, *layer.size))
    x, y = layer.offset
    offset = (x + window.left, y + window.top)
    return replace_pixels(document, target, layer.pixels[rows, columns], offset)


def _window_of_alpha(pixels: Pixels) -> Window | None:
    shown = pixels[..., 3] > 0
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if rows.size == 0:
        return None
    return Window(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


# --- making one of several ---------------------------------------------------------------------


def merge(
    document: LayerDocument, targets: Sequence[Target], name: str | None = None
) -> LayerDocument:
    """One normal layer in the place of neighbours in one group, composited on their own.

    The picture stays the same where they blend in normal mode or lie lowest on the canvas; another
    mode no longer sees what is under it. Layers that are all clipped to the same one stay clipped
    to it. The name is the lowest's unless given. Nothing outside the canvas is lost. Raises
    ValueError for nodes that are not neighbours, and for a clipped layer without its base.
    """
    paths = sorted({locate(document, target) for target in targets})
    first, last = paths[0], paths[-1]
    are_neighbours = [(*first[:-1], first[-1] + i) for i in range(len(paths))] == paths
    if not are_neighbours:
        raise ValueError(f"can only merge neighbours in one group, got the paths {paths}")
    siblings = list(_siblings(document, first))
    merged = siblings[first[-1] : last[-1] + 1]
    window = window_of_nodes(merged)
    if window.is_empty:
        raise ValueError(f"nothing visible to merge in {list(targets)}")
    is_clip = merged[0].clip
    if is_clip and not all(node.clip for node in merged):
        raise ValueError(
            f"{merged[0].name!r} is clipped to a layer outside {list(targets)}: add it"
        )
    if is_clip:
        merged = [replace(node, clip=False) for node in merged]
    layer = _rendered(document, merged, window, name or merged[0].name)
    layer = replace(layer, clip=is_clip)
    siblings[first[-1] : last[-1] + 1] = [layer]
    return _with_siblings(document, first, siblings)


def flatten(document: LayerDocument, name: str = "flattened") -> LayerDocument:
    """A document of one canvas-sized layer that shows the same picture."""
    window = Window(0, 0, *document.size)
    return replace(document, layers=(_rendered(document, document.layers, window, name),))


def flatten_over(
    document: LayerDocument, colour: tuple[int, int, int], name: str = "flattened"
) -> LayerDocument:
    """An opaque document of one layer: the picture laid over a colour, (red, green, blue) in
    0..255, sRGB-encoded.

    Raises ValueError for a document in linear light, whose colours are not those."""
    if document.space != "srgb":
        raise ValueError("a document in linear light cannot be laid over an sRGB colour")
    width, height = document.size
    paint = np.full((height, width, 4), (*colour, 255), np.uint8)
    below = replace(document, layers=(Layer("colour", paint), *document.layers))
    return flatten(below, name)


def _rendered(document: LayerDocument, nodes: Sequence[Node], window: Window, name: str) -> Layer:
    """The composite of nodes over `window` as a layer, in the finest dtype among them."""
    alone = crop(replace(document, layers=tuple(nodes)), window)
    leaves = alone.leaves()
    kinds = {layer.pixels.dtype for layer in leaves} or {np.dtype(np.uint8)}
    dtype = max(kinds, key=lambda dtype: dtype.itemsize)
    return Layer(name, to_dtype(composite(alone), dtype), (window.left, window.top))
