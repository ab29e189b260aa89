"""The planes of a request as a `LayerDocument` or a `LayerClip`: names, roles, provenance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument, Pixels, Provenance, Role
from multiplane.core.family import Family
from multiplane.core.request import Plane
from multiplane.engine.generate import Outcome, stage_seeds
from multiplane.engine.naming import free_name, name_from


@dataclass(frozen=True, eq=False)
class _Sheet:
    """One plane that is there: its layer's name and role, pixels (H, W, 4) or (T, H, W, 4), and
    what provenance says of it."""

    name: str
    role: Role
    pixels: Pixels
    entry: dict[str, Any]


def document_of(family: Family, outcome: Outcome) -> LayerDocument:
    """Background, foregrounds, residual, bottom to top; a flat picture is one layer.

    Layers are named after their prompts. Provenance holds the request, the seed, the model, what
    each layer was made from, and the figures of `Outcome.report`."""
    assert outcome.request.size is not None
    sheets = _sheets(outcome)
    return LayerDocument(
        outcome.request.size,
        tuple(Layer(sheet.name, sheet.pixels, role=sheet.role) for sheet in sheets),
        provenance=_provenance(family, outcome, sheets),
    )


def clip_of(family: Family, outcome: Outcome) -> LayerClip:
    """The same layers frame by frame, for a request of several frames. Every frame has the
    provenance of the whole."""
    request = outcome.request
    assert request.size is not None
    assert request.fps is not None
    size = request.size
    sheets = [replace(sheet, pixels=_read_only(sheet.pixels)) for sheet in _sheets(outcome)]
    provenance = _provenance(family, outcome, sheets)

    def frame(number: int) -> LayerDocument:
        layers = (Layer(sheet.name, sheet.pixels[number], role=sheet.role) for sheet in sheets)
        return LayerDocument(size, tuple(layers), provenance=provenance)

    return LayerClip(
        size=size,
        fps=request.fps,
        names=tuple(sheet.name for sheet in sheets),
        open=lambda start: map(frame, range(start, request.frames)),
        frames=request.frames,
        provenance=provenance,
    )


def _read_only(pixels: Pixels) -> Pixels:
    """`pixels` that nobody can change, so that layers need not copy them frame by frame."""
    frozen = np.array(pixels) if pixels.flags.writeable else pixels
    frozen.flags.writeable = False
    return frozen


def _sheets(outcome: Outcome) -> list[_Sheet]:
    request = outcome.request
    sheets: list[_Sheet] = []

    def put(plane: Plane, pixels: Pixels | None, role: Role, seed: int) -> None:
        if pixels is None:
            return
        name = free_name(
            name_from(plane.prompt, role.capitalize()), {sheet.name for sheet in sheets}
        )
        entry: dict[str, Any] = {"name": name, "role": role}
        entry |= {"state": plane.state, "prompt": plane.prompt}
        if plane.state == "wanted":
            entry["seed"] = seed
        sheets.append(_Sheet(name, role, pixels, entry))

    put(request.composite, outcome.composite, "composite", request.seed)
    put(request.background, outcome.background, "background", request.seed)
    seeds = stage_seeds(request)
    for index, (plane, pixels) in enumerate(
        zip(request.foregrounds, outcome.foregrounds, strict=True)
    ):
        put(plane, pixels, "foreground", seeds.get(index, request.seed))
    put(Plane(), outcome.residual, "residual", request.seed)
    return sheets


def _provenance(family: Family, outcome: Outcome, sheets: list[_Sheet]) -> Provenance:
    return Provenance(
        model=family.name,
        version=family.version,
        seed=outcome.request.seed,
        request=outcome.request.to_json(),
        report={**outcome.report, "layers": [sheet.entry for sheet in sheets]},
    )
