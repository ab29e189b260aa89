"""Clicks and boxes on scenes with exact truth: how well SAM 2 cuts what they mean.

    python benchmarks/prompts.py -o prompts

The scenes are named, not drawn: some whose object the salient networks miss or cut badly, thin and
many-coloured things, and plain ones.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.pixels import Float, to_float
from multiplane.evaluation.alpha import mask_iou
from multiplane.evaluation.cutout_scenes import CutoutScene, SceneStock, shipped_recipe
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.evaluation.suite import write_json
from multiplane.pipelines.cutout.promptable import Box, Point, PromptableSegmenter
from multiplane.pipelines.cutout.refine import refine_alpha

SCENES = (6, 11, 23, 31, 44, 49, 62, 69, 72, 77, 90, 95)
SIDE = 112
Prompts = tuple[list[Point], list[Box]]


def prompts_for(alpha: Float, rng: np.random.Generator) -> dict[str, Prompts]:
    """One click in the middle of the object (the pixel furthest from its edge), one anywhere on it,
    three anywhere, and its box."""
    from scipy import ndimage

    depth = np.asarray(ndimage.distance_transform_edt(alpha > 0.5))
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, columns = np.nonzero(alpha > 0.9)
    chosen = rng.integers(0, len(rows), 3)
    clicks: list[Point] = [(float(columns[i]) + 0.5, float(rows[i]) + 0.5, 1) for i in chosen]
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    left, top, right, bottom = (float(edge) for edge in box)
    return {
        "middle": ([(float(x) + 0.5, float(y) + 0.5, 1)], []),
        "anywhere": (clicks[:1], []),
        "three": (clicks, []),
        "box": ([], [(left, top, right, bottom)]),
    }


def measure(
    segmenter: PromptableSegmenter, scene: CutoutScene, rng: np.random.Generator
) -> tuple[dict[str, Any], SheetRow]:
    picture, found = to_float(scene.composite), {}
    cells = [Cell(scene.composite, "picture")]
    for name, (points, boxes) in prompts_for(scene.alpha, rng).items():
        start = time.process_time()
        alpha = segmenter.segment(picture, points, boxes)
        seconds = time.process_time() - start
        refined = refine_alpha(picture, alpha)
        ious = [mask_iou(each, scene.alpha) for each in (alpha, refined)]
        found[name] = {"iou": ious[0], "refined": ious[1], "seconds": round(seconds, 2)}
        caption = f"{name}: {ious[0]:.2f}, refined {ious[1]:.2f}"
        cells.append(Cell(np.dstack([picture, refined]), caption, bad=ious[0] < 0.5))
    return {"scene": scene.key, "prompts": found}, SheetRow(scene.key, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    segmenter = PromptableSegmenter.load(arguments.threads)
    rng = np.random.default_rng(7)
    records, rows = [], []
    for index, scene in enumerate(SceneStock(shipped_recipe()).scenes()):
        if index not in SCENES:
            continue
        record, row = measure(segmenter, scene, rng)
        print(json.dumps(record), flush=True)
        records.append(record)
        rows.append(row)
    summary = {
        name: {
            "median": float(np.median([r["prompts"][name]["iou"] for r in records])),
            "over 0.8": sum(r["prompts"][name]["iou"] > 0.8 for r in records),
            "refined median": float(np.median([r["prompts"][name]["refined"] for r in records])),
            "refined over 0.8": sum(r["prompts"][name]["refined"] > 0.8 for r in records),
        }
        for name in records[0]["prompts"]
    }
    write_json(arguments.out / "prompts.json", {"summary": summary, "scenes": records})
    note = "Red: mask IoU under 0.5; one click may mean a part."
    save_sheet(table(rows, "Clicks and boxes", note, SIDE), arguments.out / "prompts.png")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
