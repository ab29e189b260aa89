"""Score any folder of planes, whoever made them.

Every subfolder is one picture: a planes folder (`layers.json`), or `foreground.png`,
`background.png` and `composite.png`, of which the last two may be missing. A name says what it
answers: that of a held-out scene (`scene-0007`) or of a fixed prompt (`heldout-03`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.pixels import to_float
from multiplane.evaluation.alpha import mask_iou
from multiplane.evaluation.assets import AssetPictures, ReferenceAssets
from multiplane.evaluation.bench import Judges, Report, summary
from multiplane.evaluation.parts.foregrounds import likeness, retrieval
from multiplane.evaluation.prompts import fixed_prompts
from multiplane.evaluation.recomposition import disagreement
from multiplane.evaluation.retrieval import described, looks
from multiplane.evaluation.scenes import HeldoutScene, read_scenes
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.evaluation.suite import write_json
from multiplane.evaluation.truth import background_errors, foreground_errors

PART = "planes"
KINDS = ("foreground", "background", "composite")
SHOWN = 12


@dataclass(frozen=True, eq=False)
class FolderPlanes:
    """One picture's planes, (H, W, 4) uint8 straight alpha; None where there is none."""

    name: str
    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8] | None
    composite: NDArray[np.uint8] | None


def read_folder(folder: Path) -> list[FolderPlanes]:
    """Every picture of `folder`, by name. Raises FileNotFoundError when there is none."""
    found = [_read(each) for each in sorted(folder.iterdir()) if _is_picture(each)]
    if not found:
        raise FileNotFoundError(
            f"no planes in {folder}: it should hold folders with layers.json, or with "
            "foreground.png, background.png and composite.png"
        )
    return found


def _is_picture(folder: Path) -> bool:
    return (folder / "layers.json").is_file() or (folder / "foreground.png").is_file()


def _read(folder: Path) -> FolderPlanes:
    planes: dict[str, NDArray[np.uint8] | None] = {
        kind: _pixels(folder / f"{kind}.png") for kind in KINDS
    }
    if (folder / "layers.json").is_file():
        from multiplane.io.planes import read

        layers = {layer.role: layer.pixels for layer in read(folder).leaves()}
        planes |= {kind: layers[kind] for kind in KINDS if kind in layers}
    foreground = planes["foreground"]
    if foreground is None:
        raise ValueError(f"{folder}: no layer has the role foreground, so there is none to score")
    sizes = {plane.shape for plane in planes.values() if plane is not None}
    if len(sizes) > 1:
        raise ValueError(f"{folder}: the planes differ in size: {sorted(sizes)}")
    return FolderPlanes(folder.name, foreground, planes["background"], planes["composite"])


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    return np.asarray(Image.open(path).convert("RGBA")) if path.is_file() else None


def score_folder(
    folder: Path, shards: Path, out: Path, judges: Judges, report: Report
) -> dict[str, Any]:
    """Score the pictures; writes `planes.json` and `planes.png` into `out`."""
    pictures = read_folder(folder)
    side = max(pictures[0].foreground.shape[:2])
    assets = ReferenceAssets(AssetPictures(shards / "assets", side), judges.features)
    mattes = [to_float(each.foreground)[..., 3] for each in pictures]
    raw = looks([to_float(each.foreground) for each in pictures], judges.features)
    figures: dict[str, Any] = {"pictures": len(pictures), **_added_up(pictures)}
    figures |= likeness(assets, raw[0], mattes)
    figures |= _judged(pictures, judges, report)
    figures |= _against_truth(pictures, shards / "scenes", side)
    named = {prompt.name: prompt for prompt in fixed_prompts()}
    rows = [row for row, each in enumerate(pictures) if each.name in named]
    if rows:
        prompts = [named[pictures[row].name] for row in rows]
        figures["retrieval"] = retrieval(assets, prompts, described(raw[:, rows]))
    save_sheet(_sheet(pictures), out / f"{PART}.png")
    found = {"setting": {"planes": folder.name}, "parts": {PART: figures}}
    write_json(out / f"{PART}.json", found)
    return found


def _added_up(pictures: Sequence[FolderPlanes]) -> dict[str, Any]:
    """How far over(foreground, background) is from the composite, in the 8-bit files."""
    found = [
        disagreement(each.composite, each.foreground, each.background)
        for each in pictures
        if each.composite is not None and each.background is not None
    ]
    if not found:
        return {}
    return {
        "composite against over(foreground, background)": {
            "psnr": summary([each.psnr for each in found]),
            "mean": summary([each.mean for each in found]),
            "max, 255ths": summary([each.max * 255 for each in found]),
        }
    }


def _judged(pictures: Sequence[FolderPlanes], judges: Judges, report: Report) -> dict[str, Any]:
    scores: list[float] = []
    for done, each in enumerate(pictures):
        report(PART, done, len(pictures))
        if each.composite is not None:
            matte = judges.judge.cut(to_float(each.composite)[..., :3])
            scores.append(mask_iou(to_float(each.foreground)[..., 3], matte))
    report(PART, len(pictures), len(pictures))
    return {"mask iou with the judge": summary(scores)} if scores else {}


def _against_truth(pictures: Sequence[FolderPlanes], scenes: Path, side: int) -> dict[str, Any]:
    names = {each.name for each in pictures}
    truth: dict[str, HeldoutScene] = {}
    if any(name.startswith("scene-") for name in names):
        truth = {scene.key: scene for scene in read_scenes(scenes, side) if scene.key in names}
    if not truth:
        return {}
    from multiplane.evaluation.parts.rows import figures_of

    results: list[dict[str, Any]] = []
    for each in pictures:
        scene = truth.get(each.name)
        if scene is None:
            continue
        result: dict[str, Any] = {
            "foreground": foreground_errors(each.foreground, scene.foreground)
        }
        if each.background is not None:
            hidden = scene.foreground[..., 3]
            result["background"] = background_errors(each.background, scene.background, hidden)
        results.append(result)
    return {"against truth": {"scenes": len(results), **figures_of(results)}}


def _sheet(pictures: Sequence[FolderPlanes]) -> Any:
    first = pictures[:SHOWN]
    rows = [SheetRow("foreground", [Cell(each.foreground, each.name) for each in first])]
    for kind in ("background", "composite"):
        cells = [Cell(getattr(each, kind)) for each in first]
        if any(cell.picture is not None for cell in cells):
            rows.append(SheetRow(kind, cells))
    return table(rows, "Planes", f"The first {len(first)} of {len(pictures)}, by name.", 104)
