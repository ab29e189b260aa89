"""The fixed prompts: drawn by seed before any training (see `multiplane.data.prompts`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F")

Set = Literal["train", "heldout", "combined"]
SETS: tuple[Set, ...] = ("train", "heldout", "combined")


@dataclass(frozen=True)
class FixedPrompt:
    """One prompt of the list. set: whether its concept was trained on, held out, or is combined
    with a background or colour that no training scene shows it with."""

    set: Set
    number: int
    foreground: str
    concept: str
    background: str

    @property
    def name(self) -> str:
        return f"{self.set}-{self.number:02d}"


def fixed_prompts(limit: int | None = None) -> list[FixedPrompt]:
    """The prompts in their order. Under a limit every set keeps its share, rounded up."""
    text = resources.files("multiplane.evaluation").joinpath("prompts.json").read_text("utf-8")
    table = json.loads(text)
    total = sum(len(table[each]) for each in SETS)
    found: list[FixedPrompt] = []
    for each in SETS:
        rows = table[each]
        kept = len(rows) if limit is None else -(-len(rows) * min(limit, total) // total)
        found += [
            FixedPrompt(each, number, row["foreground"], row["concept"], row["background"])
            for number, row in enumerate(rows[:kept])
        ]
    return found


def by_set(
    prompts: Sequence[FixedPrompt], figure: Callable[[NDArray[np.bool_]], F]
) -> dict[str, F]:
    """What `figure` makes of all prompts and of each set that is among them; it is given which of
    them count, (N,)."""
    sets = np.array([prompt.set for prompt in prompts])
    chosen = {"all": np.ones(len(sets), bool), **{each: sets == each for each in SETS}}
    return {name: figure(those) for name, those in chosen.items() if those.any()}
