"""What each set of published weights makes, as rows of data.

Plane names are those of a request: "foreground", "background", "composite" (the papers' blend)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from multiplane.weights.layerdiffuse.published import MODES as PUBLISHED_MODES

FOREGROUND, COMPOSITE = "foreground", "composite"
TRANSPARENT = frozenset({FOREGROUND})  # planes with an alpha; the others are opaque


@dataclass(frozen=True)
class Mode:
    """One set of weights.

    streams: planes denoised together, in the order of the batch (the stream index runs fastest).
    conditions: given planes, in the order their latents follow the noisy ones (SDXL) or as the
    control signal (SD1.5). stop_at: part of the noise schedule, 0..1, after which the plain UNet
    takes over without the conditions. adapted: False for the base as it is."""

    name: str
    streams: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    stop_at: float = 1.0
    adapted: bool = True

    @property
    def transparent_streams(self) -> tuple[str, ...]:
        """Streams the transparency decoder reads; the plain VAE decodes the others."""
        return tuple(stream for stream in self.streams if stream in TRANSPARENT)


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


def _mode(name: str, published: str | None = None, stop_at: float = 1.0) -> Mode:
    """The row of the published files, with a request's names for planes."""
    return Mode(name, *_planes_of(published or name), stop_at)


def _planes_of(published: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(streams, conditions) of a row of the published files."""
    row, names = PUBLISHED_MODES[published], {"blend": COMPOSITE}
    streams, conditions = (
        tuple(names.get(plane, plane) for plane in side) for side in (row.streams, row.given)
    )
    return streams, conditions


def serves(mode: Mode, published: str) -> bool:
    """Whether the published files of that row make what `mode` makes."""
    return _planes_of(published) == (mode.streams, mode.conditions)


def _table(rows: Sequence[Workflow]) -> Mapping[str, Workflow]:
    return MappingProxyType({row.name: row for row in rows})


# The base alone: flat pictures, and what the layer-pairs data inpaints with.
_PLAIN = Mode("plain", (COMPOSITE,), adapted=False)
_TRANSPARENT = _mode("transparent")
_FG2BLEND = _mode("fg2blend", "fg2ble")
_BG2BLEND = _mode("bg2blend", "bg2ble")
# The paper's two streams without a blend. No weights of it were published;
# multiplane.recipes.layerdiffuse_layers trains them.
_PAIR = Mode("pair", (FOREGROUND, "background"))
# The authors advise stopping half way for this one: what the weights add late is the foreground's
# ghost in the background.
_FGBLEND2BG = _mode("fgblend2bg", "fgble2bg", stop_at=0.5)
_BGBLEND2FG = _mode("bgblend2fg", "bgble2fg")

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
        *(_workflow(_mode(name)) for name in ("transparent", "joint", "fg2bg", "bg2fg")),
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
