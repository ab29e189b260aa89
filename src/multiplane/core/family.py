"""The small protocol a model family implements, its entry in the list of families, and the
progress callback every surface shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

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

        The request holds at most one foreground: the engine layers several one by one.
        Raises ValueError for what these weights cannot do (frames, control kinds, sizes)."""
        ...


@runtime_checkable
class ClipFamily(Family, Protocol):
    """A family that makes frames as well: `request.frames` may be up to `max_frames`.

    For more than one frame every plane of the request has pixels (T, H, W, 4) and keep (T, H, W),
    T being `request.frames` (see `multiplane.core.clip`), and `make` answers with planes
    (T, H, W, 4); for one frame both are as for stills. A control of shape (H, W) steers every
    frame. fps: the rate its clips are made to be played at."""

    fps: Fraction
    max_frames: int


@runtime_checkable
class AutoencodingFamily(Family, Protocol):
    """A family that makes pictures as latents, and tells what those can hold."""

    def through_autoencoder(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 4) float32 straight alpha 0..1 -> the same pictures encoded and decoded."""
        ...


class FamilyLoader(Protocol):
    """The class a `FamilyEntry` points at."""

    def load(self, path: Path | None = None) -> Family:
        """The family with the weights at `path`, or with its own when None."""
        ...


@dataclass(frozen=True)
class FamilyEntry:
    """A family by name, described without importing it.

    target: "package.module:Class", a `FamilyLoader`. tasks: what its published weights can do.
    extra: the requirement that brings what the module imports, as one would give it to pip.
    clips: it is a `ClipFamily`.
    """

    name: str
    target: str
    summary: str
    tasks: frozenset[Task]
    extra: str
    clips: bool = False
