"""PNG: the packer that every format here uses for its layers, and the single-picture format.

A single PNG holds a document of one plain layer exactly, colour under alpha 0 included; any other
document is flattened into it with a warning. Provenance travels in an iTXt chunk called
"multiplane".
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import ColorSpace, Coverage, Layer, LayerDocument, Pixels
from multiplane.core.pixels import curve_between, to_u16, with_curve
from multiplane.io.atomic import write_bytes
from multiplane.io.capabilities import PNG, check, deepest
from multiplane.io.errors import baked, decoding
from multiplane.io.icc import LINEAR_PROFILE
from multiplane.io.image import decode
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.metadata import (
    dumps,
    loads,
    mapping,
    provenance_from_json,
    provenance_to_json,
    role_from_json,
)

logger = logging.getLogger(__name__)

CHUNK = "multiplane"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGBA = 0, 6  # colour types
_SAMPLE = 64  # rows tried to choose the packing by


def encode(
    pixels: Pixels | Coverage, space: ColorSpace = "srgb", text: Mapping[str, str] | None = None
) -> bytes:
    """(H, W, 4) RGBA or (H, W) grey, uint8 or uint16, as a PNG with every value kept.

    Pillow can write no 16-bit RGBA, and takes four times as long for what it can (PNG
    specification, third edition). text: iTXt chunks by keyword. Equal arguments, equal bytes."""
    height, width = pixels.shape[:2]
    depth, kind = 8 * pixels.dtype.itemsize, _GREY if pixels.ndim == 2 else _RGBA
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    if space == "srgb":
        chunks.append((b"sRGB", b"\x01"))  # relative colorimetric
    else:
        chunks.append((b"iCCP", b"linear\0\0" + zlib.compress(LINEAR_PROFILE)))
    for keyword, value in (text or {}).items():
        chunks.append((b"iTXt", keyword.encode("latin-1") + bytes(5) + value.encode()))
    chunks += [(b"IDAT", image_data(pixels)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(name, body) for name, body in chunks)


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG: length, name, body, checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def text_chunk(keyword: str, value: str) -> bytes:
    """An iTXt chunk, not compressed."""
    return chunk(b"iTXt", keyword.encode("latin-1") + bytes(5) + value.encode())


def image_data(pixels: Pixels | Coverage) -> bytes:
    """(H, W, 4) RGBA or (H, W) grey, uint8 or uint16, filtered and deflated: what IDAT holds."""
    return _packed(_filtered(pixels))


def _filtered(pixels: Pixels | Coverage) -> NDArray[np.uint8]:
    """Scanlines, each with whichever of the filters Sub and Up leaves the smaller residue."""
    step = pixels.itemsize * (1 if pixels.ndim == 2 else 4)  # bytes a pixel
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"), copy=False)
    rows = np.ascontiguousarray(big_endian).reshape(len(pixels), -1).view(np.uint8)
    sub, up = rows.copy(), rows.copy()
    sub[:, step:] -= rows[:, :-step]
    up[1:] -= rows[:-1]
    # A residue of 255 is one step down: measure it as the signed byte it is.
    cost = [np.abs(r.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for r in (sub, up)]
    take_up = (cost[1] < cost[0])[:, None]
    return np.hstack([np.where(take_up, 2, 1).astype(np.uint8), np.where(take_up, up, sub)])


def _packed(scanlines: NDArray[np.uint8]) -> bytes:
    """Deflated the better of two ways on a sample: strings looked for (drawings), or runs alone
    (grain and photographs, where the search is slow and finds nothing)."""
    middle = len(scanlines) // 2
    sample = scanlines[max(0, middle - _SAMPLE // 2) : middle + _SAMPLE // 2].tobytes()
    ways = ((4, zlib.Z_DEFAULT_STRATEGY), (1, zlib.Z_RLE))
    best = min(ways, key=lambda way: len(_deflated(sample, *way)))
    return _deflated(scanlines.tobytes(), *best)


def _deflated(data: bytes, level: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(data) + packer.flush()


def write(document: LayerDocument, path: Path) -> None:
    """One plain layer as it is; anything else composited, with a BakedWarning."""
    check(document, path, PNG)
    layer = plain_layer(document)
    space = "srgb" if layer is None else document.space
    if layer is not None:
        pixels = layer.pixels if layer.pixels.dtype != np.float32 else to_u16(layer.pixels)
    else:
        pixels = flat(document)
    facts: dict[str, Any] = {"format": "multiplane png", "version": 1, "space": space}
    if document.provenance is not None:
        facts["provenance"] = provenance_to_json(document.provenance)
    if layer is not None:
        facts["layer"] = {"name": layer.name, "role": layer.role}
    write_bytes(path, encode(pixels, space, {CHUNK: dumps(facts)}))


def flat(document: LayerDocument) -> Pixels:
    """The composite as shown, sRGB-encoded: uint8, or uint16 when anything in it is deeper."""
    if deepest(*(node for _, node in document.walk())) == np.uint8:
        return composite_u8(document)
    curve = curve_between(document.space, "srgb")
    picture = composite(document)
    return to_u16(picture if curve is None else with_curve(picture, curve))


def plain_layer(document: LayerDocument) -> Layer | None:
    """The document's one layer when it alone is the picture: nothing to composite."""
    if len(document.layers) != 1 or not isinstance(document.layers[0], Layer):
        return None
    layer = document.layers[0]
    plain = (
        layer.opacity == 1.0
        and layer.blend == "normal"
        and layer.visible
        and layer.mask is None
        and not layer.clip
        and layer.offset == (0, 0)
        and layer.size == document.size
    )
    return layer if plain else None


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> LayerDocument:
    """A document of one layer. A PNG of another program is a layer named after the file."""
    budget = Budget(path, limits)
    data = path.read_bytes()
    facts = _facts(data, path)
    with decoding(path, "PNG"):
        space = facts.get("space", "srgb")
        pixels = decode(data, budget, "linear" if space == "linear" else "srgb")
    try:
        layer = mapping(facts.get("layer", {}), "layer")
        role = role_from_json(layer.get("role"))
        provenance = provenance_from_json(facts["provenance"]) if "provenance" in facts else None
    except ValueError as error:
        baked(f"{path}: its multiplane metadata is damaged and left out ({error})")
        layer, role, provenance = {}, None, None
    return LayerDocument(
        size=(pixels.shape[1], pixels.shape[0]),
        layers=(Layer(str(layer.get("name", path.stem)), pixels, role=role),),
        space="linear" if space == "linear" else "srgb",
        provenance=provenance,
    )


def _facts(data: bytes, path: Path) -> dict[str, Any]:
    """The JSON of our text chunk; empty for a PNG that has none."""
    with decoding(path, "PNG"):
        image = PngImagePlugin.PngImageFile(io.BytesIO(data))
        text = image.info.get(CHUNK)
    if text is None:
        return {}
    try:
        return loads(text)
    except ValueError as error:
        baked(f"{path}: its multiplane metadata is damaged and left out ({error})")
        return {}
