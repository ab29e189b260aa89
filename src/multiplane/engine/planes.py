"""What a caller hands in for the planes, made into one `LayerRequest`.

A `str` is a prompt, a `Path` a file (of a clip too), a Pillow image or an array pixels, a
`LayerClip` or an array (T, H, W, 4) frames, `True` wanted without a prompt, `None` or `False`
absent, a `Plane` itself. A plane that is not mentioned (`UNSAID`) is
completed from the others: see `complete`.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast

from multiplane.core.clip import Rate, rate_of
from multiplane.core.pixels import to_float
from multiplane.core.request import (
    ABSENT,
    CONTROL_KINDS,
    Control,
    LayerRequest,
    Plane,
    PlaneName,
    RequestError,
)
from multiplane.engine.pictures import Moving, coverage_of, frames_of, keep_of_mask


class _Unsaid(Enum):
    UNSAID = "unsaid"


UNSAID: Final = _Unsaid.UNSAID
Unsaid: TypeAlias = Literal[_Unsaid.UNSAID]
PlaneInput: TypeAlias = "str | bool | Plane | Moving | None"

_SUFFIXES = """
    .png .apng .jpg .jpeg .jpe .webp .avif .gif .bmp .tif .tiff .tga .psd .psb .ora .exr .heic .jxl
    .svg .xcf .kra .mov .mkv .webm .mp4 .m4v .avi
"""
PICTURE_SUFFIXES = frozenset(_SUFFIXES.split())


class Settings(TypedDict, total=False):
    """What `build_request` and `Model.generate` take beside the planes.

    mask: white where a picture is painted anew (black: kept). strength: 0..1, how far a picture may
    change. prompt: what to make of such a picture. Each of the three speaks of the one plane that
    has a picture, or is a mapping from plane name to value. silhouette, edges: a picture that
    steers "foreground", or a mapping from plane name to picture. size: (width, height). seed: drawn
    when None. steps, guidance: the family's own when None. options: the family's own extras."""

    mask: Moving | Mapping[PlaneName, Moving] | None
    strength: float | Mapping[PlaneName, float] | None
    prompt: str | Mapping[PlaneName, str] | None
    silhouette: Moving | Mapping[PlaneName, Moving] | None
    edges: Moving | Mapping[PlaneName, Moving] | None
    size: tuple[int, int] | None
    seed: int | None
    steps: int | None
    guidance: float | None
    options: Mapping[str, Any]


class ClipSettings(Settings, total=False):
    """`Settings`, and those of a clip. frames: how many; None asks for as many as the longest plane
    that is given, one for stills. fps: None takes the rate of a given clip, else the family's."""

    frames: int | None
    fps: Rate | None


def check_prompt(text: str) -> str:
    """`text` with single spaces and none around it.

    Raises RequestError when it is empty, holds control characters, or looks like a file name."""
    prompt = " ".join(text.split())
    if not prompt:
        raise RequestError(
            f"the prompt {text!r} is empty: to have a plane made without a prompt, say True "
            "(on the command line: --want PLANE)"
        )
    odd = sorted({each for each in prompt if _is_control(each)})
    if odd:
        raise RequestError(
            f"the prompt holds control characters ({', '.join(map(ascii, odd[:4]))}): remove them"
        )
    if _looks_like_a_file(prompt):
        raise RequestError(
            f"the prompt {prompt[:80]!r} looks like a file name: to give the picture in it, pass a "
            "pathlib.Path (on the command line: @FILE); else use other words"
        )
    return prompt


def _is_control(character: str) -> bool:
    """Control characters, lone surrogates, and those that turn the direction of text round."""
    category, turns = unicodedata.category(character), unicodedata.bidirectional(character)
    return category in ("Cc", "Cs") or (category == "Cf" and turns not in ("BN", "L", "R", "AL"))


def _looks_like_a_file(prompt: str) -> bool:
    path = Path(prompt)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        return path.is_file() or ("/" in prompt and path.is_dir())
    except OSError:  # longer than a file name can be
        return False


def plane(
    picture: Moving,
    prompt: str = "",
    *,
    mask: Moving | None = None,
    strength: float | None = None,
) -> Plane:
    """A plane with a picture. mask: white where it is painted anew. strength: 0..1, how far the
    picture may change. With neither, the plane is given and never changed."""
    return _changed(Plane(pixels=frames_of(picture)[0]), prompt, mask, strength)


def _changed(
    given: Plane, prompt: str | None, mask: Moving | None, strength: float | None
) -> Plane:
    changes = given.state == "wanted" or mask is not None or strength is not None
    if prompt and not changes:
        raise RequestError(
            f"the prompt {prompt[:40]!r} is for a plane that is given and never changed: add a "
            "mask or a strength, or leave the prompt out"
        )
    return replace(
        given,
        wanted=changes,
        prompt=check_prompt(prompt) if prompt else given.prompt,
        keep=given.keep if mask is None else keep_of_mask(mask),
        strength=given.strength if strength is None else strength,
    )


def plane_of(value: PlaneInput, rates: list[Fraction] | None = None) -> Plane:
    """The `Plane` a caller means by `value`; see the head of this file. The rate of a clip is put
    on `rates`."""
    if value is None or value is False:
        return ABSENT
    if value is True:
        return Plane(wanted=True)
    if isinstance(value, Plane):
        return replace(value, prompt=check_prompt(value.prompt)) if value.prompt else value
    if isinstance(value, str):
        return Plane(wanted=True, prompt=check_prompt(value))
    pixels, rate = frames_of(value)
    if rate is not None and rates is not None:
        rates.append(rate)
    return Plane(pixels=pixels)


def planes_of(
    value: PlaneInput | Sequence[PlaneInput], rates: list[Fraction] | None = None
) -> tuple[Plane, ...]:
    """The foregrounds a caller means: one value, or a list of them from the background up."""
    if isinstance(value, list | tuple):
        found = [plane_of(each, rates) for each in value]
    else:
        found = [plane_of(cast("PlaneInput", value), rates)]
    return tuple(each for each in found if each.state != "absent")


def complete(request: LayerRequest, unsaid: Collection[str]) -> LayerRequest:
    """`request` with the unsaid planes filled in: two kinds of planes ask for the third.

    When two of foreground, background and composite are there and at least one of them is wanted,
    an unsaid third is wanted too, without a prompt: so the task is a whole row of the task table.
    unsaid: the kinds of planes the caller did not mention.
    """
    task = request.task
    if len(task.given | task.wanted) != 2 or not task.wanted:
        return request
    wanted = Plane(wanted=True)
    if "foreground" in unsaid and not request.foregrounds:
        return replace(request, foregrounds=(wanted,))
    for kind in ("background", "composite"):
        if kind in unsaid and request.planes()[kind].state == "absent":
            return with_plane(request, kind, wanted)
    return request


def build_request(
    model: str,
    foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
    background: PlaneInput | Unsaid = UNSAID,
    composite: PlaneInput | Unsaid = UNSAID,
    settings: ClipSettings | Settings | None = None,
) -> LayerRequest:
    """The request for these planes. Raises RequestError naming what cannot be understood."""
    said = cast("ClipSettings", settings or {})
    unknown = sorted(set(said) - set(ClipSettings.__annotations__))
    if unknown:
        raise TypeError(
            f"unknown settings {', '.join(unknown)}; there are "
            f"{', '.join(sorted(ClipSettings.__annotations__))}"
        )
    mentioned = {"foreground": foreground, "background": background, "composite": composite}
    unsaid = {kind for kind, value in mentioned.items() if value is UNSAID}
    rates: list[Fraction] = []
    request = LayerRequest(
        foregrounds=() if foreground is UNSAID else planes_of(foreground, rates),
        background=ABSENT if background is UNSAID else plane_of(background, rates),
        composite=ABSENT if composite is UNSAID else plane_of(composite, rates),
        model=model,
    )
    request = replace(request, frames=_frames(request, said.get("frames")))
    request = complete(_with_changes(request, said), unsaid)
    seed = said.get("seed")
    return replace(
        request,
        size=said.get("size"),
        fps=_rate(rates, said.get("fps")),
        seed=secrets.randbelow(2**31) if seed is None else seed,
        steps=said.get("steps"),
        guidance=said.get("guidance"),
        controls=_controls(said),
        options=dict(said.get("options", {})),
    )


def _frames(request: LayerRequest, asked: int | None) -> int:
    if asked is not None:
        return asked
    return max(1, *(plane.frames for plane in request.planes().values()))


def _rate(rates: Sequence[Fraction], asked: Rate | None) -> Fraction | None:
    """The asked rate, else the one the given clips share."""
    if asked is not None:
        return rate_of(asked)
    if len(set(rates)) > 1:
        raise RequestError(
            f"the given clips play at {' and '.join(str(rate) for rate in sorted(set(rates)))} "
            "frames a second: say fps (on the command line: --fps) to play them all at one rate"
        )
    return rates[0] if rates else None


def _with_changes(request: LayerRequest, said: Settings) -> LayerRequest:
    """`request` with prompt, mask and strength put on the planes that have a picture."""
    planes = request.planes()
    pictured = [name for name, each in planes.items() if each.pixels is not None]
    changes: dict[PlaneName, dict[str, Any]] = {}
    for kind in ("prompt", "mask", "strength"):
        value = said.get(kind)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            if len(pictured) != 1:
                raise RequestError(
                    f"{kind} speaks of the plane that has a picture, and "
                    f"{' and '.join(pictured) or 'no plane'} has one: say which plane is meant"
                )
            value = {pictured[0]: value}
        for name, part in value.items():
            if name not in pictured:
                raise RequestError(
                    f"{kind} speaks of {name!r}, which has no picture; with a picture there are: "
                    f"{', '.join(pictured) or 'none'}"
                )
            changes.setdefault(name, {})[kind] = part
    for name, parts in changes.items():
        changed = _changed(
            planes[name], parts.get("prompt"), parts.get("mask"), parts.get("strength")
        )
        request = with_plane(request, name, changed)
    return request


def with_plane(request: LayerRequest, name: PlaneName, new: Plane) -> LayerRequest:
    """`request` with one of its planes exchanged; `name` as in `LayerRequest.planes`."""
    kind, _, index = name.partition(":")
    if kind != "foreground":
        return replace(request, **{kind: new})
    foregrounds = list(request.foregrounds)
    foregrounds[int(index or 0)] = new
    return replace(request, foregrounds=tuple(foregrounds))


def _controls(said: Settings) -> tuple[Control, ...]:
    controls: list[Control] = []
    for kind in CONTROL_KINDS:
        value = said.get(kind)
        if value is None:
            continue
        named = value if isinstance(value, Mapping) else {"foreground": value}
        controls += [Control(name, kind, coverage_of(part)) for name, part in named.items()]
    for control in controls:
        if control.kind == "edges" and to_float(control.pixels).mean() > 0.5:
            raise RequestError(
                f"the edge sketch of {control.plane} is more than half white, and white is where "
                "its lines are: invert it"
            )
    return tuple(controls)
