"""LayerFlow behind the engine: a `LayerRequest` over frames in, its planes out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multiplane.core.config import read_config
from multiplane.core.family import Progress
from multiplane.core.frames import known_frames
from multiplane.core.pixels import Float, to_float
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError, Task
from multiplane.pipelines.base_model import near, scheduler_named
from multiplane.pipelines.layerflow.config import CONFIG, LayerFlowConfig, RequestOptions
from multiplane.pipelines.layerflow.loading import (
    SHARED,
    WeightsFolder,
    folders_at,
    load_pipeline,
)
from multiplane.pipelines.layerflow.output import LayerFlowOutput
from multiplane.pipelines.layerflow.pipeline import LayerFlowPipeline
from multiplane.pipelines.placement import device_of, dtype_of, place
from multiplane.pipelines.planes_of_request import answer, options_of

log = logging.getLogger(__name__)

NO_WEIGHTS = (
    "layerflow has no weights of its own: convert published ones (`multiplane convert "
    "multi-layer-generation-rgba -o layerflow-generation`, they carry no licence) or train them, "
    "and name the folder with --weights; see docs/layerflow.md"
)


class LayerFlowFamily:
    """Layered clips by CogVideoX-2B, with the weights its configuration names."""

    name = "layerflow"
    fps = Fraction(8)

    def __init__(self, folders: list[WeightsFolder], config: LayerFlowConfig) -> None:
        self.folders = folders
        self.config = config
        self.version = ", ".join(folder.name for folder in folders)
        self.native_size = folders[0].native_size
        self.max_frames = max(folder.frames for folder in folders)
        self.pipeline: LayerFlowPipeline | None = None
        self._loaded: WeightsFolder | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> LayerFlowFamily:
        """With the weights in a folder, in the folders beside each other in one, or that a
        `layerflow.toml` names (the file itself, or a folder that holds one).

        The weights of a task are loaded when a request first needs them. Raises FileNotFoundError
        or ValueError for what is missing or does not fit."""
        if path is None:
            raise FileNotFoundError(NO_WEIGHTS)
        file = path / CONFIG if (path / CONFIG).is_file() else path
        if file.suffix == ".toml":
            config = read_config(LayerFlowConfig, file)
            config = replace(
                config,
                base=near(file.parent, config.base),
                weights=tuple(near(file.parent, each) for each in config.weights),
            )
        else:
            found = folders_at(path)
            if not found:
                raise FileNotFoundError(f"{path} holds no weights of layerflow. {NO_WEIGHTS}")
            config = LayerFlowConfig(weights=tuple(str(each) for each in found))
        return cls([WeightsFolder.read(Path(each)) for each in config.weights], config)

    @property
    def tasks(self) -> frozenset[Task]:
        """The pairs whose weights are there."""
        return frozenset().union(*(folder.tasks for folder in self.folders))

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes over `request.frames` frames; of fewer than a clip has the first
        ones, of one the first. A given plane with fewer frames is the beginning of what is made.

        Raises RequestError for controls, strength, masks and options that there are not."""
        options = options_of(RequestOptions, request.options)
        folder = self._folder_for(request)
        planes = {
            name: _given(plane, request, folder.frames) for name, plane in request.planes().items()
        }
        pipeline = self._pipeline(folder)
        steps = request.steps or self.config.steps
        guidance = self.config.guidance if request.guidance is None else request.guidance
        negative = options.negative_prompt
        assert request.size is not None
        try:
            output = pipeline(
                planes={name: clip for name, clip in planes.items() if clip is not None},
                plane_prompts=_prompts(request, options),
                negative_prompt=self.config.negative_prompt if negative is None else negative,
                width=request.size[0],
                height=request.size[1],
                num_inference_steps=steps,
                guidance_scale=guidance,
                sequential_guidance=self.config.sequential_guidance,
                generator=torch.Generator().manual_seed(request.seed),
                output_type="np",
                callback_on_step_end=_Steps(progress, steps),
            )
        except ValueError as error:
            raise RequestError(f"{self.name}: {error}") from error
        assert isinstance(output, LayerFlowOutput)
        report = {
            "weights": folder.name,
            "steps": steps,
            "guidance": guidance,
            "scheduler": type(pipeline.scheduler).__name__,
            "frames_made": folder.frames,
            "alpha": "a clip of its own"
            if pipeline.config["clip_variant"] == "rgba"
            else "from two backgrounds",
            "clips_joined": pipeline.config["clips_joined"],
        }
        clips = {name: batch[0] for name, batch in output.planes.items()}
        if request.frames > 1:
            made = {name: clip[: request.frames] for name, clip in clips.items()}
        else:
            made = {name: clip[0] for name, clip in clips.items()}
        return answer(request, made, report)

    def _folder_for(self, request: LayerRequest) -> WeightsFolder:
        for folder in self.folders:
            if request.task in folder.tasks and request.frames <= folder.frames:
                if request.controls:
                    raise RequestError(
                        f"{self.name} has no controls: leave silhouette and edges out"
                    )
                return folder
        raise RequestError(
            f"{self.name} has no weights here for {str(request.task)!r} over {request.frames} "
            f"frames: name some in a {CONFIG} (docs/layerflow.md)"
        )

    def _pipeline(self, folder: WeightsFolder) -> LayerFlowPipeline:
        """The pipeline of `folder`; the one before makes room, its shared parts stay."""
        if self.pipeline is not None and self._loaded == folder:
            return self.pipeline
        shared: Mapping[str, Any] = {}
        if self.pipeline is not None:
            self.pipeline.remove_all_hooks()
            if self._loaded is not None and self._loaded.converted is not None:
                shared = {name: getattr(self.pipeline, name) for name in SHARED}
            self.pipeline = None
        log.info("loading the %s weights from %s", folder.name, folder.path)
        device = device_of(self.config.device)
        dtype = dtype_of(self.config.dtype, device, torch.bfloat16)
        pipeline = load_pipeline(folder, self.config, dtype, shared)
        if self.config.scheduler:
            config = pipeline.scheduler.config
            pipeline.scheduler = scheduler_named(self.config.scheduler, config)
        if self.config.vae_tiling:
            pipeline.vae.enable_tiling()
        place(pipeline, self.config.offload, device)
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self._loaded = pipeline, folder
        return pipeline


@dataclass
class _Steps:
    """diffusers' step callback as our progress; no preview, a decode costs more than a step."""

    progress: Progress | None
    total: int

    def __call__(
        self, pipeline: Any, step: int, time: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        if self.progress is not None:
            self.progress(step + 1, self.total, None)
        return {}


def _given(plane: Plane, request: LayerRequest, frames: int) -> Float | None:
    """The frames of a plane that are given, (F, H, W, 4); None where none is. A plane given over
    the whole request is given over the whole clip, its last frame held.

    Raises RequestError for a plane that starts from pixels in another way."""
    if plane.pixels is None:
        return None
    known, keep = known_frames(plane), plane.keep
    stack = plane.pixels if plane.pixels.ndim == 4 else plane.pixels[None]
    if plane.state == "given":
        held = np.repeat(stack[-1:], frames - len(stack), axis=0)
        return to_float(np.concatenate([stack, held]))
    whole = keep is not None and not (keep if keep.ndim == 3 else keep[None])[known:].any()
    if plane.strength is not None or known == 0 or not whole:
        raise RequestError(
            "layerflow takes whole frames: a plane is given, or given in its first frames; masks "
            "and strength are not for it"
        )
    return to_float(stack[:known])


def _prompts(request: LayerRequest, options: RequestOptions) -> dict[str, str]:
    """The words of each plane: its prompt, what the options say of a given one, and for a composite
    without words those of the other two."""
    words = {name: plane.prompt for name, plane in request.planes().items()}
    for name in ("foreground", "background"):
        words[name] = words.get(name) or getattr(options, name)
    both = [words[name] for name in ("foreground", "background") if words[name]]
    words["composite"] = words["composite"] or ", ".join(both)
    return words
