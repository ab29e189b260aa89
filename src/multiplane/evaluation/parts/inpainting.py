"""Inpainting with alpha: half of a real foreground is painted anew, the other half must stand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import to_float, to_u8
from multiplane.evaluation.alpha import mask_iou
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table

PART = "inpainting"
PICTURES = 16
SIDES = ("left", "top", "right", "bottom")


def half_mask(side: int, which: str) -> NDArray[np.uint8]:
    """(side, side) white where one half is painted anew."""
    mask = np.zeros((side, side), np.uint8)
    near = slice(None, side // 2) if which in ("left", "top") else slice(side // 2, None)
    if which in ("left", "right"):
        mask[:, near] = 255
    else:
        mask[near] = 255
    return mask


def seam(picture: NDArray[np.float32], which: str) -> float:
    """Mean absolute step of the premultiplied picture across the line through its middle, minus the
    mean step beside it: 0 where nothing shows that a border was there."""
    values = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)
    if which in ("left", "right"):
        values = values.transpose(1, 0, 2)
    middle = values.shape[0] // 2
    steps = np.abs(np.diff(values.astype(np.float64), axis=0)).mean(axis=(1, 2))
    beside = np.concatenate([steps[middle - 5 : middle - 1], steps[middle : middle + 4]])
    return float(steps[middle - 1] - beside.mean())


def run(bench: Bench) -> dict[str, Any]:
    """Inpaint held-out assets with their own captions."""
    pool = bench.assets.heldout
    chosen = pool.one_a_root(bench.count(PICTURES), bench.seed_for(PART))
    kept: list[bool] = []
    seams: dict[str, list[float]] = {"made": [], "real": []}
    overlap: list[float] = []
    cells: list[tuple[Cell, Cell, Cell]] = []
    for row, index in enumerate(chosen):
        bench.report(PART, row, len(chosen))
        which = SIDES[row % 4]
        picture, caption = pool.picture(index), pool.pool.captions[index][0]
        mask = half_mask(bench.side, which)
        before = LayerDocument(
            (bench.side, bench.side), (Layer("Foreground", to_u8(picture), role="foreground"),)
        )
        after = bench.model.inpaint(
            before,
            "Foreground",
            mask,
            caption,
            seed=bench.seed_for(PART, pool.pool.keys[index]),
            **bench.options,
        )
        made = after.find("Foreground").pixels
        outside = mask == 0
        kept.append(np.array_equal(made[outside], before.find("Foreground").pixels[outside]))
        painted = to_float(made)
        seams["made"].append(seam(painted, which))
        seams["real"].append(seam(picture, which))
        inside = ~outside
        overlap.append(mask_iou(painted[..., 3][inside], picture[..., 3][inside]))
        shown = picture.copy()
        shown[inside] = 0.0
        cells.append((Cell(picture, caption), Cell(shown, which), Cell(made)))
    bench.report(PART, len(chosen), len(chosen))
    _save_sheet(bench, cells)
    return {
        "pictures": len(chosen),
        "kept part unchanged": sum(kept) / len(kept) if kept else 0.0,
        "seam, made": summary(seams["made"]),
        "seam, real": summary(seams["real"]),
        "mask iou with the real half": summary(overlap),
    }


def _save_sheet(bench: Bench, cells: list[tuple[Cell, Cell, Cell]]) -> None:
    rows: list[SheetRow] = []
    for start in range(0, len(cells), 8):
        part = cells[start : start + 8]
        for label, place in (("real", 0), ("what is kept", 1), ("painted anew", 2)):
            rows.append(SheetRow(label, [group[place] for group in part]))
    note = (
        "Half of each held-out asset is painted anew from its caption, colour and alpha. Drawn by "
        "seed, one seed each, nothing picked."
    )
    save_sheet(table(rows, "Inpainting with alpha", note, 112), bench.out / f"{PART}.png")
