"""The parts of the suite by name, described without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PartEntry:
    """A part by name. module: of `multiplane.evaluation.parts`, with `run(bench) -> figures`.
    minutes: about what it takes on two cores, where that is too long for "all" to include it."""

    name: str
    module: str
    summary: str
    minutes: int | None = None


PARTS: tuple[PartEntry, ...] = (
    PartEntry("speed", "speed", "seconds a picture, stage by stage"),
    PartEntry("retrieval", "foregrounds", "single foregrounds: retrieval, copy rate, KID, alpha"),
    PartEntry("alpha", "alpha", "single foregrounds: residue, holes, halo, what is see-through"),
    PartEntry("materials", "materials", "what is asked for in glass or with a glow: soft alpha"),
    PartEntry("rows", "rows", "every row of the task table on held-out scenes"),
    PartEntry("conditional", "conditional", "loss with the true given plane and a shuffled one"),
    PartEntry("control", "control", "silhouettes against the alpha they ask for"),
    PartEntry("native", "native", "planes made together against a cut flat picture"),
    PartEntry("iterative", "iterative", "five layers added one by one"),
    PartEntry("inpainting", "inpainting", "half of a foreground painted anew, alpha too"),
    PartEntry("clips", "clips", "several frames: from words, around given planes, taken apart"),
    PartEntry("steps", "steps", "quality against sampling steps and against guidance", minutes=10),
)
ALL = "all"


def parts_named(names: Iterable[str]) -> tuple[PartEntry, ...]:
    """The parts called so, in the order they run; "all" is every one that takes no long time.

    Raises ValueError for an unknown name."""
    wanted = set(names)
    unknown = sorted(wanted - {entry.name for entry in PARTS} - {ALL})
    if unknown:
        raise ValueError(
            f"no part of the suite is called {unknown[0]!r}; there are {ALL}, "
            f"{', '.join(entry.name for entry in PARTS)}"
        )
    return tuple(
        entry
        for entry in PARTS
        if entry.name in wanted or (ALL in wanted and entry.minutes is None)
    )


def parts_told() -> str:
    """The parts in one line, for a reader who chooses among them."""
    short = ", ".join(entry.name for entry in PARTS if entry.minutes is None)
    long = "".join(
        f"; {entry.name} is not in {ALL} (about {entry.minutes} minutes)"
        for entry in PARTS
        if entry.minutes is not None
    )
    return f"{ALL} ({short}) or one of them{long}"
