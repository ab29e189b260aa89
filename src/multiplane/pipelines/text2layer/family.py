"""`text2layer` behind the engine: a `LayerRequest` in, its planes out at the request's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multiplane.core.family import Progress
from multiplane.core.request import LayerRequest, MadePlanes, RequestError, Task, tasks_of
from multiplane.pipelines.canvas import SquareCanvas
from multiplane.pipelines.text2layer.pipeline import Planes, Text2LayerPipeline


class Text2LayerFamily:
    """The engine's view of a `Text2LayerPipeline`."""

    name = "text2layer"

    def __init__(self, pipeline: Text2LayerPipeline) -> None:
        self.pipeline = pipeline
        self.version = pipeline.defaults.version
        self.native_size = (pipeline.defaults.size, pipeline.defaults.size)

    @classmethod
    def load(cls, path: Path | None = None) -> Text2LayerFamily:
        """The weights at `path`. Raises FileNotFoundError without one: no weights are shipped."""
        if path is None:
            raise FileNotFoundError(
                "the family 'text2layer' ships no weights: train some with "
                "`python -m multiplane.recipes.text2layer_autoencoder` and "
                "`python -m multiplane.recipes.text2layer`, and name the folder with --weights"
            )
        return cls(Text2LayerPipeline.from_pretrained(path))

    @property
    def tasks(self) -> frozenset[Task]:
        return tasks_of(*self.pipeline.codec.tasks)

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes from one caption. Any size: the canvas is laid into a square that
        is scaled from the model's own size. Raises RequestError for what it does not take: frames,
        controls, pixels to start from."""
        self._check(request)
        assert request.size is not None
        canvas = SquareCanvas(*request.size, self.pipeline.defaults.size)
        generator = torch.Generator().manual_seed(request.seed)

        def report(step: int, total: int, planes: Planes) -> None:
            if progress is not None:
                progress(step, total, _outward(canvas, planes["composite"]))

        made = self.pipeline(
            caption_of(request),
            generator,
            request.steps,
            request.guidance,
            callback=report if progress is not None else None,
        )
        planes = {name: _outward(canvas, plane) for name, plane in made.items()}
        defaults = self.pipeline.defaults
        return MadePlanes(
            (planes["foreground"],) if request.foregrounds else (),
            planes.get("background"),
            planes["composite"],
            {
                "caption": caption_of(request),
                "steps": request.steps or defaults.steps,
                "guidance": defaults.guidance if request.guidance is None else request.guidance,
                "native_size": list(self.native_size),
            },
        )

    def _check(self, request: LayerRequest) -> None:
        if request.frames != 1:
            raise RequestError(
                f"these weights make stills, {request.frames} frames were asked: use frames=1"
            )
        if request.controls:
            raise RequestError("these weights take no control: leave the sketches out")
        started = [name for name, plane in request.planes().items() if plane.pixels is not None]
        if started:
            raise RequestError(
                f"these weights start from nothing, and {started[0]} has pixels: leave them out, "
                "or use another family"
            )


def caption_of(request: LayerRequest) -> str:
    """The one caption of a request's prompts: the composite's own, else "foreground in background",
    as in training."""
    if request.composite.prompt:
        return request.composite.prompt
    prompts = [plane.prompt for plane in (*request.foregrounds, request.background) if plane.prompt]
    return " in ".join(prompts)


def _outward(canvas: SquareCanvas, plane: Tensor) -> np.ndarray:
    """(1, 4, S, S) premultiplied -> (H, W, 4) float32 straight."""
    return canvas.outward(plane[0].permute(1, 2, 0).contiguous().numpy())
