"""A real, deterministic family that paints flat shapes: what the engine's tests run on.

Its planes follow from prompts, seed and the given planes, so that a test can tell whether each
reached it. It repaints kept pixels too: keeping them is the engine's part.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np

from multiplane.core.family import FamilyEntry, Progress
from multiplane.core.pixels import to_float
from multiplane.core.request import TASK_TABLE, LayerRequest, MadePlanes, RequestError, Task


def color_of(prompt: str) -> np.ndarray:
    """(3,) float32 in 0.2..0.8, from the words alone."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return np.frombuffer(digest[:3], np.uint8).astype(np.float32) / 255 * 0.6 + 0.2


class FlatFamily:
    """Foreground: a soft disc; background: a ramp; both in a colour their prompt decides."""

    name = "flat"
    version = "1"
    native_size: tuple[int, int] = (48, 32)
    tasks = frozenset(TASK_TABLE)

    def __init__(self) -> None:
        self.requests: list[LayerRequest] = []

    @classmethod
    def load(cls, path: Path | None = None) -> FlatFamily:
        if path is not None and not path.exists():
            raise FileNotFoundError(f"no weights at {path}")
        return cls()

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        assert request.size is not None
        assert len(request.foregrounds) <= 1
        if request.frames > 1:
            raise RequestError(f"{self.name} makes stills: frames must be 1, got {request.frames}")
        self.requests.append(request)
        rng = np.random.default_rng(request.seed)
        foreground = self._foreground(request, rng) if request.foregrounds else None
        background = self._background(request, rng)
        composite = self._composite(request, foreground, background, rng)
        steps = request.steps or 3
        for step in range(1, steps + 1):
            time.sleep(float(request.options.get("seconds_a_step", 0)))
            shown = composite if composite is not None else foreground
            if progress is not None:
                progress(step, steps, shown)
        return MadePlanes(
            foregrounds=() if foreground is None else (foreground,),
            background=background,
            composite=composite,
            report={"steps": steps},
        )

    def _foreground(self, request: LayerRequest, rng: np.random.Generator) -> np.ndarray:
        (plane,) = request.foregrounds
        if plane.state == "given" and plane.pixels is not None:
            return to_float(plane.pixels)
        assert request.size is not None
        width, height = request.size
        x, y = rng.uniform(0.3, 0.7, 2) * (width, height)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        distance = np.hypot(columns - x, rows - y)
        made = np.empty((height, width, 4), np.float32)
        made[..., :3] = color_of(plane.prompt)
        if request.background.pixels is not None:  # takes a little of the light around it
            made[..., :3] += 0.1 * (to_float(request.background.pixels)[..., :3].mean() - 0.5)
        for control in request.controls:
            if control.plane == "foreground":
                made[..., 3] = to_float(control.pixels)
                return made
        made[..., 3] = np.clip(min(width, height) * 0.3 - distance + 0.5, 0, 1)
        return made

    def _background(self, request: LayerRequest, rng: np.random.Generator) -> np.ndarray | None:
        plane = request.background
        if plane.state == "absent":
            return None
        if plane.state == "given" and plane.pixels is not None:
            return to_float(plane.pixels)
        assert request.size is not None
        width, height = request.size
        made = np.ones((height, width, 4), np.float32)
        ramp = np.linspace(-0.2, 0.2, height, dtype=np.float32)[:, None, None]
        made[..., :3] = color_of(plane.prompt) + ramp + rng.uniform(-0.02, 0.02)
        return made

    def _composite(
        self,
        request: LayerRequest,
        foreground: np.ndarray | None,
        background: np.ndarray | None,
        rng: np.random.Generator,
    ) -> np.ndarray | None:
        plane = request.composite
        if plane.state == "absent":
            return None
        if plane.state == "given" and plane.pixels is not None:
            return to_float(plane.pixels)
        assert request.size is not None
        width, height = request.size
        made = np.ones((height, width, 4), np.float32)
        if foreground is None or background is None:
            made[..., :3] = color_of(plane.prompt)
            return made
        alpha = foreground[..., 3:]
        made[..., :3] = foreground[..., :3] * alpha + background[..., :3] * (1 - alpha)
        made[..., :3] += rng.uniform(-0.04, 0.04, (height, width, 1))  # it disagrees a little
        return np.clip(made, 0, 1)


class CutOnlyFamily(FlatFamily):
    """Weights that make single foregrounds and nothing else."""

    name = "cut-only"
    tasks = frozenset({Task.of("-> foreground")})


FLAT = FamilyEntry(
    name="flat",
    target="flat_family:FlatFamily",
    summary="flat shapes, for tests",
    tasks=FlatFamily.tasks,
    extra="flat",
)
CUT_ONLY = FamilyEntry(
    name="cut-only",
    target="flat_family:CutOnlyFamily",
    summary="single flat shapes, for tests",
    tasks=CutOnlyFamily.tasks,
    extra="flat",
)
