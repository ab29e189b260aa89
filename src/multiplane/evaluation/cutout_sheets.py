"""Pictures of the cutout evaluation: the first scenes in order, every object that was missed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from multiplane.core.pixels import Float, to_float
from multiplane.evaluation.cutout import PART, CutoutRun, Figures
from multiplane.evaluation.cutout_measures import FOUND, THRESHOLD, hole_of
from multiplane.evaluation.cutout_scenes import CutoutScene
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table

OURS, PLAIN = "multiplane", "u2net + opencv"
SIDE = 144
EXAMPLES, MOST_MISSED = 8, 24


def write_sheets(run: CutoutRun, found: Figures) -> list[Path]:
    """The sheets of a finished run in its folder; the mattes are there already."""
    written: list[Path] = []
    for group, figures in found["parts"][PART].items():
        scenes = [scene for scene in run.wanted() if scene.group == group]
        rows = [_example(run, scene) for scene in islice(scenes, EXAMPLES)]
        note = "The first scenes in their order. Red: mask IoU under 0.5."
        path = run.out / f"cutout-{group}.png"
        written.append(save_sheet(table(rows, f"Taken apart: {group}", note, SIDE), path))
        missed = set(figures["methods"][OURS]["missed"]) | set(figures["methods"][PLAIN]["missed"])
        lost = [scene for scene in scenes if scene.key in missed]
        if lost:
            rows = [_failure(run, scene) for scene in islice(lost, MOST_MISSED)]
            path = run.out / f"cutout-{group}-missed.png"
            title = f"Missed by one of the two: {len(lost)} of {len(scenes)} ({group})"
            written.append(save_sheet(table(rows, title, "", SIDE), path))
    return written


def _example(run: CutoutRun, scene: CutoutScene) -> SheetRow:
    picture = to_float(scene.composite)
    cells = [Cell(scene.composite, "picture"), *_truth(scene)]
    for method in run.contest.methods:
        if method.name not in (OURS, PLAIN):
            continue
        made = method(picture)
        cells.append(_cut(made.colours, made.alpha, scene, method.name))
        name = method.completion or ""
        filled = run.contest.completions[name](picture, hole_of(made.alpha))
        cells.append(Cell(filled, f"{method.name}: background"))
    return SheetRow(scene.key, cells)


def _failure(run: CutoutRun, scene: CutoutScene) -> SheetRow:
    picture = to_float(scene.composite)
    cells = [Cell(scene.composite, "picture"), next(_truth(scene))]
    for method in run.contest.methods:
        if method.name in (OURS, PLAIN):
            alpha = method.matte(picture)
            refined = alpha if method.refine is None else method.refine(picture, alpha)
            cells.append(_cut(picture, refined, scene, method.name))
            cells.append(Cell(alpha, f"{method.network}: matte"))
    return SheetRow(scene.key, cells)


def _truth(scene: CutoutScene) -> Iterator[Cell]:
    yield Cell(scene.foreground, "true foreground")
    yield Cell(scene.background, "true background")


def _cut(colours: Float, alpha: Float, scene: CutoutScene, name: str) -> Cell:
    from multiplane.evaluation.alpha import mask_iou

    iou = mask_iou(alpha, scene.alpha, THRESHOLD)
    cut = np.dstack([colours, alpha]).astype(np.float32)
    return Cell(cut, f"{name}: IoU {iou:.2f}", bad=iou < FOUND)
