"""The layered picture: `LayerDocument`, its `Layer`s, `Group`s and `Mask`s.

Everything here is frozen: an edit makes a new document that shares the pixels it did not touch
(see `multiplane.core.edit`). Pixels are H x W x 4, straight alpha, sRGB-encoded unless the document
says `space="linear"`. A layer keeps the dtype it came with: uint8, uint16 or float32 (0..1).
Colour under alpha 0 is data and is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.blend import BLEND_MODES

Pixels: TypeAlias = NDArray[Any]  # (H, W, 4) uint8 | uint16 | float32, straight alpha
Coverage: TypeAlias = NDArray[Any]  # (H, W) uint8 | uint16 | float32
ColorSpace = Literal["srgb", "linear"]
Role = Literal["foreground", "background", "composite", "shadow", "residual"]

PASS_THROUGH = "pass-through"  # the blend of a group that does not isolate what it holds
PIXEL_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


def _freeze(array: NDArray[Any], shape: str, channels: int | None) -> NDArray[Any]:
    """A read-only, C-contiguous view of `array` after checking its shape and dtype."""
    dimensions = 2 if channels is None else 3
    if array.ndim != dimensions or (channels is not None and array.shape[2] != channels):
        raise ValueError(f"expected an array of shape {shape}, got {array.shape}")
    if array.dtype not in PIXEL_DTYPES:
        raise ValueError(f"expected uint8, uint16 or float32 pixels, got {array.dtype}")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"a picture needs at least one pixel, got shape {array.shape}")
    frozen = np.ascontiguousarray(array)
    if frozen is array and array.flags.writeable:
        frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


def content_hash(array: NDArray[Any]) -> str:
    """sha256 over dtype, shape and the stored bytes (hex); equal if and only if they are."""
    header = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Mask:
    """A layer or group mask: coverage multiplied into its alpha.

    pixels: (H, W), full scale means shown. offset: (x, y) of its top left corner on the canvas.
    outside: coverage 0..1 of everything beyond the stored pixels.
    """

    pixels: Coverage
    offset: tuple[int, int] = (0, 0)
    outside: float = 0.0
    enabled: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _freeze(self.pixels, "(H, W)", None))
        _check_offset("a mask", self.offset)
        if not 0.0 <= self.outside <= 1.0:
            raise ValueError(f"mask coverage outside its pixels must be 0..1, got {self.outside}")


@dataclass(frozen=True, eq=False)
class Layer:
    """One sheet of glass. Its pixels may be smaller or larger than the canvas and lie anywhere.

    offset: (x, y) of its top left corner. clip: paints only where the layer below it has alpha.
    role: what a model made it as, or None for a layer drawn by hand.
    """

    name: str
    pixels: Pixels
    offset: tuple[int, int] = (0, 0)
    opacity: float = 1.0
    blend: str = "normal"
    visible: bool = True
    mask: Mask | None = None
    clip: bool = False
    role: Role | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _freeze(self.pixels, "(H, W, 4)", 4))
        _check_offset(repr(self.name), self.offset)
        _check_compositing(self.name, self.opacity, self.blend, tuple(BLEND_MODES))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the stored pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def content_hash(self) -> str:
        """`content_hash` of the stored pixels."""
        return content_hash(self.pixels)


@dataclass(frozen=True, eq=False)
class Group:
    """A folder of layers, bottom to top. `blend="pass-through"` lets its layers blend with what
    lies under the group; any other mode isolates it."""

    name: str
    layers: tuple[Layer | Group, ...]
    opacity: float = 1.0
    blend: str = PASS_THROUGH
    visible: bool = True
    mask: Mask | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        modes = (PASS_THROUGH, *BLEND_MODES)
        _check_compositing(self.name, self.opacity, self.blend, modes)


def _check_offset(name: str, offset: tuple[int, int]) -> None:
    if len(offset) != 2 or not all(isinstance(part, int | np.integer) for part in offset):
        raise ValueError(f"the offset of {name} must be two whole numbers (x, y), got {offset}")


def _check_compositing(name: str, opacity: float, blend: str, modes: tuple[str, ...]) -> None:
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity of {name!r} must be 0..1, got {opacity}")
    if blend not in modes:
        raise ValueError(f"unknown blend mode {blend!r} of {name!r}: use one of {', '.join(modes)}")


@dataclass(frozen=True)
class Provenance:
    """Where a document came from; written into every file format that can hold it.

    request: `LayerRequest.to_json()` of the request that made it. report: the model's own figures
    (disagreement before recomposition, recomposition error, scores)."""

    model: str = ""
    version: str = ""
    seed: int | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LayerDocument:
    """A layered picture. size: (width, height). layers: bottom to top.

    Invisible layers are kept and not shown; a plane called "composite" is never a layer: it is
    derived with `multiplane.core.composite.composite`.
    """

    size: tuple[int, int]
    layers: tuple[Layer | Group, ...] = ()
    space: ColorSpace = "srgb"
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.size[0] < 1 or self.size[1] < 1:
            raise ValueError(f"a document needs at least one pixel, got size {self.size}")

    def walk(self) -> Iterator[tuple[tuple[int, ...], Layer | Group]]:
        """(path, node) of every layer and group, depth first, bottom to top."""

        def visit(
            nodes: tuple[Layer | Group, ...], path: tuple[int, ...]
        ) -> Iterator[tuple[tuple[int, ...], Layer | Group]]:
            for index, node in enumerate(nodes):
                here = (*path, index)
                yield here, node
                if isinstance(node, Group):
                    yield from visit(node.layers, here)

        yield from visit(self.layers, ())

    def leaves(self) -> tuple[Layer, ...]:
        """Every `Layer`, bottom to top, groups opened."""
        return tuple(node for _, node in self.walk() if isinstance(node, Layer))

    def find(self, name: str) -> Layer:
        """The one layer called `name`. Raises KeyError naming the layers there are."""
        found = [layer for layer in self.leaves() if layer.name == name]
        if len(found) != 1:
            names = ", ".join(repr(layer.name) for layer in self.leaves())
            problem = "no layer is" if not found else f"{len(found)} layers are"
            raise KeyError(f"{problem} called {name!r}; the document holds {names}")
        return found[0]
