"""`LayerRequest`: the one object every surface builds and every family answers.

A scene has planes: an ordered tuple of foregrounds (RGBA, first = nearest to the background), one
background (opaque) and one composite. Each is given (pixels), wanted, or absent; the task follows
from that alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Coverage, Pixels, content_hash

PlaneState = Literal["given", "wanted", "absent"]
PlaneName: TypeAlias = str  # "foreground", "background", "composite"; "foreground:1" for the second
ControlKind = Literal["silhouette", "edges"]

PLANE_KINDS = ("foreground", "background", "composite")
CONTROL_KINDS: tuple[ControlKind, ...] = ("silhouette", "edges")
MAX_PROMPT_CHARACTERS = 2000
MAX_SIDE = 16384
MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_SEED = 2**63 - 1


class RequestError(ValueError):
    """A request that contradicts itself, or that the chosen family cannot do."""


@dataclass(frozen=True)
class Task:
    """The row of the task table a request falls into: sets of "foreground", "background",
    "composite". What is in neither set is absent."""

    given: frozenset[str]
    wanted: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Task:
        """`Task.of("composite -> foreground background")`; nothing before the arrow: all made."""
        given, _, wanted = text.rpartition("->")
        return cls(frozenset(given.split()), frozenset(wanted.split()))

    def __str__(self) -> str:
        sides = (
            " ".join(n for n in PLANE_KINDS if n in side) for side in (self.given, self.wanted)
        )
        return " -> ".join(sides).strip()


def tasks_of(*rows: str) -> frozenset[Task]:
    """Each of the rows, as `Task.of` reads it."""
    return frozenset(Task.of(row) for row in rows)


# The rows of the task table, in its order.
TASK_TABLE: tuple[Task, ...] = tuple(
    Task.of(row)
    for row in (
        "-> foreground",
        "-> foreground background composite",
        "foreground -> background composite",
        "background -> foreground composite",
        "composite -> foreground background",
        "foreground composite -> background",
        "background composite -> foreground",
        "-> composite",
    )
)


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a request.

    pixels: (H, W, 4) straight alpha, of the request's size, or (T, H, W, 4) for frames. Without
    `keep` and with strength None the plane is given: it is never changed. keep: (H, W) or (T, H, W)
    coverage; full scale = given pixel, zero = wanted (inpainting). strength: 0..1, starts a wanted
    plane from these pixels noised (image to image); 1 forgets them.
    """

    wanted: bool = False
    prompt: str = ""
    pixels: Pixels | None = None
    keep: Coverage | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        if len(self.prompt) > MAX_PROMPT_CHARACTERS:
            raise RequestError(
                f"the prompt has {len(self.prompt)} characters; at most {MAX_PROMPT_CHARACTERS} "
                "are read: shorten it"
            )
        if self.pixels is None and (self.keep is not None or self.strength is not None):
            raise RequestError("keep and strength need the pixels they speak of: give a picture")
        if (
            self.keep is not None
            and self.pixels is not None
            and self.keep.shape not in (self.pixels.shape[:-1], self.pixels.shape[-3:-1])
        ):
            raise RequestError(
                f"the keep mask is {_text_of(self.keep.shape[::-1])}, its picture "
                f"{_text_of(self.pixels.shape[-2::-1])}: they must be the same size"
            )
        if self.strength is not None and not 0.0 <= self.strength <= 1.0:
            raise RequestError(f"strength must be 0..1, got {self.strength}")

    @property
    def frames(self) -> int:
        """How many frames the plane has pixels for; 0 without pixels."""
        if self.pixels is None:
            return 0
        return self.pixels.shape[0] if self.pixels.ndim == 4 else 1

    @property
    def state(self) -> PlaneState:
        if self.pixels is not None and self.keep is None and self.strength is None:
            return "given"
        return "wanted" if self.wanted or self.pixels is not None else "absent"


ABSENT = Plane()


@dataclass(frozen=True, eq=False)
class Control:
    """A hint that steers one plane without giving its colour.

    plane: the plane's name. kind: "silhouette" (coverage of the object) or "edges" (line drawing,
    full scale on the line). pixels: (H, W) of the request's size, or (T, H, W), one a frame.
    """

    plane: PlaneName
    kind: ControlKind
    pixels: Coverage


@dataclass(frozen=True, eq=False)
class LayerRequest:
    """Everything one generation needs. size: (width, height); None asks for the family's own size,
    or the size of the given planes. steps, guidance: None asks for the family's defaults. frames:
    more than one asks for a clip, which plays at fps; None asks for the family's own rate.

    Raises RequestError for a number out of its range; `resolve` checks the planes together."""

    foregrounds: tuple[Plane, ...] = ()
    background: Plane = ABSENT
    composite: Plane = ABSENT
    size: tuple[int, int] | None = None
    frames: int = 1
    fps: Fraction | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    model: str = "tiny"
    controls: tuple[Control, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, MAX_SEED),
            ("frames", 1, None),
            ("steps", 1, MAX_STEPS),
        ):
            value: Any = getattr(self, name)
            if value is not None and not isinstance(value, int | np.integer):
                raise RequestError(f"{name} must be a whole number, got {value!r}")
            _check_range(name, value, low, high)
        _check_range("guidance", self.guidance, 0.0, MAX_GUIDANCE)
        _check_range("fps", self.fps, 0.001, 1000.0)
        if self.size is not None and not all(1 <= side <= MAX_SIDE for side in self.size):
            raise RequestError(
                f"size must be 1..{MAX_SIDE} pixels a side, got {_text_of(self.size)}"
            )

    def planes(self) -> dict[PlaneName, Plane]:
        """Every plane by name: "foreground", "foreground:1", ..., "background", "composite"."""
        named = {
            "foreground" if index == 0 else f"foreground:{index}": plane
            for index, plane in enumerate(self.foregrounds)
        }
        return {**named, "background": self.background, "composite": self.composite}

    def state_of(self, plane: Plane) -> PlaneState:
        """`plane.state` over all frames: a plane given in fewer than are asked for is wanted."""
        return "wanted" if 0 < plane.frames < self.frames else plane.state

    @property
    def task(self) -> Task:
        """The row of the task table. A mix of given and wanted foregrounds counts as both."""
        sides: dict[str, set[str]] = {"given": set(), "wanted": set(), "absent": set()}
        for name, plane in self.planes().items():
            sides[self.state_of(plane)].add(name.partition(":")[0])
        return Task(frozenset(sides["given"]), frozenset(sides["wanted"]))

    def pictures(self) -> dict[str, NDArray[Any]]:
        """Every picture, keep mask and control of the request by its content hash."""
        found = [control.pixels for control in self.controls]
        for plane in self.planes().values():
            found += [array for array in (plane.pixels, plane.keep) if array is not None]
        return {content_hash(array): array for array in found}

    def resolve(self, native_size: tuple[int, int]) -> LayerRequest:
        """This request with its size filled in: that of its pictures, else `native_size`; and with
        every plane at all its frames (`multiplane.core.frames.filled`).

        Raises RequestError as `check` does."""
        from multiplane.core.frames import filled

        self.check()
        return filled(replace(self, size=self._common_size() or native_size))

    def check(self) -> None:
        """Raises RequestError when nothing is wanted, when sizes disagree, when a control speaks of
        a plane that is not wanted, when a given plane has more frames than are asked for, or when
        a given background or composite is see-through."""
        if not self.task.wanted:
            raise RequestError(
                "no plane is wanted: give at least one of foreground, background, composite a "
                "prompt, or True to have it made without one (on the command line: --want PLANE)"
            )
        planes = self.planes()
        wanted = [name for name, plane in planes.items() if self.state_of(plane) == "wanted"]
        for control in self.controls:
            if control.plane not in wanted:
                raise RequestError(
                    f"the {control.kind} steers {control.plane!r}, which is not a wanted plane; "
                    f"wanted are {', '.join(wanted)}"
                )
        self._common_size()
        self._check_frames()
        for name in ("background", "composite"):
            _check_opaque(name, planes[name].pixels)

    def _check_frames(self) -> None:
        for name, plane in self.planes().items():
            if plane.frames > self.frames:
                raise RequestError(
                    f"the given {name} has {plane.frames} frames and {self.frames} are asked for: "
                    f"ask for {plane.frames}, or cut it"
                )
        for control in self.controls:
            if control.pixels.ndim == 3 and control.pixels.shape[0] != self.frames:
                raise RequestError(
                    f"the {control.kind} of {control.plane} has {control.pixels.shape[0]} frames "
                    f"and {self.frames} are asked for: give one a frame, or a single one for all"
                )

    def _common_size(self) -> tuple[int, int] | None:
        """(width, height) that the asked size and every picture share; None where there is none."""
        sized = [("the asked size", self.size)] if self.size is not None else []
        for name, plane in self.planes().items():
            if plane.pixels is not None:
                sized.append((f"the given {name}", plane.pixels.shape[-2:-4:-1]))
        for control in self.controls:
            sized.append((f"the {control.kind} of {control.plane}", control.pixels.shape[:-3:-1]))
        if not sized:
            return None
        first, size = sized[0]
        for other, other_size in sized[1:]:
            if other_size != size:
                raise RequestError(
                    f"sizes do not match: {first} is {_text_of(size)}, {other} is "
                    f"{_text_of(other_size)}; resize one of them, or leave the size out"
                )
        return size

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON; pictures stand as content hash, size and dtype."""
        from multiplane.core.request_json import to_json

        return to_json(self)

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], pictures: Mapping[str, NDArray[Any]] | None = None
    ) -> LayerRequest:
        """The request that `to_json` wrote. pictures: arrays by content hash, as `pictures()`.

        Raises RequestError for unknown keys, wrong types and missing pictures."""
        from multiplane.core.request_json import from_json

        return from_json(data, pictures or {})


@dataclass(frozen=True, eq=False)
class MadePlanes:
    """What a family hands back: float32 straight alpha 0..1 at the request's size.

    foregrounds: one (H, W, 4) a requested foreground, given ones passed through. background: (H, W,
    4), alpha 1, or None when absent. composite: the model's own composite plane before any
    reconciliation, or None when it made none. For a request of several frames all of them are
    (T, H, W, 4). report: the family's figures.
    """

    foregrounds: tuple[np.ndarray, ...]
    background: np.ndarray | None
    composite: np.ndarray | None
    report: Mapping[str, Any] = field(default_factory=dict)


def _text_of(size: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in size)


def _check_range(name: str, value: Any, low: float, high: float | None) -> None:
    if value is None:
        return
    if not (low <= value and (high is None or value <= high)):  # also refuses NaN
        allowed = f"at least {low}" if high is None else f"{low}..{high}"
        raise RequestError(f"{name} must be {allowed}, got {value}")


def _check_opaque(name: str, pixels: Pixels | None) -> None:
    if pixels is None:
        return
    full = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    lowest = float(pixels[..., 3].min()) / full
    if lowest < 1.0:
        raise RequestError(
            f"the given {name} is see-through (alpha goes down to {lowest:.2f}) and a {name} is "
            "opaque: flatten it onto a colour first, or give it as a foreground"
        )
