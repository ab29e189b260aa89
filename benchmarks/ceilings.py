"""What real pictures score in the evaluation: its ceilings, floors and zeros. No model is asked.

    python benchmarks/ceilings.py --shards shards [--segmenters] [--json FILE]

Retrieval: real assets of every concept that the gallery shows, described in five ways. Copy rate:
held-out assets (originals for certain) and softened, mirrored training assets (copies for certain).
KID and softness of alpha: held-out assets against training assets. Faults of alpha: held-out assets
as they are, and with a black and a white fringe planted on their soft edge. --segmenters: ISNet and
U2-Net on the held-out scenes (several seconds a scene).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from multiplane.core.pixels import to_float
from multiplane.evaluation.alpha import INSIDE, OUTSIDE, alpha_histogram, mask_iou
from multiplane.evaluation.assets import AssetPictures, DescribedPool, ReferenceAssets
from multiplane.evaluation.bench import Judges, summary
from multiplane.evaluation.copying import copy_report
from multiplane.evaluation.parts.alpha import faults_of
from multiplane.evaluation.parts.foregrounds import known_copies_rate, likeness
from multiplane.evaluation.prompts import SETS, fixed_prompts
from multiplane.evaluation.retrieval import Vectors, unit
from multiplane.evaluation.scenes import read_scenes

GROUNDS = ("grey", "white", "black")  # in the order of retrieval.BACKGROUNDS


def first_rows(pool: DescribedPool, known: set[str]) -> tuple[list[int], list[str]]:
    """The first picture of every concept that the gallery shows."""
    rows: dict[str, int] = {}
    for index, concept in enumerate(pool.pool.concepts):
        if concept in known:
            rows.setdefault(concept, index)
    return list(rows.values()), list(rows)


def plain_hits(queries: Vectors, concepts: list[str], gallery: Vectors, names: list[str]) -> float:
    """Top-5 by cosine without any common ground."""
    nearest = np.argsort(-(queries @ gallery.T), axis=1)[:, :5]
    found = [
        concept in {names[index] for index in row}
        for concept, row in zip(concepts, nearest, strict=True)
    ]
    return float(np.mean(found))


def retrieval(assets: ReferenceAssets) -> dict[str, Any]:
    drawings, training, heldout = assets.drawings, assets.training, assets.heldout
    names = drawings.pool.concepts
    pools = {"train": training, "held out": heldout}
    chosen = {name: first_rows(pool, set(names)) for name, pool in pools.items()}

    def row(score: Any) -> dict[str, float]:
        return {name: score(pool, *chosen[name]) for name, pool in pools.items()}

    ways: dict[str, dict[str, float]] = {}
    for index, ground in enumerate(GROUNDS):
        ways[f"on {ground}"] = row(
            lambda pool, rows, concepts, i=index: plain_hits(
                unit(pool.raw[i][rows]), concepts, unit(drawings.raw[i]), names
            )
        )
    ways["mean of the three"] = row(
        lambda pool, rows, concepts: plain_hits(
            pool.vectors[rows], concepts, drawings.vectors, names
        )
    )
    gallery = assets.gallery
    ways["each family centred"] = row(
        lambda pool, rows, concepts: plain_hits(
            unit(pool.vectors[rows] - gallery.query_mean),
            concepts,
            unit(drawings.vectors - drawings.vectors.mean(axis=0)),
            names,
        )
    )
    ways["centred and damped (used)"] = row(
        lambda pool, rows, concepts: float(gallery.hits(pool.vectors[rows], concepts).mean())
    )
    prompts = fixed_prompts()
    real = assets.real_vectors([each.concept for each in prompts])
    hit = gallery.hits(real, [each.concept for each in prompts])
    sets = np.array([each.set for each in prompts])
    return {
        "gallery": len(names),
        "concepts": {name: len(rows) for name, (rows, _) in chosen.items()},
        "top5": ways,
        "floor": gallery.floor(),
        "concepts of the fixed prompts": {
            "all": float(hit.mean()),
            **{each: float(hit[sets == each].mean()) for each in SETS},
        },
    }


def copying(assets: ReferenceAssets, judges: Judges) -> dict[str, float]:
    heldout = assets.heldout.vectors[assets.heldout.in_made_style]
    return {
        "held-out assets": copy_report(heldout, assets.training.vectors).rate,
        "softened, mirrored training assets": known_copies_rate(assets, judges.features),
    }


def faults(pictures: AssetPictures) -> dict[str, Any]:
    """One held-out asset a concept root."""
    pool = pictures.heldout
    real = [pool.picture(row) for row in pool.one_a_root(len(pool.pool), 1)]
    histogram = alpha_histogram(pictures.training.mattes)
    figures = {"as they are": faults_of(real, histogram)}
    for name, value in (("with a black fringe", 0.0), ("with a white fringe", 1.0)):
        fringed = [picture.copy() for picture in real]
        for picture in fringed:
            alpha = picture[..., 3]
            picture[(alpha > OUTSIDE) & (alpha < INSIDE), :3] = value
        figures[name] = faults_of(fringed, histogram)
    return figures


def segmenters(shards: Path, side: int, judges: Judges) -> dict[str, Any]:
    scores: dict[str, dict[str, list[float]]] = {}
    for scene in read_scenes(shards / "scenes", side):
        kind = "with other objects" if scene.crowded else "without other objects"
        truth = to_float(scene.foreground)[..., 3]
        picture = to_float(scene.composite)[..., :3]
        judged, cut = judges.judge.cut(picture), judges.cutter.cut(picture)
        pairs = {
            judges.judge.name: (judged, truth),
            judges.cutter.name: (cut, truth),
            f"{judges.judge.name} and {judges.cutter.name}": (judged, cut),
        }
        for name, pair in pairs.items():
            scores.setdefault(name, {}).setdefault(kind, []).append(mask_iou(*pair))
    return {
        name: {kind: summary(values) for kind, values in kinds.items()}
        for name, kinds in scores.items()
    }


def show(figures: dict[str, Any]) -> None:
    console = Console(width=110)
    table = Table("described", "train", "held out", title="Top-5 of real assets")
    for way, row in figures["retrieval"]["top5"].items():
        table.add_row(way, f"{row['train']:.1%}", f"{row['held out']:.1%}")
    console.print(table)
    for name in ("concepts", "floor", "concepts of the fixed prompts"):
        console.print(f"{name}: {figures['retrieval'][name]}")
    console.print(f"copy rate: {figures['copying']}")
    console.print(f"KID: {figures['likeness']['kid']}")
    soft = figures["likeness"]["soft alpha"]
    console.print(
        f"soft share: held out {soft['soft share, made']}, train {soft['soft share, real']}"
    )
    for name, found in figures["faults"].items():
        told = {key: each["mean"] for key, each in found.items() if isinstance(each, dict) and each}
        console.print(f"held-out assets {name}: {told}")
    for name, kinds in figures.get("segmenters", {}).items():
        for kind, values in kinds.items():
            console.print(f"mask iou of {name}, {kind}: {values}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What real pictures score in the evaluation.")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--segmenters", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    judges = Judges()
    assets = ReferenceAssets(
        AssetPictures(arguments.shards / "assets", arguments.side), judges.features
    )
    heldout = assets.heldout
    rows = heldout.in_made_style
    figures: dict[str, Any] = {
        "retrieval": retrieval(assets),
        "copying": copying(assets, judges),
        "faults": faults(assets.pictures),
        "likeness": likeness(
            assets, heldout.on_grey[rows], [heldout.picture(row)[..., 3] for row in rows]
        ),
    }
    if arguments.segmenters:
        figures["segmenters"] = segmenters(arguments.shards, arguments.side, judges)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
