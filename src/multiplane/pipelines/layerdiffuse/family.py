"""LayerDiffuse behind the engine: a `LayerRequest` in, its planes out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from multiplane.core.config import read_config
from multiplane.core.family import Progress
from multiplane.core.pixels import Float, to_float
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError, Task
from multiplane.pipelines.layerdiffuse.build import build_pipeline, controlnet_of
from multiplane.pipelines.layerdiffuse.config import LayerDiffuseConfig
from multiplane.pipelines.layerdiffuse.defaults import SD15, SDXL
from multiplane.pipelines.layerdiffuse.modes import Mode, Workflow, modes_of
from multiplane.pipelines.layerdiffuse.output import LayerDiffuseOutput
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from multiplane.pipelines.layerdiffuse.request_options import RequestOptions
from multiplane.pipelines.layerdiffuse.sd15 import LayerDiffusePipeline
from multiplane.pipelines.layerdiffuse.sdxl import LayerDiffuseXLPipeline
from multiplane.pipelines.planes_of_request import answer, options_of

log = logging.getLogger(__name__)

CONFIG = "layerdiffuse.toml"


@dataclass(frozen=True)
class Row:
    """Which workflow answers a pair of the task table."""

    task: Task
    workflow: str


def _rows(*pairs: tuple[str, str]) -> tuple[Row, ...]:
    return tuple(Row(Task.of(text), workflow) for text, workflow in pairs)


class LayerDiffuseFamily:
    """One base with the modes whose weights its configuration names."""

    name: str
    pipeline_class: ClassVar[type[LayeredPipeline]]
    rows: ClassVar[tuple[Row, ...]]
    published: ClassVar[LayerDiffuseConfig]

    def __init__(self, pipeline: LayeredPipeline, config: LayerDiffuseConfig) -> None:
        self.pipeline = pipeline
        self.config = config
        self.version = config.base
        self.native_size = (pipeline._own_size, pipeline._own_size)
        self._used: dict[str, None] = {}  # modes, the newest last
        self._controlled: list[str] = []  # the kinds whose ControlNets are loaded

    @classmethod
    def load(cls, path: Path | None = None) -> LayerDiffuseFamily:
        """With the published weights from the hub; with those a `layerdiffuse.toml` names (the file
        itself, or a folder that holds one); or as a folder that `save_pretrained` wrote.

        A mode's weights are loaded when a request first needs them. Raises FileNotFoundError or
        ValueError for what is missing or does not fit."""
        if path is None:
            config, folder = cls.published, Path()
        elif (path / CONFIG).is_file():
            config, folder = read_config(LayerDiffuseConfig, path / CONFIG), path
        elif path.suffix == ".toml":
            config, folder = read_config(LayerDiffuseConfig, path), path.parent
        elif (path / "model_index.json").is_file():
            config, folder = LayerDiffuseConfig(base=str(path), modes={}), path
        else:
            raise FileNotFoundError(
                f"{path} is neither a TOML file nor a folder with {CONFIG} or model_index.json: "
                "see docs/layerdiffuse.md for what to put there"
            )
        for mode in config.modes:
            if mode not in cls._modes():
                raise ValueError(
                    f"{path}: unknown mode {mode!r}; {cls.name} has {', '.join(cls._modes())}"
                )
        pipeline, config = build_pipeline(cls.pipeline_class, config, folder)
        return cls(pipeline, config)

    @classmethod
    def _modes(cls) -> dict[str, Mode]:
        return modes_of(cls.pipeline_class.workflows)

    @property
    def tasks(self) -> frozenset[Task]:
        """The pairs whose weights are there."""
        return frozenset(row.task for row in self.rows if self._has(self._workflow(row.workflow)))

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes. Kept pixels and strength are the pipeline's own inpainting and
        image to image; what a request's `options` may say is `RequestOptions`.
        Raises RequestError for frames, and for controls or options that are not there."""
        if request.frames != 1:
            raise RequestError(f"{self.name} makes stills: use frames=1, not {request.frames}")
        options = options_of(RequestOptions, request.options)
        workflow = self._workflow_of(request.task)
        self._load([mode for mode in workflow.steps if mode.adapted])
        steps = request.steps or self.config.steps
        guidance = self.config.guidance if request.guidance is None else request.guidance
        call = {
            **self._pictures(request, workflow),
            **self._controls(request),
            **options.call(self.config.negative_prompt),
        }
        base = self.pipeline.scheduler
        if options.scheduler:
            self.pipeline.scheduler = options.scheduler_for(base.config)
        try:
            output = self._call(workflow, request, steps, guidance, call, progress)
        finally:
            scheduler = type(self.pipeline.scheduler).__name__
            self.pipeline.scheduler = base
        return answer(
            request,
            {name: batch[0] for name, batch in output.planes.items()},
            {
                "mode": workflow.name,
                "base": self.config.base,
                "steps": steps,
                "guidance": guidance,
                "scheduler": scheduler,
                **options.report(),
                **_grey_report(output),
                **_flagged_report(output),
            },
        )

    def _call(
        self,
        workflow: Workflow,
        request: LayerRequest,
        steps: int,
        guidance: float,
        call: Mapping[str, Any],
        progress: Progress | None,
    ) -> LayerDiffuseOutput:
        assert request.size is not None
        width, height = request.size
        words = {name: plane.prompt for name, plane in request.planes().items()}
        try:
            output = self.pipeline(
                mode=workflow.name,
                plane_prompts=_prompts(words, workflow.streams),
                width=width,
                height=height,
                num_inference_steps=steps,
                guidance_scale=guidance,
                sequential_guidance=self.config.sequential_guidance,
                generator=torch.Generator().manual_seed(request.seed),
                output_type="np",
                callback_on_step_end=_Steps(progress, steps * len(workflow.steps)),
                **call,
            )
        except ValueError as error:
            raise RequestError(f"{self.name}: {error}") from error
        assert isinstance(output, LayerDiffuseOutput)
        return output

    def _pictures(self, request: LayerRequest, workflow: Workflow) -> dict[str, Any]:
        """Given planes, and what wanted ones start from.

        Raises RequestError for two different strengths."""
        given, images, keeps, strengths = {}, {}, {}, set()
        for name, plane in request.planes().items():
            if plane.state == "given" and name in workflow.conditions:
                given[name] = _floats(plane)
            elif plane.state == "wanted" and plane.pixels is not None:
                images[name] = _floats(plane)
                if plane.keep is not None:
                    keeps[name] = to_float(plane.keep)
                if plane.strength is not None:
                    strengths.add(plane.strength)
        if len(strengths) > 1:
            raise RequestError(
                f"planes start from pictures with strengths {sorted(strengths)}: {self.name} "
                "denoises them together, so give them one strength"
            )
        return {
            "planes": given,
            "image": images or None,
            "keep": keeps or None,
            "strength": strengths.pop() if strengths else None,
        }

    def _controls(self, request: LayerRequest) -> dict[str, Any]:
        """Control pictures for the ControlNets of the configuration, one of a kind a plane.

        Raises RequestError for a kind that has no ControlNet."""
        kinds = list(dict.fromkeys(control.kind for control in request.controls))
        if not kinds:
            return {}
        for kind in kinds:
            if kind not in self.config.controlnets:
                have = ", ".join(self.config.controlnets) or "none"
                raise RequestError(
                    f"{self.name} has no ControlNet for {kind!r} (configured: {have}): name one "
                    f"under [controlnets] in {CONFIG}"
                )
        if kinds != self._controlled:
            self.pipeline.controlnet = controlnet_of(self.pipeline, self.config, kinds)
            self._controlled = kinds
        images: dict[str, Any] = {}
        for name in dict.fromkeys(control.plane for control in request.controls):
            own = {c.kind: to_float(c.pixels) for c in request.controls if c.plane == name}
            if len(own) != len(kinds):
                raise RequestError(
                    f"{name} lacks a control picture of {', '.join(set(kinds) - set(own))}: give "
                    "every steered plane one of each kind"
                )
            stacked = [np.repeat(own[kind][..., None], 3, axis=-1) for kind in kinds]
            images[name] = stacked if len(stacked) > 1 else stacked[0]
        return {"control_image": images}

    def _workflow(self, name: str) -> Workflow:
        return self.pipeline_class.workflows[name]

    def _has(self, workflow: Workflow) -> bool:
        known = {*self.config.modes, *self.pipeline.mode_weights}
        return all(mode.name in known or not mode.adapted for mode in workflow.steps)

    def _workflow_of(self, task: Task) -> Workflow:
        for row in self.rows:
            if row.task == task and self._has(self._workflow(row.workflow)):
                return self._workflow(row.workflow)
        raise RequestError(f"{self.name} has no weights for {str(task)!r}: name them in {CONFIG}")

    def _load(self, modes: Sequence[Mode]) -> None:
        """Load what is not loaded; of the others only the ones used last stay."""
        loaded, needed = self.pipeline.mode_weights, [mode.name for mode in modes]
        for name in needed:
            self._used[name] = self._used.pop(name, None)  # now the newest
        spare = [name for name in self._used if name in loaded and name not in needed]
        room = max(0, self.config.keep_modes - len(needed))
        for name in spare[: max(0, len(spare) - room)]:
            if name in self.config.modes:  # it can be had again
                self.pipeline.unload_mode(name)
        for name in needed:
            if name not in loaded:
                log.info("loading the %s weights: %s", name, self.config.modes[name])
                self.pipeline.load_mode(name, self.config.modes[name])


class LayerDiffuseXLFamily(LayerDiffuseFamily):
    """LayerDiffuse on SDXL."""

    name = "layerdiffuse-sdxl"
    pipeline_class = LayerDiffuseXLPipeline
    published = SDXL
    rows = _rows(
        ("-> foreground", "transparent"),
        ("-> foreground background composite", "scene"),
        ("foreground -> background composite", "fg2bg"),
        ("background -> foreground composite", "bg2fg"),
        ("foreground composite -> background", "fgblend2bg"),
        ("background composite -> foreground", "bgblend2fg"),
        ("-> composite", "plain"),
    )


class LayerDiffuseSD15Family(LayerDiffuseFamily):
    """LayerDiffuse on Stable Diffusion 1.5."""

    name = "layerdiffuse-sd15"
    pipeline_class = LayerDiffusePipeline
    published = SD15
    rows = _rows(
        ("-> foreground", "transparent"),
        ("-> foreground background composite", "joint"),
        ("foreground -> background composite", "fg2bg"),
        ("background -> foreground composite", "bg2fg"),
        ("-> composite", "plain"),
    )


@dataclass
class _Steps:
    """diffusers' step callback as our progress; no preview, a decode costs more than a step."""

    progress: Progress | None
    total: int
    done: int = 0

    def __call__(
        self, pipeline: Any, step: int, time: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, max(self.total, self.done), None)
        return {}


def _floats(plane: Plane) -> Float:
    assert plane.pixels is not None
    return to_float(plane.pixels)


def _prompts(words: Mapping[str, str], streams: Sequence[str]) -> dict[str, str]:
    """The prompt of each made plane; one without takes those of all planes, given ones too, for the
    weights were trained with words everywhere."""
    together = ", ".join(dict.fromkeys(text for text in words.values() if text))
    return {name: words.get(name) or together for name in streams}


def _flagged_report(output: LayerDiffuseOutput) -> dict[str, Any]:
    """That the base's safety checker cleared the planes, where it has one and it did."""
    if not any(output.nsfw_content_detected or ()):
        return {}
    log.warning(
        "the base's safety checker found the picture unfit and cleared every plane: try another "
        "seed or prompt"
    )
    return {"cleared_by_safety_checker": True}


def _grey_report(output: LayerDiffuseOutput) -> dict[str, Any]:
    """Whether the base fits, for the record of the picture."""
    found = {}
    for name, checks in output.grey_checks.items():
        check = checks[0]
        found[name] = {
            "fits": check.fits,
            "clear_area": round(check.clear_area, 4),
            "colour": None if check.colour is None else [round(each, 1) for each in check.colour],
        }
    return {"base_fits": found} if found else {}
