"""`Window`: a rectangle of the canvas, and the windows that layers, masks and groups fill."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from multiplane.core.document import Group, Layer, Mask


class Window(NamedTuple):
    """Pixels left <= x < right, top <= y < bottom on the canvas; may lie off it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def is_empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    def intersect(self, other: Window) -> Window:
        """What both cover; empty when they do not meet."""
        return Window(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def within(self, outer: Window) -> tuple[slice, slice]:
        """(rows, columns) of this window in an array that covers `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


EMPTY = Window(0, 0, 0, 0)


def window_of(stored: Layer | Mask) -> Window:
    """The window that the stored pixels of a layer or mask fill."""
    x, y = stored.offset
    height, width = stored.pixels.shape[:2]
    return Window(x, y, x + width, y + height)


def window_of_nodes(nodes: Iterable[Layer | Group]) -> Window:
    """The smallest window around the stored pixels of visible layers, groups opened."""
    around = EMPTY
    for node in nodes:
        if not node.visible:
            continue
        inner = window_of_nodes(node.layers) if isinstance(node, Group) else window_of(node)
        around = inner if around.is_empty else around if inner.is_empty else _union(around, inner)
    return around


def _union(a: Window, b: Window) -> Window:
    return Window(
        min(a.left, b.left), min(a.top, b.top), max(a.right, b.right), max(a.bottom, b.bottom)
    )
