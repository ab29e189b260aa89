"""A photograph cut: coarse mattes, refined edges, colours, and of several candidates the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from multiplane.core.pixels import Float
from multiplane.pipelines.cutout.candidates import (
    PROMPTED,
    NoSubject,
    Recipe,
    check_subject,
    chosen,
    recipes,
    score,
)
from multiplane.pipelines.cutout.foreground import estimate_foreground
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.pipelines.cutout.promptable import PromptableSegmenter
from multiplane.pipelines.cutout.refine import refine_alpha
from multiplane.pipelines.cutout.settings import CutoutSettings

Matte = Callable[[Float], Float]


@dataclass(frozen=True, eq=False)
class Cut:
    """alpha: (H, W). foreground, behind: (H, W, 3), the colours of the object and of what lies
    behind its edge. report: what was tried, with scores."""

    alpha: Float
    foreground: Float
    behind: Float
    report: dict[str, Any] = field(default_factory=dict)


class Stages:
    """Seconds of named stages by `clock`, and whom to tell when one begins."""

    def __init__(
        self,
        began: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._began, self._clock = began, clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._began is not None:
            self._began(name)
        start = self._clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start


class Cutter:
    """Cuts what stands out, or what clicks and boxes mean. Networks load when first used."""

    def __init__(self, mattes: Callable[[str, int], Matte] = SalientMatte.load) -> None:
        self._load_matte = mattes
        self._mattes: dict[tuple[str, int], Matte] = {}
        self._prompted: dict[int, PromptableSegmenter] = {}

    def cut(self, picture: Float, settings: CutoutSettings, stages: Stages) -> Cut:
        """picture: (H, W, 3) sRGB 0..1. Raises NoSubject when nothing stands out clearly, and as
        `PromptableSegmenter.segment` does."""
        if settings.prompted:
            with stages.stage("matte"):
                coarse = self._segmenter(settings.threads).segment(
                    picture, settings.points, settings.boxes
                )
            if not (coarse > 0.5).any():
                raise NoSubject("no clear subject: nothing was found at the points and boxes given")
            recipe = PROMPTED if settings.refine else replace(PROMPTED, refine=None)
            return _finished(picture, self._edge(picture, coarse, recipe, stages), stages)
        tried = recipes(settings.matte, settings.candidates, settings.refine)
        if len(tried) == 1:
            with stages.stage("matte"):
                coarse = self._matte(tried[0].matte, settings.threads)(picture)
            check_subject(coarse)
            return _finished(picture, self._edge(picture, coarse, tried[0], stages), stages)
        return self._best(picture, tried, settings.threads, stages)

    def _best(self, picture: Float, tried: Sequence[Recipe], threads: int, stages: Stages) -> Cut:
        """The candidate with the highest score, all scores in its report."""
        coarse: dict[str, Float] = {}
        for name in dict.fromkeys(recipe.matte for recipe in tried):
            with stages.stage("matte"):
                found = self._matte(name, threads)(picture)
            try:
                check_subject(found)
                coarse[name] = found
            except NoSubject:
                if name == tried[0].matte:  # the network asked for has the say
                    raise
        tried = [recipe for recipe in tried if recipe.matte in coarse]
        alphas = [self._edge(picture, coarse[each.matte], each, stages) for each in tried]
        colours = []
        for alpha in alphas:
            with stages.stage("colours"):
                colours.append(estimate_foreground(picture, alpha))
        scores = [
            score(picture, alpha, pair, [other for other in alphas if other is not alpha])
            for alpha, pair in zip(alphas, colours, strict=True)
        ]
        best = chosen([each.total for each in scores])
        if scores[best].empty:
            raise NoSubject("no clear subject: every candidate covers nothing or everything")
        listed = [
            {"name": recipe.name, **each.report(), "chosen": index == best}
            for index, (recipe, each) in enumerate(zip(tried, scores, strict=True))
        ]
        foreground, behind = colours[best]
        return Cut(alphas[best], foreground, behind, {"candidates": listed})

    def _edge(self, picture: Float, coarse: Float, recipe: Recipe, stages: Stages) -> Float:
        low, high = recipe.levels
        levelled = np.clip((coarse - low) / (high - low), 0.0, 1.0)
        with stages.stage("edge"):
            if recipe.refine is None:
                return levelled
            return refine_alpha(picture, levelled, recipe.refine)

    def _matte(self, name: str, threads: int) -> Matte:
        key = (name, threads)
        if key not in self._mattes:
            self._mattes[key] = self._load_matte(name, threads)
        return self._mattes[key]

    def _segmenter(self, threads: int) -> PromptableSegmenter:
        if threads not in self._prompted:
            self._prompted[threads] = PromptableSegmenter.load(threads)
        return self._prompted[threads]


def _finished(picture: Float, alpha: Float, stages: Stages) -> Cut:
    with stages.stage("colours"):
        foreground, behind = estimate_foreground(picture, alpha)
    return Cut(alpha, foreground, behind)
