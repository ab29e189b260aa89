"""`tiny` behind the engine: a `LayerRequest` in, its planes out at the request's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multiplane.core.family import Progress
from multiplane.core.pixels import premultiply, to_float, unpremultiply
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError, Task
from multiplane.models.planes import over
from multiplane.pipelines.canvas import SquareCanvas
from multiplane.pipelines.tiny.pipeline import TinyPipeline
from multiplane.pipelines.tiny.state import PlaneInput

EMBEDDED = "embedded/tiny"


class TinyFamily:
    """The engine's view of a `TinyPipeline`."""

    name = "tiny"

    def __init__(self, pipeline: TinyPipeline) -> None:
        self.pipeline = pipeline
        self.version = pipeline.defaults.version
        self.native_size = (pipeline.size, pipeline.size)

    @classmethod
    def load(cls, path: Path | None = None) -> TinyFamily:
        """The weights at `path`, or the ones in the package. Raises FileNotFoundError when a file
        is missing, ValueError when one does not fit."""
        if path is None:
            path = Path(str(resources.files("multiplane.weights") / EMBEDDED))
        return cls(TinyPipeline.from_pretrained(path))

    @property
    def tasks(self) -> frozenset[Task]:
        return frozenset(Task.of(text) for text in self.pipeline.defaults.tasks)

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes. Any size: the canvas is laid into a square that is scaled to the
        model's own size, given pixels come back as they were."""
        self._check(request)
        assert request.size is not None
        canvas = SquareCanvas(*request.size, self.pipeline.size)
        inputs = {
            name: _plane_input(plane, canvas, extend=name != "foreground")
            for name, plane in request.planes().items()
            if plane.state != "absent"
        }
        generator = torch.Generator().manual_seed(request.seed)
        on_step = _reporter(progress, canvas)
        made: dict[str, Tensor] = {}
        if request.controls:
            first = {"foreground": inputs.pop("foreground")}
            for control in request.controls:
                coverage = torch.from_numpy(canvas.inward_coverage(control.pixels))
                first[control.kind] = PlaneInput(pixels=coverage.expand(4, -1, -1).clone())
            made = self.pipeline(first, generator, request.steps, request.guidance, on_step)
            if any(not one.given for one in inputs.values()):
                inputs["foreground"] = PlaneInput(pixels=made["foreground"])
        if any(not one.given for one in inputs.values()):
            steps, guidance = request.steps, request.guidance
            made |= self.pipeline(inputs, generator, steps, guidance, on_step)
        return self._collect(request, made, canvas)

    def _check(self, request: LayerRequest) -> None:
        if request.frames != 1:
            raise RequestError(
                f"these weights make stills, {request.frames} frames were asked: use frames=1"
            )
        allowed = self.pipeline.defaults.controls
        for control in request.controls:
            if control.plane != "foreground" or control.kind not in allowed:
                raise RequestError(
                    f"these weights take {' or '.join(allowed) or 'no control'} for the "
                    f"foreground, not {control.kind!r} for {control.plane!r}"
                )
        if len({control.kind for control in request.controls}) < len(request.controls):
            raise RequestError("two controls of one kind steer the same plane: give one of them")

    def _collect(
        self, request: LayerRequest, made: Mapping[str, Tensor], canvas: SquareCanvas
    ) -> MadePlanes:
        """Planes at the request's size, given pixels as they came."""
        planes: dict[str, np.ndarray | None] = {}
        for name, plane in request.planes().items():
            if plane.state == "absent":
                planes[name] = None
            elif plane.state == "given":
                planes[name] = None if plane.pixels is None else to_float(plane.pixels)
            else:
                grown = canvas.outward(_to_numpy(made[name]))
                planes[name] = _kept(plane, grown)
        foreground = planes.get("foreground")
        defaults = self.pipeline.defaults
        return MadePlanes(
            () if foreground is None else (foreground,),
            planes["background"],
            planes["composite"],
            {
                "steps": request.steps or defaults.steps,
                "guidance": defaults.guidance if request.guidance is None else request.guidance,
                "native_size": list(self.native_size),
            },
        )


def _plane_input(plane: Plane, canvas: SquareCanvas, extend: bool) -> PlaneInput:
    known = PlaneInput(prompt=plane.prompt, strength=plane.strength)
    if plane.pixels is not None:
        pixels = canvas.inward(plane.pixels, extend)
        known = replace(known, pixels=_to_tensor(pixels))
    if plane.keep is not None:
        known = replace(known, keep=torch.from_numpy(canvas.inward_coverage(plane.keep)))
    return known


def _kept(plane: Plane, made: np.ndarray) -> np.ndarray:
    """`made` with the kept pixels of `plane` laid back in, those of full coverage verbatim."""
    if plane.keep is None or plane.pixels is None:
        return made
    keep = to_float(plane.keep)[..., None]
    given = to_float(plane.pixels)
    mixed = premultiply(given) * keep + premultiply(made) * (1 - keep)
    return np.where(keep >= 1, given, unpremultiply(mixed.astype(np.float32)))


def _reporter(progress: Progress | None, canvas: SquareCanvas):
    """The pipeline's step callback that shows each step as one composite picture."""
    if progress is None:
        return None

    def on_step(step: int, total: int, planes: Mapping[str, Tensor]) -> None:
        if "foreground" in planes and "background" in planes:
            shown = over(planes["foreground"], planes["background"])
        else:
            shown = next(iter(planes.values()))
        progress(step, total, canvas.outward(_to_numpy(shown)))

    return on_step


def _to_numpy(plane: Tensor) -> np.ndarray:
    """(4, S, S) -> (S, S, 4) float32."""
    return plane.permute(1, 2, 0).contiguous().numpy()


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
