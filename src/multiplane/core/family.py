"""The small protocol a model family implements, and the progress callback every surface shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from multiplane.core.request import LayerRequest, MadePlanes, Task

# (step, total, preview): step counts from 1; preview is an (H, W, 4) float32 composite of the
# planes as they stand, straight alpha 0..1, or None when the family has none to show.
Progress: TypeAlias = Callable[[int, int, "np.ndarray | None"], None]


class Family(Protocol):
    """What the engine asks of a family. One instance holds one set of loaded weights."""

    name: str
    version: str
    native_size: tuple[int, int]

    @property
    def tasks(self) -> frozenset[Task]:
        """The {given} -> {wanted} pairs these weights can do."""
        ...

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes of a checked request whose `size` is set.

        Raises ValueError for what these weights cannot do (frames, control kinds, sizes)."""
        ...
