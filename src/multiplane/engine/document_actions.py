"""Add a layer to a document, make one again, or paint part of one anew.

Each takes a document and gives a new one. Every layer that is not the one acted on is the same
object afterwards, so its stored bytes, and its content hash, are what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np

from multiplane.core.composite import composite_u8
from multiplane.core.document import Group, Layer, LayerDocument, Pixels, Provenance, Role
from multiplane.core.edit import replace_layer
from multiplane.core.family import Family, Progress
from multiplane.core.pixels import full_scale, to_dtype
from multiplane.core.placing import on_canvas, put_back
from multiplane.core.request import LayerRequest, Plane, PlaneName, RequestError
from multiplane.engine.generate import Outcome, run_request
from multiplane.engine.naming import free_name, name_from, recorded_layers, recorded_prompt
from multiplane.engine.pictures import Picture, keep_of_mask
from multiplane.engine.planes import PlaneInput, build_request, check_prompt


class ActionSettings(TypedDict, total=False):
    """What an action takes beside its layer and prompt; as for `Model.generate`."""

    silhouette: Picture | None
    edges: Picture | None
    seed: int | None
    steps: int | None
    guidance: float | None
    options: Mapping[str, Any]


def add(
    family: Family,
    document: LayerDocument,
    prompt: str,
    progress: Progress | None,
    settings: ActionSettings,
) -> LayerDocument:
    """`document` with one more foreground on top, made for what is there.

    Where the picture is see-through there is no background to make it for: then it is made alone.
    """
    _check_space(document)
    request = _foreground_request(family, composite_u8(document), prompt, settings)
    outcome = run_request(family, request, progress)
    taken = {layer.name for layer in document.leaves()}
    layer = Layer(
        free_name(name_from(request.foregrounds[0].prompt, "Foreground"), taken),
        outcome.foregrounds[0],
        role="foreground",
    )
    added = replace(document, layers=(*document.layers, layer))
    return _recorded(added, "add", layer, request.foregrounds[0].prompt, request, outcome, family)


def regenerate(
    family: Family,
    document: LayerDocument,
    layer: str | Layer,
    prompt: str | None,
    progress: Progress | None,
    settings: ActionSettings,
) -> LayerDocument:
    """`document` with one layer made again for all that it is seen with.

    prompt: None takes the one it was made from; "" makes it without. A foreground is made for what
    lies below it, a background for what lies above it."""
    _check_space(document)
    old = _layer_of(document, layer)
    words = _prompt_for(document, old) if prompt is None else prompt
    value: PlaneInput = check_prompt(words) if words else True
    request, role = _remake_request(family, document, old, value, settings)
    outcome = run_request(family, request, progress)
    new = replace(old, pixels=_made(outcome, role), offset=(0, 0))
    return _recorded(
        _exchange(document, old, new), "regenerate", new, words, request, outcome, family
    )


def inpaint(
    family: Family,
    document: LayerDocument,
    layer: str | Layer,
    mask: Picture,
    prompt: str | None,
    progress: Progress | None,
    settings: ActionSettings,
) -> LayerDocument:
    """`document` with part of one layer painted anew, its alpha too.

    mask: of the document's size, white where the layer is painted anew; where it is black the
    layer's stored values stay as they are. prompt: None takes the one the layer was made from."""
    _check_space(document)
    old = _layer_of(document, layer)
    keep = keep_of_mask(mask)
    if keep.shape[::-1] != document.size:
        raise RequestError(
            f"the mask is {keep.shape[1]} x {keep.shape[0]}, the document {document.size[0]} x "
            f"{document.size[1]}: they must be the same size"
        )
    words = (recorded_prompt(document, old.name) or "") if prompt is None else prompt
    words = check_prompt(words) if words else ""
    canvas = on_canvas(old, document.size)
    plane = Plane(True, words, canvas, keep)
    request, role = _remake_request(family, document, old, plane, settings)
    outcome = run_request(family, request, progress)
    made = to_dtype(_made(outcome, role), canvas.dtype)
    kept = (keep == full_scale(keep.dtype))[..., None]
    new = put_back(old, np.where(kept, canvas, made))
    return _recorded(_exchange(document, old, new), "inpaint", new, words, request, outcome, family)


def _check_space(document: LayerDocument) -> None:
    if document.space != "srgb":
        raise RequestError(
            f"models paint in sRGB, this document's space is {document.space!r}: convert it first"
        )


def _layer_of(document: LayerDocument, layer: str | Layer) -> Layer:
    if isinstance(layer, str):
        try:
            return document.find(layer)
        except KeyError as error:
            raise RequestError(error.args[0]) from error
    if not any(layer is each for each in document.leaves()):
        raise RequestError(f"the layer {layer.name!r} is not in this document")
    return layer


def _prompt_for(document: LayerDocument, layer: Layer) -> str:
    prompt = recorded_prompt(document, layer.name)
    if prompt is None:
        raise RequestError(
            f"no prompt is recorded for the layer {layer.name!r}: say what to make of it"
        )
    return prompt


def _remake_request(
    family: Family,
    document: LayerDocument,
    layer: Layer,
    value: PlaneInput,
    settings: ActionSettings,
) -> tuple[LayerRequest, PlaneName]:
    """The request that makes `layer` for the other layers, and the plane that it is."""
    leaves = document.leaves()
    place = next(index for index, each in enumerate(leaves) if each is layer)
    if layer.role == "residual":
        raise RequestError(
            f"the layer {layer.name!r} holds what the given planes disagreed by; no model makes it"
        )
    if not _is_background(layer, place, document.size):
        below = composite_u8(_showing(document, leaves[:place]))
        return _foreground_request(family, below, value, settings), "foreground"
    above = composite_u8(_showing(document, (*leaves[:place], *leaves[place + 1 :])))
    if not above[..., 3].any():
        return _request(family, settings, "composite", composite=value), "composite"
    return (
        _request(
            family, settings, "background", foreground=above, background=value, composite=True
        ),
        "background",
    )


def _is_background(layer: Layer, place: int, size: tuple[int, int]) -> bool:
    if layer.role is not None:
        return layer.role in ("background", "composite")
    covers = layer.offset == (0, 0) and layer.size == size
    return place == 0 and covers and _is_opaque(layer.pixels)


def _is_opaque(pixels: Pixels) -> bool:
    full = 1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    return bool((pixels[..., 3] == full).all())


def _foreground_request(
    family: Family, below: Pixels, value: PlaneInput, settings: ActionSettings
) -> LayerRequest:
    if not _is_opaque(below):
        size = (below.shape[1], below.shape[0])
        return _request(family, settings, "foreground", size, foreground=value)
    return _request(
        family, settings, "foreground", foreground=value, background=below, composite=True
    )


def _request(
    family: Family,
    settings: ActionSettings,
    made: PlaneName,
    size: tuple[int, int] | None = None,
    foreground: PlaneInput = None,
    background: PlaneInput = None,
    composite: PlaneInput = None,
) -> LayerRequest:
    controls = {
        kind: {made: picture}
        for kind in ("silhouette", "edges")
        if (picture := settings.get(kind)) is not None
    }
    said = {key: value for key, value in settings.items() if key not in ("silhouette", "edges")}
    return build_request(
        family.name,
        foreground,
        background,
        composite,
        {**said, **controls, "size": size},  # pyright: ignore[reportArgumentType]
    )


def _made(outcome: Outcome, plane: PlaneName) -> Pixels:
    made = {
        "foreground": outcome.foregrounds[0] if outcome.foregrounds else None,
        "background": outcome.background,
        "composite": outcome.composite,
    }[plane]
    if made is None:
        raise RuntimeError(f"the family made no {plane}")
    return made


def _showing(document: LayerDocument, leaves: Collection[Layer]) -> LayerDocument:
    """`document` with every layer that is not one of `leaves` hidden."""
    shown = {id(each) for each in leaves}

    def visit(node: Layer | Group) -> Layer | Group:
        if isinstance(node, Group):
            return replace(node, layers=tuple(visit(each) for each in node.layers))
        return node if id(node) in shown else replace(node, visible=False)

    return replace(document, layers=tuple(visit(node) for node in document.layers))


def _exchange(document: LayerDocument, old: Layer, new: Layer) -> LayerDocument:
    """`document` with `new` in the place of `old`; every other layer is the same object."""
    path = next(path for path, node in document.walk() if node is old)
    return replace_layer(document, path, new)


def _recorded(
    document: LayerDocument,
    action: str,
    layer: Layer,
    prompt: str,
    request: LayerRequest,
    outcome: Outcome,
    family: Family,
) -> LayerDocument:
    """`document` with the action written into its provenance."""
    before = document.provenance or Provenance()
    role: Role | None = layer.role
    entry = {"name": layer.name, "role": role, "prompt": prompt, "seed": request.seed}
    layers = [each for each in recorded_layers(document) if each["name"] != layer.name]
    edits = before.report.get("edits")
    edit = {
        "action": action,
        "layer": layer.name,
        "model": family.name,
        "version": family.version,
        "request": request.to_json(),
        "report": dict(outcome.report),
    }
    report = {
        **before.report,
        "layers": [*layers, entry],
        "edits": [*(edits if isinstance(edits, list | tuple) else ()), edit],
    }
    return replace(document, provenance=replace(before, report=report))
