"""The planes of a request as a `LayerDocument`: names, roles, provenance."""

from __future__ import annotations

from typing import Any

from multiplane.core.document import Layer, LayerDocument, Pixels, Provenance, Role
from multiplane.core.family import Family
from multiplane.core.request import Plane
from multiplane.engine.generate import Outcome, stage_seeds
from multiplane.engine.naming import free_name, name_from


def document_of(family: Family, outcome: Outcome) -> LayerDocument:
    """Background, foregrounds, residual, bottom to top; a flat picture is one layer.

    Layers are named after their prompts. Provenance holds the request, the seed, the model, what
    each layer was made from, and the figures of `Outcome.report`."""
    request = outcome.request
    assert request.size is not None
    layers: list[Layer] = []
    entries: list[dict[str, Any]] = []

    def put(plane: Plane, pixels: Pixels | None, role: Role, seed: int) -> None:
        if pixels is None:
            return
        name = name_from(plane.prompt, role.capitalize())
        layer = Layer(free_name(name, {each.name for each in layers}), pixels, role=role)
        layers.append(layer)
        entry = {"name": layer.name, "role": role, "state": plane.state, "prompt": plane.prompt}
        entries.append({**entry, "seed": seed} if plane.state == "wanted" else entry)

    put(request.composite, outcome.composite, "composite", request.seed)
    put(request.background, outcome.background, "background", request.seed)
    seeds = stage_seeds(request)
    for index, (plane, pixels) in enumerate(
        zip(request.foregrounds, outcome.foregrounds, strict=True)
    ):
        put(plane, pixels, "foreground", seeds.get(index, request.seed))
    put(Plane(), outcome.residual, "residual", request.seed)
    return LayerDocument(
        request.size,
        tuple(layers),
        provenance=Provenance(
            model=family.name,
            version=family.version,
            seed=request.seed,
            request=request.to_json(),
            report={**outcome.report, "layers": entries},
        ),
    )
