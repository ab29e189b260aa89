"""A moving picture as a file holds it: one stream of frames, read and written one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from multiplane.core.clip import ClipError
from multiplane.core.document import Layer, LayerDocument, Pixels, Provenance
from multiplane.core.pixels import to_dtype, to_float
from multiplane.io.errors import bad_file, baked
from multiplane.io.limits import Limits
from multiplane.io.metadata import (
    dumps,
    loads,
    mapping,
    provenance_from_json,
    provenance_to_json,
    role_from_json,
)

KEY = "multiplane"  # under which containers and text chunks keep what `facts_text` makes
FORMAT, VERSION = "multiplane moving picture", 1

Sink: TypeAlias = Callable[[Pixels], None]  # takes (H, W, 4) frames, one after another


@dataclass(frozen=True, eq=False)
class MovingPicture:
    """Frames (H, W, 4) of `dtype` (uint8 or uint16), straight alpha, sRGB. size: (width, height).
    codec: "prores", "ffv1", "vp9", "h264", "png", ... as the file has it.

    open: `open(n)` gives the frames from number n on. frames: None where the file does not say how
    many there are. facts: what `facts_text` kept, empty for a file of another program."""

    codec: str
    size: tuple[int, int]
    fps: Fraction
    dtype: np.dtype[Any]
    has_alpha: bool
    open: Callable[[int], Iterator[Pixels]] = field(repr=False)
    frames: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a writer is told before the first frame. dtype: uint8 or uint16. frames: None when it
    is not known yet. crf: for lossy codecs, smaller is better; None takes the format's own."""

    size: tuple[int, int]
    fps: Fraction
    dtype: np.dtype[Any]
    frames: int | None = None
    name: str = ""
    role: str | None = None
    provenance: Provenance | None = None
    crf: int | None = None


class Writing(Protocol):
    """What a format's module calls `writing`: the file appears whole when the block ends well."""

    def __call__(self, path: Path, plan: Plan) -> AbstractContextManager[Sink]: ...


class Reading(Protocol):
    """What a format's module calls `read`."""

    def __call__(self, path: Path, limits: Limits) -> MovingPicture: ...


def facts_text(plan: Plan) -> str:
    """What is worth keeping beside the pixels, as ASCII JSON. Raises ValueError for provenance that
    JSON cannot hold."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "fps": str(plan.fps),
        "frames": plan.frames,
        "dtype": plan.dtype.name,
        "layer": {"name": plan.name, "role": plan.role},
    }
    if plan.provenance is not None:
        facts["provenance"] = provenance_to_json(plan.provenance)
    return dumps(facts)


def facts_of(text: str | None, path: Path) -> dict[str, Any]:
    """What `facts_text` wrote; empty, with a BakedWarning, when it is damaged."""
    if not text:
        return {}
    try:
        facts = loads(text)
        if facts.get("format") != FORMAT:
            return {}
        if facts.get("version") != VERSION:
            raise ValueError(f"version {facts.get('version')!r}")
        mapping(facts["layer"], "layer")
        Fraction(facts["fps"])
        np.dtype(facts["dtype"])
        if facts["frames"] is not None and (
            type(facts["frames"]) is not int or facts["frames"] < 1
        ):
            raise ValueError(f"frames {facts['frames']!r}")
        role_from_json(facts["layer"].get("role"))
        if "provenance" in facts:
            provenance_from_json(facts["provenance"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        baked(f"{path}: its multiplane metadata is damaged and left out ({error})")
        return {}
    return facts


def document_of(picture: MovingPicture, pixels: Pixels, otherwise: str) -> LayerDocument:
    """One frame as a document of one layer, called `otherwise` where the file names none."""
    known = picture.facts.get("layer", {})
    layer = Layer(
        str(known.get("name") or otherwise), pixels, role=role_from_json(known.get("role"))
    )
    return LayerDocument(picture.size, (layer,))


def provenance_of(picture: MovingPicture) -> Provenance | None:
    """The provenance the file holds."""
    kept = picture.facts.get("provenance")
    return None if kept is None else provenance_from_json(kept)


def need_depth(pixels: Pixels, first: np.dtype[Any], what: str, number: int) -> None:
    """Raises ClipError when a frame is deeper than the first, by which its file was planned."""
    if pixels.dtype.itemsize > first.itemsize:
        raise ClipError(
            f"{what} is {pixels.dtype} in frame {number} and {first} in the first: a file has one "
            "depth, so convert the frames to one first"
        )


def in_depth(pixels: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """`pixels` in `dtype`, themselves when they have it. 8 and 16 bits convert exactly there and
    back."""
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.uint8 and dtype == np.uint16:
        return pixels.astype(np.uint16) * np.uint16(257)
    return to_dtype(np.clip(to_float(pixels), 0.0, 1.0), dtype)


def counted(
    frames: Iterator[Pixels], start: int, count: int | None, path: Path
) -> Iterator[Pixels]:
    """`frames`, which begin at number `start`, held to the `count` the file says it has.

    Raises FileFormatError when it ends before that."""
    number = start
    for pixels in frames:
        yield pixels
        number += 1
    if count is not None and number < count:
        raise bad_file(path, f"is cut short: it says {count} frames and ends after {number}")
