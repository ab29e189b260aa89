"""`multiplane evaluate cutout`: photographs taken apart, against scenes with exact truth.

Every scene's figures are a file of their own, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.config import to_table
from multiplane.core.pixels import Float, to_float
from multiplane.evaluation.bench import Report, summary
from multiplane.evaluation.cutout_measures import (
    BAND,
    FOUND,
    THRESHOLD,
    colour_figures,
    completion_figures,
    hole_of,
    matte_figures,
)
from multiplane.evaluation.cutout_methods import Clock, Contest, Method, estimated_colours
from multiplane.evaluation.cutout_scenes import SCENE_FORM, CutoutRecipe, CutoutScene, SceneStock
from multiplane.evaluation.suite import finished, write_json

FORM = 1  # raise it when figures of the same name change their meaning
TIMED = 5  # pictures on which the networks' seconds are taken
PART = "cutout"
REPORT = "cutout.json"
Figures = dict[str, Any]


@dataclass(frozen=True, eq=False)
class CutoutRun:
    """out: folder for the report and one file a scene. limit: at most this many scenes a group.
    groups: "photo", "3d". fresh: measure finished scenes again."""

    recipe: CutoutRecipe
    contest: Contest
    out: Path
    limit: int | None = None
    groups: Sequence[str] = ("photo", "3d")
    fresh: bool = False
    report: Report = lambda part, done, total: None

    @cached_property
    def stock(self) -> SceneStock:
        return SceneStock(self.recipe)

    @property
    def setting(self) -> Figures:
        """What a scene's figures depend on, in a form that JSON gives back unchanged."""
        from multiplane import __version__

        return {
            "form": FORM,
            "scene form": SCENE_FORM,
            "multiplane": __version__,
            "recipe": json.loads(json.dumps(to_table(self.recipe))),
            "networks": self.contest.networks,
            "methods": [method.name for method in self.contest.methods],
            "completions": list(self.contest.completions),
            "threshold": THRESHOLD,
            "band": BAND,
        }

    def wanted(self) -> Iterator[CutoutScene]:
        """The scenes of the groups, at most `limit` of each."""
        for scene in self.stock.scenes():
            number = int(scene.key.rsplit("-", 1)[1])
            if scene.group in self.groups and (self.limit is None or number < self.limit):
                yield scene

    def record_path(self, key: str) -> Path:
        return self.out / "scenes" / f"{key}.json"

    def total(self) -> int:
        sizes = {"photo": self.recipe.photographs, "3d": self.recipe.renders}
        most = max(sizes.values()) if self.limit is None else self.limit
        return sum(min(size, most) for group, size in sizes.items() if group in self.groups)

    def run(self) -> Figures:
        """Measure what is not measured yet; returns what `cutout.json` holds.

        Raises FetchError where a package cannot be had."""
        setting, records = self.setting, []
        for done, scene in enumerate(self.wanted()):
            self.report(PART, done, self.total())
            path = self.record_path(scene.key)
            record = None if self.fresh else finished(path, setting)
            if record is None:
                record = {"setting": setting, **measure(scene, self.contest)}
                write_json(path, record)
            records.append(record)
        self.report(PART, len(records), self.total())
        found = {
            "setting": setting,
            "seconds": self._seconds(records),
            "parts": {PART: summarised(records)},
        }
        write_json(self.out / REPORT, found)
        return found

    def _seconds(self, records: Sequence[Figures]) -> Figures:
        """Median processor seconds of every method's steps. The networks' are taken once a folder,
        on the first pictures."""
        path = self.out / "seconds.json"
        record = None if self.fresh else finished(path, self.setting)
        if record is None:
            pictures = [to_float(scene.composite) for scene in islice(self.wanted(), TIMED)]
            taken = self.contest.network_seconds(pictures)
            record = {"setting": self.setting, "threads": self.contest.judges.threads} | {
                "networks": {name: float(np.median(each)) for name, each in taken.items()}
            }
            write_json(path, record)
        filling = _median_seconds([each["completion seconds"] for each in records])
        steps = {
            method.name: {"matte": record["networks"][method.network]}
            | _median_seconds([each["methods"][method.name]["seconds"] for each in records])
            | ({"background": filling[method.completion]} if method.completion else {})
            for method in self.contest.methods
        }
        return {"threads": record["threads"], "steps": steps, "completions": filling}


def _median_seconds(each: Sequence[Figures]) -> Figures:
    return {step: float(np.median([seconds[step] for seconds in each])) for step in each[0]}


def measure(scene: CutoutScene, contest: Contest) -> Figures:
    """The figures of one scene: every method's foreground, every completion in the same hole, and
    the colours once more where alpha is known."""
    picture = to_float(scene.composite)
    clock = Clock()
    return {
        "scene": scene.key,
        "group": scene.group,
        "caption": scene.caption,
        "area": float((scene.alpha >= THRESHOLD).mean()),
        "methods": {
            method.name: _method_figures(method, scene, picture) for method in contest.methods
        },
        "completions": {
            name: _completion_figures(name, scene, picture, contest, clock)
            for name in contest.completions
        },
        "true alpha": {
            "picture's own colours": colour_figures(picture, scene.foreground),
            "estimated colours": colour_figures(
                estimated_colours(picture, scene.alpha), scene.foreground
            ),
        },
        "completion seconds": {name: round(taken, 3) for name, taken in clock.seconds.items()},
    }


def _method_figures(method: Method, scene: CutoutScene, picture: Float) -> Figures:
    """Matte, and colours with the method's own alpha."""
    made = method(picture)
    return {
        **matte_figures(made.alpha, scene.alpha),
        **colour_figures(made.colours, scene.foreground),
        "seconds": {step: round(taken, 3) for step, taken in made.seconds.items()},
    }


def _completion_figures(
    name: str, scene: CutoutScene, picture: Float, contest: Contest, clock: Clock
) -> Figures:
    hole = hole_of(scene.alpha)
    with clock.stage(name):
        made = contest.completions[name](picture, hole)
    return completion_figures(made, to_float(scene.background), hole, contest.judges.features)


def summarised(records: Sequence[Figures]) -> Figures:
    """Per group: a summary of each figure, how many objects were missed, and which."""
    groups: Figures = {}
    for group in dict.fromkeys(record["group"] for record in records):
        chosen = [record for record in records if record["group"] == group]
        groups[group] = {
            "scenes": len(chosen),
            "area": summary([record["area"] for record in chosen]),
            "methods": {
                name: _summary_of([record["methods"][name] for record in chosen])
                | {"missed": _missed(chosen, name)}
                for name in chosen[0]["methods"]
            },
            **{
                part: {
                    name: _summary_of([record[part][name] for record in chosen])
                    for name in chosen[0][part]
                }
                for part in ("completions", "true alpha")
            },
        }
    return groups


def _missed(records: Sequence[Figures], method: str) -> list[str]:
    return [record["scene"] for record in records if record["methods"][method]["mask iou"] < FOUND]


def _summary_of(each: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for figures in each for name in figures if name != "seconds")
    return {
        name: summary(np.array([figures[name] for figures in each if name in figures]))
        for name in names
    }


def lines_of(found: Figures) -> Iterator[str]:
    """The table a reader takes in; everything else is in the JSON."""
    for group, figures in found["parts"][PART].items():
        yield f"{group}: {figures['scenes']} scenes"
        for name, each in figures["methods"].items():
            iou = each["mask iou"]
            yield (
                f"  {name}: mask IoU median {iou['median']:.3f}, mean {iou['mean']:.3f}, under "
                f"{FOUND:g}: {len(each['missed'])}; alpha MAE {each['alpha mae']['mean']:.4f}, in "
                f"the band {each['alpha mae in the band']['mean']:.3f}"
                + _one(each, "edge colour error", "; colour at soft pixels")
            )
        for name, each in figures["completions"].items():
            yield (
                f"  behind the object, {name}: {each['psnr']['mean']:.2f} dB, "
                f"L1 {each['l1']['mean']:.4f}" + _one(each, "feature distance", ", features")
            )
        for name, each in figures["true alpha"].items():
            yield f"  {name}, true alpha" + _one(each, "edge colour error", ": error")
    for name, steps in found["seconds"]["steps"].items():
        listed = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items())
        yield f"{name}: {sum(steps.values()):.1f} s of processor time ({listed})"


def _one(figures: Figures, name: str, label: str) -> str:
    return f"{label} {figures[name]['mean']:.4f}" if figures.get(name) else ""
