"""`cutout` behind the engine: photographs taken apart, at their own size."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.family import Progress
from multiplane.core.pixels import Float, to_float
from multiplane.core.request import LayerRequest, MadePlanes, RequestError, Task, tasks_of
from multiplane.pipelines.cutout.complete import Completion
from multiplane.pipelines.cutout.cutter import Cut, Cutter, Stages
from multiplane.pipelines.cutout.difference import alpha_over, colours_over, difference_matte
from multiplane.pipelines.cutout.foreground import estimate_foreground
from multiplane.pipelines.cutout.plate import clean_plate
from multiplane.pipelines.cutout.refine import refine_alpha
from multiplane.pipelines.cutout.settings import CutoutSettings

TASKS = tasks_of(
    "composite -> foreground background",
    "composite -> foreground",
    "foreground composite -> background",
    "background composite -> foreground",
)
STAGES = ("matte", "edge", "colours", "background")


class CutoutFamily:
    """Salient matte, refined edge, foreground colours, completed background. Reads no prompts."""

    name = "cutout"
    version = "1"
    native_size: tuple[int, int] = (1024, 1024)  # not used: the size is the composite's

    def __init__(self, cutter: Cutter | None = None) -> None:
        self._cutter = cutter or Cutter()

    @classmethod
    def load(cls, path: Path | None = None) -> CutoutFamily:
        """The networks are fetched, or found in the package, when a request first needs them.

        Raises RequestError for a path: which networks to use is said by a request's options; and
        ModuleNotFoundError for a package they cannot do without."""
        if path is not None:
            raise RequestError(
                "cutout is made of several published networks and takes no weights of one path: "
                "choose by the options matte and complete"
            )
        for package in ("cv2", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return cls()

    @property
    def tasks(self) -> frozenset[Task]:
        return TASKS

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        """Make the wanted planes of a given composite. options: as `CutoutSettings`.

        Raises RequestError for prompts, controls and partly given planes, NoSubject when nothing
        stands out clearly, FetchError when a network cannot be had."""
        settings = _checked(request)
        stages = Stages(_reporter(progress))
        composite = request.composite.pixels
        assert composite is not None
        picture = to_float(composite)[..., :3]
        if request.foregrounds and request.foregrounds[0].state == "given":
            return self._behind(request, picture, settings, stages)
        if request.background.state == "given":
            return self._in_front(request, picture, settings, stages)
        cut = self._cutter.cut(picture, settings, stages)
        plate, colours = None, cut.foreground
        if request.background.state == "wanted":
            plate = self._plate(picture, cut.alpha, cut.behind, settings, stages)
            # What the two disagree by goes into the object's rim, else it is an outline behind it.
            colours = colours_over(picture, plate, cut.alpha, cut.foreground)
        return _planes((_joined(colours, cut.alpha),), plate, settings, stages, cut)

    def _behind(
        self, request: LayerRequest, picture: Float, settings: CutoutSettings, stages: Stages
    ) -> MadePlanes:
        """The background behind a given foreground."""
        foreground = to_float(request.foregrounds[0].pixels)  # pyright: ignore[reportArgumentType]
        alpha = np.ascontiguousarray(foreground[..., 3])
        with stages.stage("colours"):
            _, behind = estimate_foreground(picture, alpha)
        plate = self._plate(picture, alpha, behind, settings, stages)
        return _planes((foreground,), plate, settings, stages)

    def _in_front(
        self, request: LayerRequest, picture: Float, settings: CutoutSettings, stages: Stages
    ) -> MadePlanes:
        """The foreground before a given background: where the two pictures differ."""
        given = to_float(request.background.pixels)  # pyright: ignore[reportArgumentType]
        plate = given[..., :3]
        with stages.stage("matte"):
            coarse = difference_matte(picture, plate)
        with stages.stage("edge"):
            alpha = refine_alpha(picture, coarse) if settings.refine else coarse
            alpha = alpha_over(picture, plate, alpha)
        with stages.stage("colours"):
            guess, _ = estimate_foreground(picture, alpha)
            colours = colours_over(picture, plate, alpha, guess)
        made = _planes((_joined(colours, alpha),), None, settings, stages)
        return replace(made, background=given)

    def _plate(
        self,
        picture: Float,
        alpha: Float,
        behind: Float,
        settings: CutoutSettings,
        stages: Stages,
    ) -> Float:
        method: Completion = settings.complete  # pyright: ignore[reportAssignmentType]
        with stages.stage("background"):
            return clean_plate(picture, alpha, behind, method, settings.threads)


def _checked(request: LayerRequest) -> CutoutSettings:
    """The request's settings. Raises RequestError for what cutting out cannot do."""
    for name, plane in request.planes().items():
        if plane.prompt and plane.state == "wanted":
            raise RequestError(
                f"cutout reads no words, and the {name} has the prompt {plane.prompt[:60]!r}: ask "
                "for it without one, and say what to cut by the options points or boxes (for "
                "`multiplane decompose`: --point x,y or --box x0,y0,x1,y1)"
            )
        if plane.keep is not None or plane.strength is not None:
            raise RequestError(f"cutout takes no mask or strength, and the {name} has one")
    if request.controls:
        raise RequestError(
            f"cutout takes no controls, got {request.controls[0].kind}: leave it out"
        )
    return CutoutSettings.of(request.options)


def _reporter(progress: Progress | None) -> Any:
    if progress is None:
        return None
    return lambda name: progress(STAGES.index(name) + 1, len(STAGES), None)


def _joined(colour: Float, alpha: Float) -> Float:
    return np.concatenate([colour, alpha[..., None]], axis=2)


def _planes(
    foregrounds: tuple[Float, ...],
    plate: Float | None,
    settings: CutoutSettings,
    stages: Stages,
    cut: Cut | None = None,
) -> MadePlanes:
    background = None if plate is None else _joined(plate, np.ones(plate.shape[:2], np.float32))
    report: dict[str, Any] = {
        "matte": "prompted" if settings.prompted else settings.matte,
        "complete": settings.complete,
        "seconds": {name: round(value, 3) for name, value in stages.seconds.items()},
    }
    extra: Mapping[str, Any] = {} if cut is None else cut.report
    return MadePlanes(foregrounds, background, None, {**report, **extra})
