"""OpenRaster (.ora), by the baseline specification 0.0.5: a zip of PNGs and `stack.xml`.

Kept beside the standard attributes, in our own XML namespace, which other programs skip: roles of
layers and the document's provenance. Clipping is `svg:src-atop` inside a stack of its own, which
we recognise and unwrap. OpenRaster has no masks: a layer mask is multiplied into the alpha.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from multiplane.core.composite import composite_u8
from multiplane.core.document import Group, Layer, LayerDocument, Pixels
from multiplane.core.pixels import resize
from multiplane.io import png
from multiplane.io.atomic import replacing
from multiplane.io.bake import mask_in_alpha, rounded
from multiplane.io.capabilities import ORA, check
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.image import decode, sniff
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.metadata import (
    dumps,
    loads,
    provenance_from_json,
    provenance_to_json,
    role_from_json,
)

MIMETYPE = "image/openraster"
NAMESPACE = "urn:multiplane:ora:1"
_ROLE, _PROVENANCE, _CLIPS = (f"{{{NAMESPACE}}}{key}" for key in ("role", "provenance", "clips"))
_MAX_STACK_BYTES = 8 << 20
_MAX_MEMBERS = 10_000
_ATOP = "svg:src-atop"

COMPOSITE_OPS = {
    "normal": "svg:src-over",
    "multiply": "svg:multiply",
    "screen": "svg:screen",
    "overlay": "svg:overlay",
    "darken": "svg:darken",
    "lighten": "svg:lighten",
    "color-dodge": "svg:color-dodge",
    "color-burn": "svg:color-burn",
    "hard-light": "svg:hard-light",
    "soft-light": "svg:soft-light",
    "difference": "svg:difference",
    "hue": "svg:hue",
    "saturation": "svg:saturation",
    "color": "svg:color",
    "luminosity": "svg:luminosity",
    "linear-dodge": "svg:plus",
}
_BLENDS = {op: blend for blend, op in COMPOSITE_OPS.items()}

ElementTree.register_namespace("multiplane", NAMESPACE)


def write(document: LayerDocument, path: Path) -> None:
    check(document, path, ORA)
    image = ElementTree.Element(
        "image", {"version": "0.0.5", "w": str(document.size[0]), "h": str(document.size[1])}
    )
    if document.provenance is not None:
        image.set(_PROVENANCE, dumps(provenance_to_json(document.provenance)))
    pictures: dict[str, Pixels] = {}
    _add_nodes(ElementTree.SubElement(image, "stack"), document.layers, pictures)
    pictures["mergedimage.png"] = composite_u8(document)
    pictures["Thumbnails/thumbnail.png"] = _thumbnail(pictures["mergedimage.png"])
    stack = ElementTree.tostring(image, encoding="UTF-8", xml_declaration=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        _store(archive, "mimetype", MIMETYPE.encode())
        _store(archive, "stack.xml", stack, zipfile.ZIP_DEFLATED)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            packed = pool.map(png.encode, pictures.values())
            for name, data in zip(pictures, packed, strict=True):
                _store(archive, name, data)


def _store(
    archive: zipfile.ZipFile, name: str, data: bytes, packing: int = zipfile.ZIP_STORED
) -> None:
    """A member with a fixed date: equal documents give equal files."""
    info = zipfile.ZipInfo(name)
    info.compress_type = packing
    archive.writestr(info, data)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, 256 / max(width, height))
    return resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))), "area")


def _add_nodes(
    stack: ElementTree.Element, nodes: tuple[Layer | Group, ...], pictures: dict[str, Pixels]
) -> None:
    """Append `nodes` (bottom to top) to `stack`, whose first child is the topmost."""
    rest = list(nodes)
    while rest:
        base = None if rest[0].clip else rest.pop(0)
        clipped = list(takewhile(lambda node: node.clip, rest))
        del rest[: len(clipped)]
        if base is not None and not clipped:
            stack.insert(0, _element(base, pictures))
            continue
        # The base's blend, opacity and visibility act on the clipped layers too: the stack's.
        shared = {"name": ""} if base is None else _attributes(base)
        wrapper = ElementTree.Element("stack", {**shared, "isolation": "isolate", _CLIPS: "1"})
        if base is not None:
            inner = _element(base, pictures)
            for key in ("opacity", "composite-op", "visibility"):
                inner.attrib.pop(key, None)
            wrapper.append(inner)
        for node in clipped:
            element = _element(node, pictures)
            element.set("composite-op", _ATOP)
            wrapper.insert(0, element)
        stack.insert(0, wrapper)


def _attributes(node: Layer | Group) -> dict[str, str]:
    blend = "normal" if node.blend == "pass-through" else node.blend
    return {
        "name": node.name,
        "opacity": repr(float(node.opacity)),
        "visibility": "visible" if node.visible else "hidden",
        "composite-op": COMPOSITE_OPS[blend],
    }


def _element(node: Layer | Group, pictures: dict[str, Pixels]) -> ElementTree.Element:
    if isinstance(node, Group):
        isolation = "auto" if node.blend == "pass-through" else "isolate"
        element = ElementTree.Element("stack", {**_attributes(node), "isolation": isolation})
        _add_nodes(element, node.layers, pictures)
        return element
    name = f"data/layer{len(pictures):03d}.png"
    pictures[name] = rounded(mask_in_alpha(node))
    x, y = node.offset
    element = ElementTree.Element(
        "layer", {**_attributes(node), "src": name, "x": str(x), "y": str(y)}
    )
    if node.role is not None:
        element.set(_ROLE, node.role)
    return element


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> LayerDocument:
    budget = Budget(path, limits)
    with decoding(path, "OpenRaster"), zipfile.ZipFile(path) as archive:
        return _Reader(path, archive, budget).document()


class _Reader:
    def __init__(self, path: Path, archive: zipfile.ZipFile, budget: Budget):
        self.path = path
        self.archive = archive
        self.budget = budget
        self.members = {info.filename: info for info in archive.infolist()}
        if len(archive.infolist()) > _MAX_MEMBERS:
            raise bad_file(path, f"holds {len(archive.infolist()):,} files", "do not open it")
        for name in self.members:
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or ":" in name:
                raise bad_file(
                    path, f"names the file {name!r}, outside of itself", "do not open it"
                )

    def document(self) -> LayerDocument:
        if self.member("mimetype", 256).strip() != MIMETYPE.encode():
            raise bad_file(self.path, f"does not say that it is {MIMETYPE}")
        text = self.member("stack.xml", _MAX_STACK_BYTES).decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise bad_file(self.path, "its stack.xml defines entities", "do not open it")
        image = ElementTree.fromstring(text)
        root = image.find("stack")
        if image.tag != "image" or root is None:
            raise bad_file(self.path, "its stack.xml holds no layer stack")
        size = int(image.attrib["w"]), int(image.attrib["h"])
        self.budget.picture(size, 4, "the canvas")
        provenance = image.get(_PROVENANCE)
        try:
            kept = None if provenance is None else provenance_from_json(loads(provenance))
        except ValueError as error:
            baked(f"{self.path}: its provenance is damaged and left out ({error})")
            kept = None
        return LayerDocument(size, self.nodes(root, 0), provenance=kept)

    def member(self, name: str, most: int) -> bytes:
        """The bytes of one file of the zip. most: bytes it may unfold to."""
        info = self.members.get(name)
        if info is None:
            raise bad_file(self.path, f"holds no {name}")
        if info.file_size > most:
            raise bad_file(
                self.path,
                f"its {name} unfolds to {info.file_size:,} bytes where {most:,} would do",
                "do not open it",
            )
        return self.archive.read(info)

    def nodes(self, stack: ElementTree.Element, depth: int) -> tuple[Layer | Group, ...]:
        """The children of a stack, bottom to top."""
        found: list[Layer | Group] = []
        for element in reversed(stack):
            self.budget.node(depth)
            if element.tag == "layer":
                found.append(self.layer(element))
                if found[-1].clip and _CLIPS not in stack.attrib:
                    self.tell_of_atop(found)
            elif element.tag == "stack" and self.is_clip_run(element):
                found += self.clip_run(element, depth)
            elif element.tag == "stack":
                found.append(self.group(element, depth))
            else:
                baked(f"{self.path}: <{element.tag}> {element.get('name', '')!r} is left out")
        return tuple(found)

    def tell_of_atop(self, found: list[Layer | Group]) -> None:
        """Another program's src-atop paints on all that is below, a clipped layer on one layer."""
        if len([node for node in found if not node.clip]) > 1:
            baked(
                f"{self.path}: layer {found[-1].name!r} paints on everything below it ({_ATOP}): "
                "read as clipped to the layer below"
            )

    def is_clip_run(self, stack: ElementTree.Element) -> bool:
        """Whether this is a stack that `_add_nodes` made, and no one has changed since."""
        children = list(stack)
        clipped = [child.get("composite-op") == _ATOP for child in children]
        return _CLIPS in stack.attrib and bool(children) and all(clipped[:-1])

    def clip_run(self, stack: ElementTree.Element, depth: int) -> list[Layer | Group]:
        base, *clipped = self.nodes(stack, depth + 1)
        if base.clip:  # nothing to clip to
            return [base, *clipped]
        outer = self.shared(stack)
        if isinstance(base, Group) and base.blend == "pass-through" and outer["blend"] == "normal":
            outer["blend"] = "pass-through"
        kept = {key: outer[key] for key in ("opacity", "blend", "visible")}
        return [replace(base, **kept), *clipped]

    def group(self, element: ElementTree.Element, depth: int) -> Group:
        shared = self.shared(element)
        plain = shared["opacity"] == 1.0 and shared["blend"] == "normal"
        if plain and not shared["clip"] and element.get("isolation", "auto") == "auto":
            shared["blend"] = "pass-through"
        return Group(layers=self.nodes(element, depth + 1), **shared)

    def layer(self, element: ElementTree.Element) -> Layer:
        shared = self.shared(element)
        what = f"layer {shared['name']!r}"
        offset = int(element.get("x", "0")), int(element.get("y", "0"))
        if max(map(abs, offset)) >= 1 << 31:
            raise bad_file(self.path, f"{what} lies at {offset}, beyond any canvas")
        try:
            role = role_from_json(element.get(_ROLE))
        except ValueError as error:
            baked(f"{self.path}: {what}: {error}; left out")
            role = None
        return Layer(
            pixels=self.pixels(element.attrib["src"], what), offset=offset, role=role, **shared
        )

    def pixels(self, name: str, what: str) -> Pixels:
        info = self.members.get(name)
        if info is None:
            raise bad_file(self.path, f"{what} is in {name!r}, which is not in the zip")
        with self.archive.open(info) as start:
            head = start.read(24)
        if sniff(head) != "PNG" or len(head) < 24:
            raise bad_file(self.path, f"{what} ({name}) is no PNG, which OpenRaster asks for")
        width, height = struct.unpack(">II", head[16:24])
        self.budget.check_size((width, height), what)
        most = 16 * width * height + (16 << 20)  # twice what the deepest pixels can need
        return decode(self.member(name, most), self.budget, what=what)

    def shared(self, element: ElementTree.Element) -> dict[str, Any]:
        name = element.get("name", "")
        opacity = float(element.get("opacity", "1"))
        if not math.isfinite(opacity):
            raise ValueError(f"opacity of {name!r} is {opacity}")
        op = element.get("composite-op", "svg:src-over")
        if op != _ATOP and op not in _BLENDS:
            baked(f"{self.path}: layer {name!r} has the mode {op!r}, read as normal")
        return {
            "name": name,
            "opacity": opacity,
            "visible": element.get("visibility", "visible") != "hidden",
            "blend": _BLENDS.get(op, "normal"),
            "clip": op == _ATOP,
        }
