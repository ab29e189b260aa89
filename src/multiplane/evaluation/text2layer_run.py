"""The whole protocol over several models' folders: one table, one sheet, one JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multiplane.evaluation.assets import AssetPictures, ReferenceAssets
from multiplane.evaluation.bench import Judges, Report
from multiplane.evaluation.prompts import fixed_prompts
from multiplane.evaluation.retrieval import Gallery
from multiplane.evaluation.sheets import save_sheet
from multiplane.evaluation.suite import write_json
from multiplane.evaluation.text2layer import (
    described_sets,
    reference_figures,
    score_outputs,
    sheet,
)
from multiplane.evaluation.text2layer_outputs import read_outputs
from multiplane.evaluation.text2layer_sets import names, reference_sets

PART = "text2layer"
REAL = 256  # composites in each reference set
GALLERY_SIDE = 128  # of the drawings and assets that retrieval is fitted on


def gallery_of(assets: ReferenceAssets) -> Gallery:
    """The drawings that captions are ranked among. Centred on the held-out assets of the made
    style, a tenth of the work of all training assets and near the same mean."""
    alike = assets.heldout.vectors[assets.heldout.in_made_style]
    return Gallery.fit(assets.drawings.vectors, assets.drawings.pool.concepts, alike)


def run_protocol(
    models: Mapping[str, Path],
    shards: Path,
    out: Path,
    judges: Judges,
    report: Report,
    side: int = 64,
    limit: int | None = None,
) -> dict[str, Any]:
    """Score every folder of outputs at side x side pixels; writes `text2layer.json` and
    `text2layer.png` into `out`. Raises FileNotFoundError for outputs that are not there."""
    prompts = fixed_prompts(limit)
    outputs = {
        name: [each.at(side) for each in read_outputs(folder, names(prompts))]
        for name, folder in models.items()
    }
    features = judges.features
    gallery = gallery_of(ReferenceAssets(AssetPictures(shards / "assets", GALLERY_SIDE), features))
    references = described_sets(reference_sets(shards / "assets", side, REAL), features)
    found = {
        "setting": {"side": side, "captions": len(prompts), "features": features.name},
        "references": reference_figures(references),
        "models": {
            name: score_outputs(
                each,
                prompts,
                references,
                gallery,
                features,
                judges.judge,
                judges.cutter,
                report,
                name,
            )
            for name, each in outputs.items()
        },
    }
    save_sheet(sheet(outputs, prompts), out / f"{PART}.png")
    write_json(out / f"{PART}.json", found)
    return found


def lines_of_protocol(found: Mapping[str, Any]) -> Iterator[str]:
    """The table a reader takes in."""
    setting = found["setting"]
    yield (
        f"{setting['captions']} captions at {setting['side']} px; distances: KID x 1000 on "
        f"{setting['features']} features"
    )
    for name, each in found["references"].items():
        yield f"  {name}: {each['value'] * 1000:.1f} +- {each['spread'] * 1000:.1f}"
    for name, figures in found["models"].items():
        distances = ", ".join(
            f"{known} {each['value'] * 1000:.1f} +- {each['spread'] * 1000:.1f}"
            for known, each in figures["kid"].items()
        )
        text, mask = figures["text"]["all"], figures["mask"]
        yield (
            f"{name}: {distances}; caption rank {text['rank']['mean']:.3f}, top-5 "
            f"{text['top5']:.1%}; mask IoU {mask['iou'].get('mean', 0.0):.3f}"
        )
