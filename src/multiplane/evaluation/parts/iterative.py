"""Iterative layering: five foregrounds added one by one to held-out backgrounds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.composite import composite_u8
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import to_float
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.recomposition import check_files
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.io import planes

PART = "iterative"
SCENES = 10
LAYERS = 5


def run(bench: Bench) -> dict[str, Any]:
    """Add the layers; check after each that every earlier layer has the bytes it had."""
    scenes = bench.scenes(SCENES, clear=True)
    pool = [prompt for prompt in fixed_prompts() if prompt.set == "train"]
    rows: list[SheetRow] = []
    unchanged: list[bool] = []
    covered: list[float] = []
    errors: list[float] = []
    for number, scene in enumerate(scenes):
        random = np.random.default_rng([bench.seed, number])
        chosen = [pool[i] for i in random.choice(len(pool), LAYERS, replace=False)]
        document = LayerDocument(
            scene.size, (Layer("Background", scene.background, role="background"),)
        )
        cells = [Cell(scene.background, scene.prompts["background"])]
        for step, prompt in enumerate(chosen):
            bench.report(PART, number * LAYERS + step, len(scenes) * LAYERS)
            document, same, share = add_one(bench, document, prompt, scene.key, step)
            unchanged.append(same)
            covered.append(share)
            cells.append(Cell(composite_u8(document), prompt.foreground, share < 0.005))
        errors.append(_files_error(document))
        rows.append(SheetRow(scene.key, cells))
    bench.report(PART, len(scenes) * LAYERS, len(scenes) * LAYERS)
    note = (
        "Each picture adds one layer to the one at its left; earlier layers keep their bytes. "
        "Prompts drawn by seed, one seed each, nothing picked. Red: the layer came out empty."
    )
    save_sheet(table(rows, "Five layers, one by one", note, 116), bench.out / f"{PART}.png")
    return {
        "scenes": len(scenes),
        "layers": LAYERS,
        "earlier layers unchanged": sum(unchanged) / len(unchanged) if unchanged else 0.0,
        "share of the canvas a new layer covers": summary(covered),
        "empty layers": sum(share < 0.005 for share in covered),
        "after, 255ths": summary(errors),
    }


def add_one(
    bench: Bench, document: LayerDocument, prompt: FixedPrompt, scene: str, step: int
) -> tuple[LayerDocument, bool, float]:
    """(document with one more layer, whether the earlier ones are unchanged, the new one's share of
    the canvas)."""
    before = [layer.content_hash for layer in document.leaves()]
    added = bench.model.add(
        document, prompt.foreground, seed=bench.seed_for(PART, scene, step), **bench.options
    )
    leaves = added.leaves()
    same = [layer.content_hash for layer in leaves[: len(before)]] == before
    alpha = to_float(leaves[-1].pixels)[..., 3]
    return added, same and len(leaves) == len(before) + 1, float((alpha > 0.5).mean())


def _files_error(document: LayerDocument) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "planes"
        planes.write(document, folder)
        return check_files(folder).error
