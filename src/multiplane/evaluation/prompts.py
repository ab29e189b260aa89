"""The fixed prompts: drawn by seed before any training (see `multiplane.data.prompts`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Literal

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
