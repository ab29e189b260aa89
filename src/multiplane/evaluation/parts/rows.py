"""Every row of the task table on the held-out scenes: do the planes add up, and are they right?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.document import LayerDocument
from multiplane.core.request import TASK_TABLE, MadePlanes, Task
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.recomposition import check_files, disagreement
from multiplane.evaluation.scenes import HeldoutScene, request_for
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.evaluation.truth import (
    BACKGROUND_KNOWN,
    FOREGROUND_KNOWN,
    background_errors,
    foreground_errors,
)
from multiplane.io import planes

PART = "rows"
SCENES = 50
SHOWN = 10  # also the scenes of a row of one plane, which neither adds up nor has one truth


def run(bench: Bench) -> dict[str, Any]:
    """Run the rows the family can do on the held-out scenes."""
    scenes = bench.scenes(SCENES)
    tasks = [task for task in TASK_TABLE if task in bench.family.tasks]
    scenes_of = {task: scenes if _adds_up(task) else scenes[:SHOWN] for task in tasks}
    total, done = sum(map(len, scenes_of.values())), 0
    rows: dict[str, Any] = {}
    for task in tasks:
        results: list[dict[str, Any]] = []
        shown: list[tuple[HeldoutScene, MadePlanes]] = []
        for scene in scenes_of[task]:
            bench.report(PART, done, total)
            done += 1
            result, made = _one(bench, task, scene)
            results.append(result)
            if len(shown) < SHOWN:
                shown.append((scene, made))
        rows[str(task)] = figures_of(results)
        name = str(task).replace("->", "to").replace(" ", "-").strip("-")
        save_sheet(_sheet(task, shown), bench.out / f"{PART}-{name}.png")
    bench.report(PART, total, total)
    return {"scenes": len(scenes), "rows": rows}


def _one(bench: Bench, task: Task, scene: HeldoutScene) -> tuple[dict[str, Any], MadePlanes]:
    request = request_for(
        scene, task, bench.seed_for(PART, str(task), scene.key), bench.family.name
    )
    document, made, seconds = bench.run(request)
    result: dict[str, Any] = {"scene": scene.key, "seconds": seconds}
    result |= before(task, scene, made)
    result |= after(task, scene, document)
    truth: dict[str, Any] = {}
    if task in FOREGROUND_KNOWN:
        truth["foreground"] = foreground_errors(made.foregrounds[0], scene.foreground)
    if task in BACKGROUND_KNOWN and made.background is not None:
        truth["background"] = background_errors(
            made.background, scene.background, scene.foreground[..., 3]
        )
    return result | truth, made


def _adds_up(task: Task) -> bool:
    return task.given | task.wanted == {"foreground", "background", "composite"}


def before(task: Task, scene: HeldoutScene, made: MadePlanes) -> dict[str, Any]:
    """How far the model's own planes are from adding up; nothing for rows of one plane."""
    if not _adds_up(task):
        return {}
    composite = scene.composite if "composite" in task.given else made.composite
    background = scene.background if "background" in task.given else made.background
    foreground = scene.foreground if "foreground" in task.given else made.foregrounds[0]
    if composite is None or background is None:
        raise RuntimeError(f"the family left out a plane of the row {task}")
    return {"before": asdict(disagreement(composite, foreground, background))}


def after(task: Task, scene: HeldoutScene, document: LayerDocument) -> dict[str, Any]:
    """The written files: do the layers stack to the composite, and does a given plane stand?"""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "planes"
        planes.write(document, folder)
        check = check_files(folder)
        shown = planes.read(folder)
    from multiplane.core.composite import composite_u8

    found: dict[str, Any] = {"after, 255ths": check.error, "layers": check.layers}
    if "composite" in task.given:
        difference = composite_u8(shown).astype(np.int16) - scene.composite.astype(np.int16)
        found["to the given composite, 255ths"] = float(np.abs(difference).max())
    layers = {layer.role: layer.pixels for layer in shown.leaves()}
    kept = [kind for kind in ("foreground", "background") if kind in task.given]
    if kept:
        found["given planes unchanged"] = all(
            np.array_equal(layers[kind], scene.plane(kind)) for kind in kept
        )
    return found


def figures_of(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every number of the scenes of one row, summed up; flags as the share that holds."""
    figures: dict[str, Any] = {}
    names = dict.fromkeys(name for result in results for name in result if name != "scene")
    for name in names:
        values = [result[name] for result in results if name in result]
        if isinstance(values[0], dict):
            figures[name] = figures_of(values)
        elif isinstance(values[0], bool):
            figures[name] = sum(values) / len(values)
        else:
            figures[name] = summary(values)
    return figures


def _sheet(task: Task, shown: Sequence[tuple[HeldoutScene, MadePlanes]]) -> Any:
    rows: list[SheetRow] = []
    for kind in ("foreground", "background", "composite"):
        if kind in task.given:
            rows.append(SheetRow(f"given {kind}", [Cell(scene.plane(kind)) for scene, _ in shown]))
    for kind in ("foreground", "background", "composite"):
        if kind not in task.wanted:
            continue
        alone = kind == "composite" and len(task.given | task.wanted) == 1
        cells = [
            Cell(_plane(made, kind), scene.prompts[kind] if kind != "composite" or alone else "")
            for scene, made in shown
        ]
        rows.append(SheetRow(f"made {kind}", cells))
    for kind, known in (("foreground", FOREGROUND_KNOWN), ("background", BACKGROUND_KNOWN)):
        if task in known:
            rows.append(SheetRow(f"true {kind}", [Cell(scene.plane(kind)) for scene, _ in shown]))
    note = "The first held-out scenes, one seed each; planes as the model made them."
    return table(rows, str(task), note, side=112)


def _plane(made: MadePlanes, kind: str) -> np.ndarray | None:
    if kind == "foreground":
        return made.foregrounds[0]
    return made.background if kind == "background" else made.composite
