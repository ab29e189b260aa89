"""What can be asked for: modes of the published weights, alone and one after the other, as rows of
data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from multiplane.weights.layerdiffuse.published import (
    BACKGROUND,
    COMPOSITE,
    FOREGROUND,
    MODES,
    TRANSPARENT,
    Mode,
)

__all__ = [
    "COMPOSITE",
    "FOREGROUND",
    "SD15_WORKFLOWS",
    "SDXL_WORKFLOWS",
    "TRANSPARENT",
    "Mode",
    "Workflow",
    "find",
    "modes_of",
    "serves",
]


@dataclass(frozen=True)
class Workflow:
    """Modes run one after the other, each given what the ones before it made.

    schedulers: the diffusers class a step samples with, None for the pipeline's own."""

    name: str
    steps: tuple[Mode, ...]
    schedulers: tuple[str | None, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Planes the caller gives: needed by a step and made by none before it."""
        made: set[str] = set()
        needed: dict[str, None] = {}
        for mode in self.steps:
            needed.update((plane, None) for plane in mode.conditions if plane not in made)
            made.update(mode.streams)
        return tuple(needed)

    @property
    def streams(self) -> tuple[str, ...]:
        """Every plane it makes."""
        return tuple(plane for mode in self.steps for plane in mode.streams)


def _workflow(mode: Mode) -> Workflow:
    return Workflow(mode.name, (mode,), (None,))


def _called(name: str, published: str, stop_at: float = 1.0) -> Mode:
    """A published mode under the name it has here."""
    return replace(MODES[published], name=name, stop_at=stop_at)


def serves(mode: Mode, published: str) -> bool:
    """Whether the published files of that name make what `mode` makes."""
    row = MODES[published]
    return (row.streams, row.conditions) == (mode.streams, mode.conditions)


def _table(rows: Sequence[Workflow]) -> Mapping[str, Workflow]:
    return MappingProxyType({row.name: row for row in rows})


# The base alone: flat pictures, and what the layer-pairs data inpaints with.
_PLAIN = Mode("plain", (COMPOSITE,), adapted=False)
_TRANSPARENT = MODES["transparent"]
_FG2BLEND = _called("fg2blend", "fg2ble")
_BG2BLEND = _called("bg2blend", "bg2ble")
# The paper's two streams without a blend. No weights of it were published;
# multiplane.recipes.layerdiffuse_layers trains them.
_PAIR = Mode("pair", (FOREGROUND, BACKGROUND))
# The authors advise stopping half way for this one: what the weights add late is the foreground's
# ghost in the background.
_FGBLEND2BG = _called("fgblend2bg", "fgble2bg", stop_at=0.5)
_BGBLEND2FG = _called("bgblend2fg", "bgble2fg")

# DPM++ leaves artefacts in the second of two steps; the authors switch to Euler a or UniPC there.
_SECOND_STEP = "EulerAncestralDiscreteScheduler"

SDXL_WORKFLOWS = _table(
    (
        *(
            _workflow(mode)
            for mode in (_PLAIN, _TRANSPARENT, _FG2BLEND, _BG2BLEND, _FGBLEND2BG, _BGBLEND2FG)
        ),
        Workflow("fg2bg", (_FG2BLEND, _FGBLEND2BG), (None, _SECOND_STEP)),
        Workflow("bg2fg", (_BG2BLEND, _BGBLEND2FG), (None, _SECOND_STEP)),
        # No weights make all planes at once on this base: a foreground, and a scene around it.
        Workflow(
            "scene", (_TRANSPARENT, _FG2BLEND, _FGBLEND2BG), (None, _SECOND_STEP, _SECOND_STEP)
        ),
    )
)
SD15_WORKFLOWS = _table(
    (
        _workflow(_PLAIN),
        *(_workflow(MODES[name]) for name in ("transparent", "joint", "fg2bg", "bg2fg")),
        _workflow(_PAIR),
    )
)


def find(workflows: Mapping[str, Workflow], name: str) -> Workflow:
    """The row of that name. Raises ValueError with the names there are."""
    if name not in workflows:
        raise ValueError(f"unknown mode {name!r}: this base has {', '.join(workflows)}")
    return workflows[name]


def modes_of(workflows: Mapping[str, Workflow]) -> dict[str, Mode]:
    """Every single mode in the table that has weights of its own, by name."""
    steps = [mode for row in workflows.values() for mode in row.steps]
    return {mode.name: mode for mode in steps if mode.adapted}
