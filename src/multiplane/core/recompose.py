"""Recomposition: planes that add up to their composite, whatever a model made of them.

Given planes are never changed. A composite that was made is replaced by the planes laid over each
other. A given composite is met by the least change of the planes that were made: their colours
first; where one would be dragged far because another left 0..1, the alpha of a made foreground a
little with them; where all would leave 0..1, that alpha by what it takes, from the top down; and
what given planes contradict becomes a layer of its own on top, the residual. Everything is done and
measured on 8-bit pixels: the planes as stored give the composite to within 1/255.

The disagreement before all this is the model's own figure and is always reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Coverage, Pixels
from multiplane.core.least_change import settle
from multiplane.core.pixels import Float, full_scale, premultiply, to_float, to_u8
from multiplane.core.request import LayerRequest, MadePlanes, Plane
from multiplane.core.stack import Flags, Sheet, picture_of, to_grid

_BLOCK_PIXELS = 1 << 18


@dataclass(frozen=True)
class Difference:
    """How far two pictures are apart in red, green and blue, as shares of full scale.

    psnr: decibels, None where nothing differs. mean, maximum: of the absolute difference."""

    psnr: float | None
    mean: float
    maximum: float


@dataclass(frozen=True, eq=False)
class Reconciled:
    """The planes of a scene as they are to be stored.

    Given planes are the request's own arrays; made ones are (H, W, 4) uint8. composite: None when
    the request has none. residual: (H, W, 4) uint8, to lie on top of everything, or None when the
    planes do without. before: what the model's planes made of the composite, None where it made
    none; after: what these make of it; both None where there is no background to lay planes on.
    changed: how far each made plane moved to meet a given composite, by plane name (mean absolute
    difference of premultiplied pixels, rounding to 8 bits included).
    """

    foregrounds: tuple[Pixels, ...]
    background: Pixels | None
    composite: Pixels | None
    residual: Pixels | None = None
    before: Difference | None = None
    after: Difference | None = None
    changed: Mapping[str, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        shown = 0 if self.residual is None else int(np.count_nonzero(self.residual[..., 3]))
        return {
            "disagreement": None if self.before is None else asdict(self.before),
            "recomposition": None if self.after is None else asdict(self.after),
            "changed": dict(self.changed),
            "residual_pixels": shown,
        }


def reconcile(made: MadePlanes, request: LayerRequest) -> Reconciled:
    """Make the planes of a request add up; see the head of this module.

    made: one foreground for each of the request's, given ones among them. Pixels that a `keep` mask
    keeps whole count as given. Raises ValueError when the planes do not fit together, and for a
    given composite or background that is see-through.
    """
    if len(made.foregrounds) != len(request.foregrounds):
        raise ValueError(
            f"the family made {len(made.foregrounds)} foregrounds for a request of "
            f"{len(request.foregrounds)}"
        )
    names = [name for name in request.planes() if name.startswith("foreground")]
    fronts = [
        _Input.of(name, plane, pixels)
        for name, plane, pixels in zip(names, request.foregrounds, made.foregrounds, strict=True)
    ]
    has_ground = request.background.state != "absent"
    has_composite = request.composite.state != "absent"
    ground = _Input.of("background", request.background, made.background) if has_ground else None
    if ground is None or not has_composite:
        flat = _Input.of("composite", request.composite, made.composite) if has_composite else None
        return Reconciled(
            foregrounds=tuple(front.stored() for front in fronts),
            background=None if ground is None else ground.stored(),
            composite=None if flat is None else flat.stored(),
        )
    scene = _Scene([ground, *fronts], request.composite, made.composite)
    for rows in scene.blocks():
        scene.settle_block(rows)
    return scene.result()


class _Input:
    """One plane as it comes: what a model made of it, and what of it was given."""

    def __init__(self, name: str, made: NDArray[Any] | None, given: Pixels | None, free: Flags):
        self.name = name
        self.made = made  # (H, W, 4), None for a plane that is given
        self.given = given  # (H, W, 4), None where nothing is
        self.free = free  # (H, W), the pixels that may change

    @classmethod
    def of(cls, name: str, plane: Plane, made: NDArray[Any] | None) -> _Input:
        if plane.state == "given" and plane.pixels is not None:
            return cls(name, None, plane.pixels, np.zeros(plane.pixels.shape[:2], bool))
        if made is None:
            raise ValueError(f"the family left out {name}, which the request wants")
        if plane.pixels is None or plane.keep is None:
            return cls(name, made, None, np.ones(made.shape[:2], bool))
        return cls(name, made, plane.pixels, ~_kept(plane.keep))

    def pixels(self, rows: slice) -> Float:
        """(h, w, 4) float32: given pixels in 8 bits, made ones as they were made."""
        given = None if self.given is None else to_float(to_u8(self.given[rows]))
        if self.made is None:
            assert given is not None
            return given
        made = np.clip(to_float(self.made[rows]), 0.0, 1.0)
        return made if given is None else np.where(self.free[rows][..., None], made, given)

    def stored(self) -> Pixels:
        """The plane as it is stored where nothing has to be settled."""
        if self.made is None and self.given is not None:
            return self.given
        return to_u8(self.pixels(slice(None)))


def _kept(keep: Coverage) -> Flags:
    """The pixels that a keep mask keeps whole."""
    return keep >= full_scale(keep.dtype)


class _Scene:
    """A background, the foregrounds over it, and a composite to meet or to make."""

    def __init__(
        self, inputs: list[_Input], composite: Plane, made_composite: NDArray[Any] | None
    ) -> None:
        self.inputs = inputs  # the background first
        self.made_composite = made_composite
        self.given: Pixels | None = None
        if composite.state == "given" or composite.keep is not None:
            self.given = composite.pixels
        shape = self.shape = (inputs[0].free.shape[0], inputs[0].free.shape[1])
        self.known = np.full(shape, self.given is not None)
        if self.given is not None and composite.keep is not None:
            self.known = _kept(composite.keep)
        self.is_composite_given = composite.state == "given"
        for each in (*(i.made if i.made is not None else i.given for i in inputs), self.given):
            if each is not None and each.shape != (*shape, 4):
                raise ValueError(
                    f"the planes of a scene must be of one size, got {each.shape[:2]} and {shape}"
                )
        for name, pixels in (("background", inputs[0].given), ("composite", self.given)):
            if pixels is not None:
                _need_opaque(name, pixels)
        self.planes = [np.empty((*shape, 4), np.uint8) for _ in inputs]
        self.composite = np.full((*shape, 4), 255, np.uint8)
        self.residual = np.zeros((*shape, 4), np.uint8)
        self.before, self.after = _Tally(), _Tally()
        self.changed = [0.0] * len(inputs)

    def blocks(self) -> list[slice]:
        height, width = self.shape
        rows = max(1, _BLOCK_PIXELS // width)
        return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]

    def settle_block(self, rows: slice) -> None:
        pixels = [each.pixels(rows) for each in self.inputs]
        pixels[0][..., 3] = 1.0
        stack = [
            Sheet(p[..., :3], p[..., 3], each.free[rows])
            for p, each in zip(pixels, self.inputs, strict=True)
        ]
        known = self.known[rows]
        target = np.zeros_like(stack[0].color)
        if self.given is not None:
            target = to_float(to_u8(self.given[rows]))[..., :3]
            self.before.add(picture_of(stack)[known], target[known])
        elif self.made_composite is not None:
            self.before.add(picture_of(stack), to_float(self.made_composite[rows])[..., :3])
        for sheet in stack:
            sheet.alpha = to_grid(sheet.alpha)
        residual = settle(stack, target, known)
        for index, sheet in enumerate(stack):
            self.planes[index][rows] = to_u8(_joined(sheet))
            self.changed[index] += _premul_distance(_joined(sheet), pixels[index])
        self.residual[rows] = to_u8(_joined(residual))
        shown = picture_of([*stack, residual])
        self.composite[rows][..., :3] = to_u8(np.where(known[..., None], target, shown))
        self.after.add(shown, to_float(self.composite[rows])[..., :3])

    def result(self) -> Reconciled:
        ground, *fronts = (
            given.given if given.made is None and given.given is not None else made
            for given, made in zip(self.inputs, self.planes, strict=True)
        )
        composite = self.composite
        if self.is_composite_given and self.given is not None:
            composite = self.given
        return Reconciled(
            foregrounds=tuple(fronts),
            background=ground,
            composite=composite,
            residual=self.residual if self.residual[..., 3].any() else None,
            before=self.before.difference(),
            after=self.after.difference(),
            changed={
                each.name: distance / self.known.size / 4
                for each, distance in zip(self.inputs, self.changed, strict=True)
                if each.made is not None and self.given is not None
            },
        )


def _need_opaque(name: str, pixels: Pixels) -> None:
    least = pixels[..., 3].min()
    full = full_scale(pixels.dtype)
    if least < full:
        raise ValueError(
            f"the given {name} is see-through (alpha down to {least / full:.3f}): lay it over a "
            "colour first, nothing lies behind it"
        )


def _joined(sheet: Sheet) -> Float:
    return np.concatenate([sheet.color, sheet.alpha[..., None]], axis=2)


def _premul_distance(one: Float, other: Float) -> float:
    """The sum of absolute differences of the premultiplied pixels."""
    return float(np.abs(premultiply(one) - premultiply(other)).sum(dtype=np.float64))


class _Tally:
    """Collects the differences of two pictures, block by block."""

    def __init__(self) -> None:
        self.count, self.total, self.squares, self.maximum = 0, 0.0, 0.0, 0.0

    def add(self, one: Float, other: Float) -> None:
        if one.size == 0:
            return
        distance = np.abs(one - other)
        self.count += distance.size
        self.total += float(distance.sum(dtype=np.float64))
        self.squares += float(np.square(distance).sum(dtype=np.float64))
        self.maximum = max(self.maximum, float(distance.max()))

    def difference(self) -> Difference | None:
        """None when nothing was compared."""
        if self.count == 0:
            return None
        mean_square = self.squares / self.count
        psnr = None if mean_square == 0.0 else -10.0 * math.log10(mean_square)
        return Difference(psnr, self.total / self.count, self.maximum)
