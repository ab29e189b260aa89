"""`LayerRequest`: the one object every surface builds and every family answers.

A scene has planes: an ordered tuple of foregrounds (RGBA, first = nearest to the background), one
background (opaque) and one composite. Each is given (pixels), wanted, or absent; the task follows
from that alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from multiplane.core.document import Coverage, Pixels

PlaneState = Literal["given", "wanted", "absent"]
PlaneName: TypeAlias = str  # "foreground", "background", "composite"; "foreground:1" for the second
ControlKind = Literal["silhouette", "edges"]

MAX_PROMPT_CHARACTERS = 2000


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
        order = ("foreground", "background", "composite")
        sides = (" ".join(n for n in order if n in side) for side in (self.given, self.wanted))
        return " -> ".join(sides).strip()


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a request.

    pixels: (H, W, 4) straight alpha, of the request's size. Without `keep` and with strength None
    the plane is given: it is never changed. keep: (H, W) coverage; full scale = given pixel, zero =
    wanted (inpainting). strength: 0..1, starts a wanted plane from these pixels noised (image to
    image); 1 forgets them.
    """

    wanted: bool = False
    prompt: str = ""
    pixels: Pixels | None = None
    keep: Coverage | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        if len(self.prompt) > MAX_PROMPT_CHARACTERS:
            raise ValueError(
                f"the prompt has {len(self.prompt)} characters; at most {MAX_PROMPT_CHARACTERS} are "
                "read: shorten it"
            )
        if self.pixels is None and (self.keep is not None or self.strength is not None):
            raise ValueError("keep and strength need the pixels they speak of: give a picture too")
        if self.keep is not None and self.pixels is not None:
            if self.keep.shape != self.pixels.shape[:2]:
                raise ValueError(
                    f"the keep mask is {self.keep.shape[1]} x {self.keep.shape[0]}, its picture "
                    f"{self.pixels.shape[1]} x {self.pixels.shape[0]}: they must be the same size"
                )
        if self.strength is not None and not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"strength must be 0..1, got {self.strength}")

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
    full scale on the line). pixels: (H, W) of the request's size.
    """

    plane: PlaneName
    kind: ControlKind
    pixels: Coverage


@dataclass(frozen=True, eq=False)
class LayerRequest:
    """Everything one generation needs. size: (width, height); None asks for the family's own size,
    or the size of the given planes. steps, guidance: None asks for the family's defaults."""

    foregrounds: tuple[Plane, ...] = ()
    background: Plane = ABSENT
    composite: Plane = ABSENT
    size: tuple[int, int] | None = None
    frames: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    model: str = "tiny"
    controls: tuple[Control, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def planes(self) -> dict[PlaneName, Plane]:
        """Every plane by name: "foreground", "foreground:1", ..., "background", "composite"."""
        named = {
            "foreground" if index == 0 else f"foreground:{index}": plane
            for index, plane in enumerate(self.foregrounds)
        }
        return {**named, "background": self.background, "composite": self.composite}

    @property
    def task(self) -> Task:
        """The row of the task table. A mix of given and wanted foregrounds counts as both."""
        sides: dict[str, set[str]] = {"given": set(), "wanted": set(), "absent": set()}
        for name, plane in self.planes().items():
            sides[plane.state].add(name.partition(":")[0])
        return Task(frozenset(sides["given"]), frozenset(sides["wanted"]))


@dataclass(frozen=True, eq=False)
class MadePlanes:
    """What a family hands back: float32 straight alpha 0..1 at the request's size.

    foregrounds: one (H, W, 4) a requested foreground, given ones passed through. background: (H, W,
    4), alpha 1, or None when absent. composite: the model's own composite plane before any
    reconciliation, or None when it made none. report: the family's figures.
    """

    foregrounds: tuple[np.ndarray, ...]
    background: np.ndarray | None
    composite: np.ndarray | None
    report: Mapping[str, Any] = field(default_factory=dict)
