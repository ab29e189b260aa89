"""The two quality classifiers on renders, clip art and photographs apart, several of them side by
side on the same examples.

    python benchmarks/quality_groups.py SHARDS --count 100 [--quality embedded FOLDER] [--json OUT]

Renders and clip art are the held-out ones of SHARDS, photographs the cut-outs of the cutout
evaluation, which nothing is trained on; all on held-out landscapes. Examples are drawn as those the
classifiers learn from: half true, half with a planted fault, some by real programs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.data.assets import AssetPool, Plate, read_assets, read_plates
from multiplane.data.layer_photos.examples import (
    ASSET_SIZE,
    USUAL,
    Example,
    Scene,
    completion_example,
    drawn_scene,
    mask_example,
)
from multiplane.data.layer_photos.photographic import cutout_pool
from multiplane.data.layer_photos.quality import QualityFilter
from multiplane.data.placement import ScenePlacement
from multiplane.evaluation.cutout_scenes import STAMPS_FOLDER, read_stamp, read_table
from multiplane.models.quality_classifier import FrozenFeatures, Neuron
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.training.one_neuron import roc_auc
from multiplane.weights.sources import locate

SIZE = 192
SEED = 5
LOWER = (0.4, 0.5, 0.6)  # thresholds that take more


@dataclass(frozen=True, eq=False)
class GroupStock:
    """Objects of one kind on landscapes."""

    pool: AssetPool
    plates: list[Plate]

    def scene(self, rng: np.random.Generator, placement: ScenePlacement = USUAL) -> Scene:
        return drawn_scene(rng, self.pool, self.plates, placement, SIZE)


def groups(shards: Path) -> dict[str, GroupStock]:
    """The three kinds of objects, held-out ones."""
    plates = read_plates(shards, "heldout", 2 * SIZE)
    read = partial(read_assets, shards, ("foreground",), "heldout", ASSET_SIZE)
    folder = locate("tuxpaint-stamps") / STAMPS_FOLDER
    names = read_table()
    stamps = [read_stamp(folder, name, stands) for name, stands in names]
    photographs = cutout_pool(
        [name for name, _ in names],
        [stamp.caption for stamp in stamps],
        [stamp.pixels for stamp in stamps],
    )
    return {
        "renders": GroupStock(read(("3d",)), plates),
        "clip art": GroupStock(read(("clipart",)), plates),
        "photographs": GroupStock(photographs, plates),
    }


def judged(
    example: Callable[[int], Example],
    count: int,
    features: FrozenFeatures,
    neurons: Mapping[str, Neuron],
) -> dict[str, Any]:
    """What each neuron says of the first `count` examples. neurons: by their classifier's name."""
    views = tuple(dict.fromkeys(view for each in neurons.values() for view in each.views))
    found = [each for each in map(example, range(count)) if each.good is not None]
    laid = np.stack([features.of_views(each.picture, each.mask, views) for each in found])
    good = np.array([each.good for each in found], bool)
    faults = np.array([each.fault or "none" for each in found])
    parts = dict(zip(views, np.split(laid, len(views), axis=1), strict=True))
    report: dict[str, Any] = {"examples": len(found), "good": int(good.sum())}
    for name, neuron in neurons.items():
        scores = neuron(np.concatenate([parts[view] for view in neuron.views], axis=1))
        report[name] = _figures(scores, good, faults, neuron.threshold)
    return report


def _figures(
    scores: NDArray[np.floating],
    good: NDArray[np.bool_],
    faults: NDArray[np.str_],
    threshold: float,
) -> dict[str, Any]:
    passed, real = scores >= threshold, faults == "real"
    return {
        "accuracy at 0.5": round(float(((scores >= 0.5) == good).mean()), 3),
        "auc": round(roc_auc(scores, good), 3),
        "threshold": threshold,
        "good that pass": round(float(passed[good].mean()), 3),
        "bad that pass": round(float(passed[~good].mean()), 3),
        "precision": _precision(good, passed),
        "at a threshold of": {
            least: {
                "good that pass": round(float((scores >= least)[good].mean()), 3),
                "precision": _precision(good, scores >= least),
            }
            for least in LOWER
        },
        "passed": {
            fault: f"{int(passed[faults == fault].sum())} of {int((faults == fault).sum())}"
            for fault in sorted(set(faults.tolist()))
        },
        "real programs'": {
            "made": int(real.sum()),
            "good": int(good[real].sum()),
            "pass": int(passed[real].sum()),
            "good of those": int((good & passed)[real].sum()),
        },
    }


def _precision(good: NDArray[np.bool_], passed: NDArray[np.bool_]) -> float | None:
    return round(float(good[passed].mean()), 3) if passed.any() else None


def compared(
    stocks: Mapping[str, GroupStock], filters: Mapping[str, QualityFilter], count: int
) -> dict[str, Any]:
    """Per question and group. All filters must read the same frozen network."""
    matte = SalientMatte.load("u2netp", threads=1)
    features = next(iter(filters.values())).features
    report: dict[str, Any] = {}
    for group, stock in stocks.items():
        for question, example in (
            ("mask", lambda index, stock=stock: mask_example(stock, SEED, index, matte)),
            ("completion", partial(completion_example, stock, SEED)),
        ):
            neurons: dict[str, Neuron] = {
                name: getattr(quality, question) for name, quality in filters.items()
            }
            report[f"{question}, {group}"] = judged(example, count, features, neurons)
    return report


def loaded(sources: Sequence[str]) -> dict[str, QualityFilter]:
    filters = {source: QualityFilter.load(source) for source in sources}
    networks = {(each.note.backbone, each.note.side) for each in filters.values()}
    if len(networks) > 1:
        raise SystemExit(f"the classifiers read different networks: {sorted(networks)}")
    return filters


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--count", type=int, default=100, help="examples a group and question")
    parser.add_argument("--quality", nargs="+", default=["embedded"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = compared(groups(given.shards), loaded(given.quality), given.count)
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
