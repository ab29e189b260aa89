"""`LayerRequest` to plain JSON and back. Pictures are named by content hash and stay outside."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from multiplane.core.document import content_hash
from multiplane.core.request import (
    CONTROL_KINDS,
    Control,
    LayerRequest,
    Plane,
    RequestError,
)

FORMAT = 1

_REQUEST_KEYS = {
    "format",
    "model",
    "size",
    "frames",
    "fps",
    "seed",
    "steps",
    "guidance",
    "foregrounds",
    "background",
    "composite",
    "controls",
    "options",
}
_PLANE_KEYS = {"wanted", "prompt", "pixels", "keep", "strength"}
_CONTROL_KEYS = {"plane", "kind", "pixels"}
_PICTURE_KEYS = {"sha256", "size", "dtype", "frames"}


def to_json(request: LayerRequest) -> dict[str, Any]:
    """Every field of `request`; a picture is {"sha256", "size": [w, h], "dtype"}, and "frames" of
    one that has several. fps is a text such as "24" or "24000/1001"."""
    return {
        "format": FORMAT,
        "model": request.model,
        "size": None if request.size is None else list(request.size),
        "frames": int(request.frames),
        "fps": None if request.fps is None else str(request.fps),
        "seed": int(request.seed),
        "steps": None if request.steps is None else int(request.steps),
        "guidance": request.guidance,
        "foregrounds": [_plane_to_json(plane) for plane in request.foregrounds],
        "background": _plane_to_json(request.background),
        "composite": _plane_to_json(request.composite),
        "controls": [
            {"plane": c.plane, "kind": c.kind, "pixels": _picture_to_json(c.pixels, 2)}
            for c in request.controls
        ],
        "options": dict(request.options),
    }


def _plane_to_json(plane: Plane) -> dict[str, Any]:
    return {
        "wanted": plane.wanted,
        "prompt": plane.prompt,
        "pixels": None if plane.pixels is None else _picture_to_json(plane.pixels, 3),
        "keep": None if plane.keep is None else _picture_to_json(plane.keep, 2),
        "strength": plane.strength,
    }


def _picture_to_json(array: NDArray[Any], dimensions: int) -> dict[str, Any]:
    """dimensions: those of a still; one more is the frames."""
    frames, still = array.shape[:-dimensions], array.shape[-dimensions:]
    facts = {
        "sha256": content_hash(array),
        "size": [still[1], still[0]],
        "dtype": array.dtype.name,
    }
    return {**facts, "frames": frames[0]} if frames else facts


def from_json(data: Mapping[str, Any], pictures: Mapping[str, NDArray[Any]]) -> LayerRequest:
    """The request `to_json` wrote; `pictures` holds its arrays by content hash.

    Missing keys take their defaults. Raises RequestError for unknown keys, values of the wrong
    type, another format number, and pictures that are not in `pictures`."""
    known = _object("request", data, _REQUEST_KEYS)
    if known.get("format", FORMAT) != FORMAT:
        raise RequestError(
            f"the request has format {known['format']!r}; this version reads format {FORMAT}"
        )
    foregrounds = _typed("foregrounds", known.get("foregrounds", []), list)
    controls = _typed("controls", known.get("controls", []), list)
    guidance = _optional("guidance", known.get("guidance"), (int, float))
    return LayerRequest(
        foregrounds=tuple(
            _plane(f"foregrounds[{index}]", plane, pictures)
            for index, plane in enumerate(foregrounds)
        ),
        background=_plane("background", known.get("background", {}), pictures),
        composite=_plane("composite", known.get("composite", {}), pictures),
        size=_size("size", known.get("size")),
        frames=_typed("frames", known.get("frames", 1), int),
        fps=_fps(known.get("fps")),
        seed=_typed("seed", known.get("seed", 0), int),
        steps=_optional("steps", known.get("steps"), int),
        guidance=None if guidance is None else float(guidance),
        model=_typed("model", known.get("model", "tiny"), str),
        controls=tuple(
            _control(f"controls[{index}]", control, pictures)
            for index, control in enumerate(controls)
        ),
        options=dict(_typed("options", known.get("options", {}), Mapping)),
    )


def _plane(where: str, data: Any, pictures: Mapping[str, NDArray[Any]]) -> Plane:
    known = _object(where, data, _PLANE_KEYS)
    strength = _optional(f"{where}.strength", known.get("strength"), (int, float))
    return Plane(
        wanted=_typed(f"{where}.wanted", known.get("wanted", False), bool),
        prompt=_typed(f"{where}.prompt", known.get("prompt", ""), str),
        pixels=_picture(f"{where}.pixels", known.get("pixels"), pictures, 3),
        keep=_picture(f"{where}.keep", known.get("keep"), pictures, 2),
        strength=None if strength is None else float(strength),
    )


def _control(where: str, data: Any, pictures: Mapping[str, NDArray[Any]]) -> Control:
    known = _object(where, data, _CONTROL_KEYS)
    kind = known.get("kind")
    if kind not in CONTROL_KINDS:
        raise RequestError(f"{where}.kind must be one of {', '.join(CONTROL_KINDS)}, got {kind!r}")
    coverage = _picture(f"{where}.pixels", known.get("pixels"), pictures, 2)
    if coverage is None:
        raise RequestError(f"{where}.pixels is missing: a control needs its picture")
    return Control(_typed(f"{where}.plane", known.get("plane"), str), kind, coverage)


def _picture(
    where: str, data: Any, pictures: Mapping[str, NDArray[Any]], dimensions: int
) -> NDArray[Any] | None:
    if data is None:
        return None
    key = _typed(f"{where}.sha256", _object(where, data, _PICTURE_KEYS).get("sha256"), str)
    if key not in pictures:
        raise RequestError(
            f"{where} is the picture with sha256 {key}, which is not at hand: pass it in `pictures`"
        )
    array = pictures[key]
    if array.ndim not in (dimensions, dimensions + 1):
        raise RequestError(
            f"{where} must have {dimensions} dimensions, or {dimensions + 1} for frames, got shape "
            f"{array.shape}"
        )
    return array


def _fps(data: Any) -> Fraction | None:
    if data is None:
        return None
    try:
        return Fraction(_typed("fps", data, str))
    except (ValueError, ZeroDivisionError):
        raise RequestError(
            f"fps must be a text such as '24' or '24000/1001', got {data!r}"
        ) from None


def _size(where: str, data: Any) -> tuple[int, int] | None:
    if data is None:
        return None
    if not isinstance(data, list | tuple) or len(data) != 2:
        raise RequestError(f"{where} must be [width, height], got {data!r}")
    return _typed(where, data[0], int), _typed(where, data[1], int)


def _object(where: str, data: Any, keys: set[str]) -> Mapping[str, Any]:
    known = _typed(where, data, Mapping)
    unknown = sorted(str(key) for key in known if key not in keys)
    if unknown:
        raise RequestError(
            f"{where} holds the unknown keys {', '.join(unknown)}; known are "
            f"{', '.join(sorted(keys))}"
        )
    return known


def _optional(where: str, value: Any, kind: Any) -> Any:
    return None if value is None else _typed(where, value, kind)


def _typed(where: str, value: Any, kind: Any) -> Any:
    """`value` when it is a `kind`; a bool is no number here."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise RequestError(f"{where} must be {wanted}, got {value!r}")
    return value
