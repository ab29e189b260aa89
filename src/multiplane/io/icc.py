"""ICC profiles: the two we embed, and every other one turned into sRGB on reading.

8-bit pictures go through littlecms. Pillow cannot hand it deeper ones, so for these the matrix
profiles that cameras and editors embed (Display P3, Adobe RGB, ProPhoto, grey) are evaluated here.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from multiplane.core.document import Pixels
from multiplane.core.pixels import full_scale, linear_to_srgb, srgb_to_linear, to_dtype, to_u8
from multiplane.io.errors import baked

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]

# sRGB primaries adapted to D50 by the Bradford transform, columns red, green, blue (IEC 61966-2-1
# through ICC.1 annex E).
SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_D50 = (0.9642, 1.0, 0.8249)
_STRIP = 256  # rows converted at a time


@dataclass(frozen=True)
class MatrixProfile:
    """Device values through `curves`, then `to_xyz` @ linear = XYZ relative to D50."""

    to_xyz: Float  # (3, 3)
    curves: tuple[Callable[[Float], Float], ...]  # one a channel, 0..1 -> 0..1


def to_srgb(pixels: Pixels, profile: bytes, path: Any = "the picture") -> Pixels:
    """(H, W, 4) in the dtype it came in, from the colours of `profile` to sRGB; alpha is kept.

    Returns `pixels` themselves when the profile is sRGB. A profile that does not describe RGB or
    grey pictures, or cannot be read, is logged and taken for sRGB."""
    matrix = parse(profile)
    if matrix is not None and space_of(matrix) == "srgb":
        return pixels
    if pixels.dtype == np.uint8 or matrix is None:
        return _through_littlecms(pixels, profile, path)
    return _through_matrix(pixels, matrix)


def space_of(profile: MatrixProfile | None) -> Literal["srgb", "linear", "other"]:
    """Whether the primaries are those of sRGB, and the curve that of sRGB or none at all.

    Tolerances are wide enough for the sRGB profiles in circulation, which differ in rounding."""
    if profile is None or np.abs(profile.to_xyz - SRGB_TO_XYZ).max() > 2e-3:
        return "other"
    ramp = np.linspace(0.0, 1.0, 257)

    def follow(truth: NDArray[Any]) -> bool:
        return all(np.abs(curve(ramp) - truth).max() < 2e-3 for curve in profile.curves)

    if follow(srgb_to_linear(ramp.astype(np.float32))):
        return "srgb"
    return "linear" if follow(ramp) else "other"


def _through_matrix(pixels: Pixels, profile: MatrixProfile) -> Pixels:
    to_linear_srgb = np.linalg.inv(SRGB_TO_XYZ) @ profile.to_xyz
    converted = pixels.copy()
    for top in range(0, len(pixels), _STRIP):
        color = pixels[top : top + _STRIP, :, :3] / full_scale(pixels.dtype)
        linear = np.stack([profile.curves[c](color[..., c]) for c in range(3)], axis=-1)
        wide = np.clip(linear @ to_linear_srgb.T, 0.0, 1.0).astype(np.float32)
        converted[top : top + _STRIP, :, :3] = to_dtype(linear_to_srgb(wide), pixels.dtype)
    return converted


def _through_littlecms(pixels: Pixels, profile: bytes, path: Any) -> Pixels:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = profile[16:20].strip()
        if space not in (b"RGB", b"GRAY"):
            raise ValueError(f"it describes {space!r}")
        color = Image.fromarray(np.ascontiguousarray(to_u8(pixels)[..., :3]))
        if space == b"GRAY":
            color = color.getchannel(0)
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            color.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        rgb = np.asarray(ImageCms.applyTransform(color, transform))
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s: its colour profile is ignored (%s); taken for sRGB", path, error)
        return pixels
    if pixels.dtype != np.uint8:
        baked(f"{path}: its colour profile is converted at 8 bits a channel")
    converted = pixels.copy()
    converted[..., :3] = to_dtype(rgb, pixels.dtype)
    return converted


def parse(profile: bytes) -> MatrixProfile | None:
    """The matrix and curves of an RGB or grey profile, or None when it has none or is damaged.

    ICC.1:2022, 7.3 (tag table), 8.3.3 and 8.4.3 (the tags), 10.6 curveType, 10.18 parametric."""
    try:
        if profile[36:40] != b"acsp" or profile[20:24] != b"XYZ ":
            return None
        (count,) = struct.unpack_from(">I", profile, 128)
        tags: dict[bytes, bytes] = {}
        for index in range(min(count, 100)):
            name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
            tags[name] = profile[start : start + size]
        if profile[16:20] == b"GRAY":
            return MatrixProfile(SRGB_TO_XYZ, (_curve(tags[b"kTRC"]),) * 3)
        if profile[16:20] != b"RGB " or b"A2B0" in tags:
            return None
        columns = [np.array(struct.unpack_from(">3i", tags[c + b"XYZ"], 8)) / 65536 for c in _RGB]
        return MatrixProfile(np.stack(columns, 1), tuple(_curve(tags[c + b"TRC"]) for c in _RGB))
    except (KeyError, struct.error, ValueError):
        return None


_RGB = (b"r", b"g", b"b")


def _curve(tag: bytes) -> Callable[[Float], Float]:
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
        if count == 1:
            return lambda x: np.power(x, table[0] / 256)
        return lambda x: np.interp(x, np.linspace(0, 1, count), table / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"curve type {tag[:4]!r}")
    (kind,) = struct.unpack_from(">H", tag, 8)
    numbers = (1, 3, 4, 5, 7)[kind] if kind < 5 else 0
    if not numbers:
        raise ValueError(f"parametric curve {kind}")
    values = [value / 65536 for value in struct.unpack_from(f">{numbers}i", tag, 12)]
    return _parametric(kind, values)


def _parametric(kind: int, values: list[float]) -> Callable[[Float], Float]:
    """Y = (a X + b)^g + e from X = d on, c X + f below. ICC.1:2022, table 68."""
    g, a, b, c, d, e, f = 1.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0
    if kind == 0:
        (g,) = values
    elif kind == 1:
        g, a, b = values
        d = -b / a if a else 0.0
    elif kind == 2:
        g, a, b, e = values
        d, f = (-b / a if a else 0.0), e
    elif kind == 3:
        g, a, b, c, d = values
    else:
        g, a, b, c, d, e, f = values

    def curve(x: Float) -> Float:
        with np.errstate(all="ignore"):  # damaged numbers may overflow
            y = np.where(x >= d, np.power(np.maximum(a * x + b, 0.0), g) + e, c * x + f)
        return np.clip(np.nan_to_num(y), 0.0, 1.0)

    return curve


def _build(description: str, curve: NDArray[np.uint16]) -> bytes:
    """A version 2 display profile with sRGB primaries. `curve`: 16-bit samples; none = linear."""

    def xyz(values: Any) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in values))

    text = description.encode("ascii") + b"\0"
    desc = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(12 + 67)
    trc = b"curv" + bytes(4) + struct.pack(">I", len(curve)) + curve.astype(">u2").tobytes()
    columns = [xyz(SRGB_TO_XYZ[:, c]) for c in range(3)]
    parts = [desc, b"text" + bytes(4) + b"Public domain\0", xyz(_D50), *columns, trc]
    names = (b"desc", b"cprt", b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    table, body = b"", b""
    start = 128 + 4 + 12 * len(names)
    for name, part in zip(names, [*parts, trc, trc], strict=True):
        if name in (b"gTRC", b"bTRC"):  # all three curves are one
            table += name + table[-8:]
            continue
        table += struct.pack(">4sII", name, start + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    header = struct.pack(
        ">I4xI4s4s4s6H4s4x4x4x4x8xI3i48x",
        start + len(body),
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2024, 1, 1, 0, 0, 0),  # fixed, so that equal documents give equal bytes
        b"acsp",
        1,  # relative colorimetric
        *(round(65536 * v) for v in _D50),
    )
    return header + struct.pack(">I", len(names)) + table + body


def _srgb_curve() -> NDArray[np.uint16]:
    ramp = np.linspace(0.0, 1.0, 1024, dtype=np.float32)
    return np.round(65535 * srgb_to_linear(ramp)).astype(np.uint16)


SRGB_PROFILE = _build("sRGB", _srgb_curve())
LINEAR_PROFILE = _build("sRGB primaries, linear light", np.zeros(0, np.uint16))
