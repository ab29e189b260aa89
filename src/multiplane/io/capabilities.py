"""What each format holds, and what becomes of the rest: one table, checked before every write."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Group, Layer, LayerDocument
from multiplane.io.errors import CapabilityError, baked

# holds: comes back as it went in. bakes: written so that the picture stays the same, with a
# BakedWarning. refuses: a CapabilityError. Both name the layers and the feature.
Holding = Literal["holds", "bakes", "refuses"]

ALL_MODES = frozenset(BLEND_MODES)


@dataclass(frozen=True)
class Capabilities:
    """What one format does with each feature a document may have (words in FEATURES)."""

    name: str
    title: str
    suffixes: tuple[str, ...]
    blend_modes: frozenset[str] = ALL_MODES
    layers: Holding = "holds"
    groups: Holding = "holds"
    faded_pass_through: Holding = "holds"
    masks: Holding = "holds"
    group_masks: Holding = "holds"
    grey_outside: Holding = "holds"
    opacity: Holding = "holds"
    blends: Holding = "refuses"
    clips: Holding = "holds"
    blended_clips: Holding = "holds"
    clipped_groups: Holding = "holds"
    offsets: Holding = "holds"
    hidden: Holding = "holds"
    roles: Holding = "holds"
    unicode_names: Holding = "holds"
    control_names: Holding = "holds"
    deep: Holding = "holds"
    floats: Holding = "holds"
    linear_floats: Holding = "holds"
    linear: Holding = "holds"
    provenance: Holding = "holds"


# feature: (what a document that has it holds, what baking makes of it)
FEATURES: dict[str, tuple[str, str]] = {
    "layers": ("more than one layer, or none", "merged into one picture"),
    "groups": ("groups", "merged into one picture"),
    "faded_pass_through": ("pass-through groups with an opacity below 1", ""),
    "masks": ("layer masks", "multiplied into the alpha"),
    "group_masks": ("group masks", "multiplied into the alpha"),
    "grey_outside": ("masks partly covered beyond their edge", "enlarged to cover their layer"),
    "opacity": ("an opacity below 1", "multiplied into the alpha"),
    "blends": ("a blend mode it does not know", "merged into one picture"),
    "clips": ("layers clipped to the one below", "merged into one picture"),
    "blended_clips": ("clipped layers in a mode other than normal", "merged into one picture"),
    "clipped_groups": ("groups clipped to the layer below", "merged into one picture"),
    "offsets": ("layers of another size or place than the canvas", "cut to the canvas"),
    "hidden": ("hidden layers", "left out"),
    "roles": ("roles of layers", "left out"),
    "unicode_names": ("names beyond ASCII", "left out"),
    "control_names": ("names with line breaks or control characters", "left out"),
    "deep": ("16 bits a channel", "rounded to 8 bits"),
    "floats": ("float32 pixels", "rounded to 16 bits"),
    "linear_floats": ("float32 pixels in linear light", "rounded to 16 bits"),
    "linear": ("pixels in linear light", ""),
    "provenance": ("provenance", "left out"),
}

PLANES = Capabilities(
    name="planes",
    title="planes folder: one PNG a layer and layers.json",
    suffixes=("", ".planes"),
)

# The second value of a PSD mask is one byte, full or empty, outside its pixels. 32-bit documents
# are linear by Photoshop's convention, so encoded floats go to 16 bits.
PSD = Capabilities(
    name="psd",
    title="Photoshop document",
    suffixes=(".psd", ".psb"),
    grey_outside="bakes",
    control_names="refuses",
    floats="bakes",
)

# OpenRaster 0.0.5, layer stack specification: composite-op has these and no more, and no masks.
ORA = Capabilities(
    name="ora",
    title="OpenRaster",
    suffixes=(".ora",),
    blend_modes=ALL_MODES
    - {"exclusion", "linear-burn", "vivid-light", "linear-light", "pin-light", "hard-mix"}
    - {"subtract", "divide", "darker-color", "lighter-color"},
    faded_pass_through="refuses",
    masks="bakes",
    group_masks="refuses",
    blended_clips="refuses",
    clipped_groups="refuses",
    control_names="refuses",
    floats="bakes",
    linear_floats="refuses",
    linear="refuses",
)

PNG = Capabilities(
    name="png",
    title="single PNG",
    suffixes=(".png",),
    blend_modes=frozenset({"normal"}),
    layers="bakes",
    groups="bakes",
    faded_pass_through="bakes",
    masks="bakes",
    group_masks="bakes",
    opacity="bakes",
    blends="bakes",
    clips="bakes",
    blended_clips="bakes",
    clipped_groups="bakes",
    offsets="bakes",
    hidden="bakes",
    floats="bakes",
    linear_floats="bakes",
)

CAPABILITIES = {table.name: table for table in (PLANES, PSD, ORA, PNG)}


def features(document: LayerDocument, table: Capabilities) -> dict[str, list[str]]:
    """Every feature of `document`, with the names of the layers and groups that have it."""
    found: dict[str, list[str]] = {}
    leaves = document.leaves()
    if len(leaves) != 1:
        found["layers"] = [leaf.name for leaf in leaves]
    if document.space == "linear":
        found["linear"] = []
    if document.provenance is not None:
        found["provenance"] = []
    for _, node in document.walk():
        for feature in _features_of(node, document, table):
            found.setdefault(feature, []).append(node.name)
    return found


def _features_of(
    node: Layer | Group, document: LayerDocument, table: Capabilities
) -> Iterator[str]:
    is_group = isinstance(node, Group)
    passes = is_group and node.blend == "pass-through"
    if not passes and node.blend not in table.blend_modes:
        yield "blends"
    if node.opacity < 1.0:
        yield "opacity"
    if not node.visible:
        yield "hidden"
    if not node.name.isascii():
        yield "unicode_names"
    if any(unicodedata.category(c) == "Cc" or c in "\ufffe\uffff" for c in node.name):
        yield "control_names"
    if node.mask is not None:
        yield "group_masks" if is_group else "masks"
        if node.mask.outside not in (0.0, 1.0):
            yield "grey_outside"
    if is_group:
        yield "groups"
        if passes and node.opacity < 1.0:
            yield "faded_pass_through"
        if node.clip:
            yield "clipped_groups"
    else:
        if node.clip:
            yield "clips" if node.blend == "normal" else "blended_clips"
        if node.offset != (0, 0) or node.size != document.size:
            yield "offsets"
        if node.role is not None:
            yield "roles"
    dtype = deepest(node)
    if dtype == np.float32:
        yield "linear_floats" if document.space == "linear" else "floats"
    elif dtype == np.uint16:
        yield "deep"


def deepest(*nodes: Layer | Group) -> np.dtype[Any]:
    """The dtype that holds the pixels and masks of all `nodes`: uint8, uint16 or float32."""
    kinds = [node.pixels.dtype for node in nodes if isinstance(node, Layer)]
    kinds += [node.mask.pixels.dtype for node in nodes if node.mask is not None]
    return max([np.dtype(np.uint8), *kinds], key=lambda dtype: dtype.itemsize)


def check(document: LayerDocument, path: str | os.PathLike[str], table: Capabilities) -> None:
    """Before writing `document` to `path`: one BakedWarning for all that will be baked, one
    CapabilityError for all that is refused, and for names that are no text at all."""
    found = features(document, table)
    for _, node in document.walk():
        try:
            node.name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CapabilityError(
                f"{os.fspath(path)}: the name {node.name!r} holds half a character that no file "
                "can store: rename the layer"
            ) from error
    refused = [f for f in found if getattr(table, f) == "refuses"]
    if refused:
        raise CapabilityError(
            f"{os.fspath(path)}: {table.title} cannot hold "
            + "; ".join(_name(feature, found[feature]) for feature in refused)
            + ": change these, or save as a planes folder"
        )
    told = [f for f in found if getattr(table, f) == "bakes"]
    if "layers" in told:  # which takes the rest in
        told = [f for f in told if f in ("layers", "hidden", "floats", "linear_floats")]
    if told:
        baked(
            f"{os.fspath(path)}: {table.title} does not hold "
            + "; ".join(_name(f, found[f]) + f", now {FEATURES[f][1]}" for f in told)
        )


def _name(feature: str, names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return FEATURES[feature][0] + (f" ({shown}{more})" if names else "")
