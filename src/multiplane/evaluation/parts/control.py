"""Silhouette control: does a made foreground fill the shape it was given?

Every held-out asset's silhouette is asked for twice: with its own caption, and with the caption of
another concept, where shape and words pull apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float, to_u8
from multiplane.core.request import Control, LayerRequest, Plane
from multiplane.evaluation.alpha import mask_iou, soft_iou
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table

PART = "control"
SHAPES = 20
SHOWN = 12


def run(bench: Bench) -> dict[str, Any]:
    """Make two foregrounds a silhouette and compare their alpha with it."""
    pool = bench.assets.heldout
    chosen = pool.one_a_root(bench.count(SHAPES), bench.seed_for(PART))
    captions = [pool.pool.captions[index][0] for index in chosen]
    others = captions[1:] + captions[:1]
    shapes: list[NDArray[np.float32]] = []
    made: dict[str, list[NDArray[np.float32]]] = {"own": [], "other": []}
    for row, index in enumerate(chosen):
        bench.report(PART, row, len(chosen))
        shapes.append(pool.picture(index)[..., 3])
        for which, caption in (("own", captions[row]), ("other", others[row])):
            request = LayerRequest(
                foregrounds=(Plane(wanted=True, prompt=caption),),
                size=(bench.side, bench.side),
                seed=bench.seed_for(PART, pool.pool.keys[index], which),
                model=bench.family.name,
                controls=(Control("foreground", "silhouette", to_u8(shapes[-1])),),
            )
            document, _, _ = bench.run(request)
            made[which].append(to_float(document.leaves()[-1].pixels))
    bench.report(PART, len(chosen), len(chosen))
    rows = [
        SheetRow("silhouette", [Cell(shape) for shape in shapes[:SHOWN]]),
        SheetRow("its own words", _cells(made["own"], captions)),
        SheetRow("other words", _cells(made["other"], others)),
    ]
    note = "Silhouettes of held-out assets, drawn by seed; one seed each, nothing picked."
    save_sheet(table(rows, "Silhouette control", note, 104), bench.out / f"{PART}.png")
    return {
        "silhouettes": len(chosen),
        **{
            f"{which} words": {
                "mask iou": summary(_each(mask_iou, pictures, shapes)),
                "soft iou": summary(_each(soft_iou, pictures, shapes)),
            }
            for which, pictures in made.items()
        },
    }


def _each(
    measure: Any, pictures: list[NDArray[np.float32]], shapes: list[NDArray[np.float32]]
) -> list[float]:
    return [
        measure(picture[..., 3], shape) for picture, shape in zip(pictures, shapes, strict=True)
    ]


def _cells(pictures: list[NDArray[np.float32]], captions: list[str]) -> list[Cell]:
    return [
        Cell(picture, caption)
        for picture, caption in zip(pictures[:SHOWN], captions[:SHOWN], strict=True)
    ]
