"""`tiny` behind the engine: a `LayerRequest` in, its planes out at the request's size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from multiplane.core.clip import rate_of
from multiplane.core.family import Progress
from multiplane.core.pixels import to_float
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError, Task, tasks_of
from multiplane.models.planes import over
from multiplane.pipelines.canvas import SquareCanvas
from multiplane.pipelines.tiny.first_frames import with_first_frames
from multiplane.pipelines.tiny.pipeline import StepCallback, TinyPipeline
from multiplane.pipelines.tiny.state import PlaneInput

EMBEDDED = "embedded/tiny"
Made: TypeAlias = dict[str, Tensor]  # role -> (4, S, S) premultiplied in [0, 1]


class TinyFamily:
    """The engine's view of a `TinyPipeline`."""

    name = "tiny"

    def __init__(self, pipeline: TinyPipeline, folder: Path | None = None) -> None:
        """folder: where the weights came from, where they came from one."""
        self.pipeline = pipeline
        self.folder = folder
        self.version = pipeline.defaults.version
        self.native_size = (pipeline.size, pipeline.size)
        self.max_frames = pipeline.max_frames
        self.fps = rate_of(pipeline.defaults.fps)

    @classmethod
    def load(cls, path: Path | None = None) -> TinyFamily:
        """The weights at `path`, or the ones in the package. Raises FileNotFoundError when a file
        is missing, ValueError when one does not fit."""
        if path is None:
            path = Path(str(resources.files("multiplane.weights") / EMBEDDED))
        return cls(TinyPipeline.from_pretrained(path), path)

    @property
    def tasks(self) -> frozenset[Task]:
        return tasks_of(*self.pipeline.defaults.tasks)

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes. Any size: the canvas is laid into a square that is scaled to the
        model's own size. Kept pixels steer what is made; the engine lays them back over it. A
        control makes the foreground first and alone, then the scene around it. Several frames are
        made as one clip; a plane given in its first ones goes on from there, and a composite that
        is given so is taken apart as a still first.
        Raises RequestError for controls, and for rows as a clip, that these weights do not take."""
        self._check(request)
        assert request.size is not None
        canvas = SquareCanvas(*request.size, self.pipeline.size)
        inputs = {
            name: _plane_input(plane, canvas, extend=name != "foreground")
            for name, plane in request.planes().items()
            if plane.state != "absent"
        }
        generator = torch.Generator().manual_seed(request.seed)

        def run(planes: Mapping[str, PlaneInput], number: int = 0, runs: int = 1) -> Made:
            report = _reporter(progress, canvas, planes, number, runs)
            frames = request.frames
            return self.pipeline(planes, generator, request.steps, request.guidance, report, frames)

        def still(planes: Mapping[str, PlaneInput]) -> Made:
            return self.pipeline(planes, generator, request.steps, request.guidance)

        if request.frames > 1:
            made = run(with_first_frames(self._clip_as_trained(inputs), still))
        elif request.controls:
            made = self._steered(inputs, _control_inputs(request, canvas), run)
        else:
            made = run(inputs)
        return self._collect(request, made, canvas)

    @torch.inference_mode()
    def through_autoencoder(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 4) straight alpha 0..1 -> the same, encoded and decoded one by one: what is
        lost here no denoiser can make."""
        height, width = pictures.shape[1:3]
        canvas = SquareCanvas(width, height, self.pipeline.size)
        back = []
        for picture in pictures:
            plane = _to_tensor(canvas.inward(picture))[None]
            back.append(
                _outward(canvas, self.pipeline.decode(self.pipeline.encode(plane))[0].cpu())
            )
        return np.stack(back)

    def _steered(
        self,
        inputs: dict[str, PlaneInput],
        controls: dict[str, PlaneInput],
        run: Callable[..., Made],
    ) -> Made:
        """The foreground by its controls; then what else is wanted, with that foreground given.
        Over a given background the composite is what the two show."""
        foreground = inputs.pop("foreground")
        first = {"foreground": foreground, **controls}
        around = {name for name, one in inputs.items() if not one.given}
        behind = inputs["background"].pixels if "background" in inputs else None
        if not around:
            return run(first)
        if around == {"composite"} and behind is not None:
            made = run(first)
            return {**made, "composite": over(made["foreground"], behind)}
        made = run(first, 0, 2)
        inputs["foreground"] = PlaneInput(foreground.prompt, made["foreground"])
        return {**made, **run(self._as_trained(inputs), 1, 2)}

    def _as_trained(self, inputs: dict[str, PlaneInput]) -> dict[str, PlaneInput]:
        """The planes around a made foreground, with a composite beside them where these weights
        learned to make the background only together with one."""
        with_composite = Task.of("foreground -> background composite")
        if "composite" not in inputs and with_composite in self.tasks:
            return {**inputs, "composite": PlaneInput()}
        return inputs

    def _clip_as_trained(self, inputs: dict[str, PlaneInput]) -> dict[str, PlaneInput]:
        """The planes of a clip; with a composite beside foreground and background, which clips were
        always trained with. Raises RequestError for a row that was not."""
        roles = set(inputs)
        given = {name for name, one in inputs.items() if one.given}
        tasks = tasks_of(*self.pipeline.defaults.clip_tasks)
        if Task(frozenset(given), frozenset(roles - given)) in tasks:
            return inputs
        wanted = frozenset(roles - given | {"composite"})
        if "composite" in roles or Task(frozenset(given), wanted) not in tasks:
            asked, able = Task(frozenset(given), frozenset(roles - given)), sorted(map(str, tasks))
            raise RequestError(
                f"these weights cannot do {str(asked)!r} (given -> wanted) as a clip: ask for one "
                f"frame, or for {'; '.join(able)}"
            )
        return {**inputs, "composite": PlaneInput()}

    def _check(self, request: LayerRequest) -> None:
        """Raises RequestError for what these weights cannot do."""
        if request.frames > self.max_frames:
            able = f"at most {self.max_frames} frames" if self.max_frames > 1 else "stills"
            raise RequestError(
                f"these weights make {able}, {request.frames} frames were asked: use "
                f"frames={self.max_frames}"
            )
        if request.frames > 1 and request.controls:
            raise RequestError(
                f"a {request.controls[0].kind} steers stills alone: make one with it, then give "
                "that as the first frame"
            )
        if request.options:
            raise RequestError(f"{self.name!r} takes no options, got {', '.join(request.options)}")
        allowed = self.pipeline.defaults.controls
        for control in request.controls:
            if control.plane != "foreground" or control.kind not in allowed:
                raise RequestError(
                    f"these weights take {' or '.join(allowed) or 'no control'} for the "
                    f"foreground, not {control.kind!r} for {control.plane!r}"
                )
        if request.controls and request.composite.state == "given":
            raise RequestError(
                f"a {request.controls[0].kind} cannot say what is taken out of a given composite: "
                "leave one of them out, or name what to take in the foreground's prompt"
            )
        if len({control.kind for control in request.controls}) < len(request.controls):
            raise RequestError("two controls of one kind steer the same plane: give one of them")

    def _collect(
        self, request: LayerRequest, made: Mapping[str, Tensor], canvas: SquareCanvas
    ) -> MadePlanes:
        """Planes at the request's size, given ones as they came."""
        planes: dict[str, np.ndarray | None] = {}
        for name, plane in request.planes().items():
            if plane.state == "absent":
                planes[name] = None
            elif plane.state == "given":
                planes[name] = None if plane.pixels is None else to_float(plane.pixels)
            else:
                planes[name] = _outward(canvas, made[name])
        foreground = planes.get("foreground")
        defaults = self.pipeline.defaults
        guidance = request.guidance
        if guidance is None:
            present = [name for name, plane in planes.items() if plane is not None]
            known = any(plane.pixels is not None for plane in request.planes().values())
            guidance = defaults.guidance_for(present, request.frames, known)
        return MadePlanes(
            () if foreground is None else (foreground,),
            planes["background"],
            planes["composite"],
            {
                "steps": request.steps or defaults.steps_for(request.frames),
                "guidance": guidance,
                "native_size": list(self.native_size),
            },
        )


def _plane_input(plane: Plane, canvas: SquareCanvas, extend: bool) -> PlaneInput:
    """A plane of the request at the model's size. extend: as `SquareCanvas.inward` takes it."""
    known = PlaneInput(prompt=plane.prompt, strength=plane.strength)
    if plane.pixels is not None:
        pixels = _each(plane.pixels, 3, lambda one: canvas.inward(one, extend))
        known = replace(known, pixels=_to_tensor(pixels))
    if plane.keep is not None:
        known = replace(known, keep=torch.from_numpy(_each(plane.keep, 2, canvas.inward_coverage)))
    return known


def _each(
    array: np.ndarray, dimensions: int, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """`change` of a picture of so many dimensions, or of every frame of a clip."""
    if array.ndim == dimensions:
        return change(array)
    return np.stack([change(frame) for frame in array])


def _outward(canvas: SquareCanvas, plane: Tensor) -> np.ndarray:
    """A plane or a clip of the model at the request's size, straight."""
    return _each(_to_numpy(plane), 3, canvas.outward)


def _control_inputs(request: LayerRequest, canvas: SquareCanvas) -> dict[str, PlaneInput]:
    """Each control as a plane: its coverage in all four channels, white on clear."""
    inputs: dict[str, PlaneInput] = {}
    for control in request.controls:
        coverage = torch.from_numpy(canvas.inward_coverage(control.pixels))
        inputs[control.kind] = PlaneInput(pixels=coverage.expand(4, -1, -1).clone())
    return inputs


def _reporter(
    progress: Progress | None,
    canvas: SquareCanvas,
    inputs: Mapping[str, PlaneInput],
    number: int,
    runs: int,
) -> StepCallback | None:
    """The step callback of run `number` of `runs` alike: shows the planes as they stand, laid over
    each other."""
    if progress is None:
        return None
    given = {
        name: one.pixels if one.pixels.ndim == 3 else one.pixels[len(one.pixels) // 2]
        for name, one in inputs.items()
        if one.given and one.pixels is not None
    }

    def on_step(step: int, total: int, planes: Mapping[str, Tensor]) -> None:
        seen = {**given, **planes}
        front, back = seen.get("foreground"), seen.get("background")
        if front is not None and back is not None:
            shown = over(front, back)
        else:
            shown = planes.get("composite", next(iter(planes.values())))
        progress(number * total + step, runs * total, canvas.outward(_to_numpy(shown)))

    return on_step


def _to_numpy(plane: Tensor) -> np.ndarray:
    """(..., 4, S, S) -> (..., S, S, 4) float32."""
    return plane.movedim(-3, -1).contiguous().numpy()


def _to_tensor(pixels: np.ndarray) -> Tensor:
    """(..., S, S, 4) float32 -> (..., 4, S, S)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, -3)))
