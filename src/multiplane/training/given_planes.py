"""Which planes are given in each sample of a training batch, drawn at random: one set of weights
learns every task, and the planes given say which it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def check_tasks(tasks: Mapping[str, float], planes: Sequence[str]) -> None:
    """tasks: weight by the planes given, "" for none ("foreground composite" = 0.1). Raises
    ValueError for an unknown plane, one where nothing is left to make, or weights that are none."""
    for task, weight in tasks.items():
        given = task.split()
        if unknown := sorted(set(given) - set(planes)):
            raise ValueError(f"task {task!r}: no plane {unknown[0]!r}; planes: {', '.join(planes)}")
        if set(given) == set(planes):
            raise ValueError(f"task {task!r} gives every plane, so nothing is left to make")
        if weight < 0:
            raise ValueError(f"task {task!r} has weight {weight}: give 0 or more")
    if not sum(tasks.values()) > 0:
        raise ValueError("every task has weight 0, so none could be drawn")


def draw_given_planes(
    tasks: Mapping[str, float], planes: Sequence[str], count: int, generator: torch.Generator
) -> Tensor:
    """(count, planes) bool on CPU, True where a plane is given; a task for each sample by weight.
    tasks: as `check_tasks` wants them."""
    table = torch.tensor([[plane in task.split() for plane in planes] for task in tasks])
    weights = torch.tensor(list(tasks.values()), dtype=torch.float32)
    return table[torch.multinomial(weights, count, replacement=True, generator=generator)]
