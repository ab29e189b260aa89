"""What is stored with the weights of `tiny`: how to sample, and what they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from multiplane.core.config import from_table

OPAQUE = ("background", "composite")


@dataclass(frozen=True)
class TinyDefaults:
    """steps, guidance, shift (of the times), sampler: used where a call names none. guidance_alone:
    instead of guidance where the foreground stands alone; None for the same. guidance_until: time
    after which the plain prediction is used. tasks: rows these weights were trained on, "given ->
    wanted". controls: kinds they take for the foreground. clip_tasks: rows they were trained on as
    clips, of up to max_frames frames that play at fps. clip_steps, clip_guidance: instead of steps
    and guidance for clips; known_guidance: for clips of which frames are known, which say more than
    the words. shared_noise: see `clip_noise`."""

    version: str = "0"
    steps: int = 20
    guidance: float = 3.0
    guidance_alone: float | None = None
    guidance_until: float = 0.9
    shift: float = 1.0
    sampler: Literal["euler", "heun"] = "euler"
    tasks: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    clip_tasks: tuple[str, ...] = ()
    max_frames: int = 1
    fps: float = 8.0
    clip_steps: int = 16
    clip_guidance: float = 3.0
    known_guidance: float = 1.0
    shared_noise: float = 0.0

    def steps_for(self, frames: int = 1) -> int:
        """The steps of a call that names none."""
        return self.clip_steps if frames > 1 else self.steps

    def guidance_for(self, roles: Iterable[str], frames: int = 1, known: bool = False) -> float:
        """The guidance of a call that names none, with these planes present. known: some pixels of
        theirs are."""
        if frames > 1:
            return self.known_guidance if known else self.clip_guidance
        if self.guidance_alone is None or set(OPAQUE) & set(roles):
            return self.guidance
        return self.guidance_alone


def read_defaults(table: Mapping[str, Any], index: Path) -> TinyDefaults:
    """What the index stores; what an older one does not know has its default. Raises ValueError."""
    try:
        return from_table(TinyDefaults, table.get("defaults", {}), str(index))
    except ValueError as error:
        raise ValueError(
            f"{error}; if a newer Multiplane wrote these weights, install that one"
        ) from error
