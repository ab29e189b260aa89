"""What the quality filter does to real mattes and completions, where the truth is known.

    python benchmarks/quality_filter.py SHARDS --count 40 [--json out.json]

Scenes with exact truth go down the whole road of `multiplane data layer-photos`: held-out assets of
SHARDS, and photographic cut-outs, whose kind no classifier was trained on. A mask is good when it
overlaps the true one by 0.88 and more (soft IoU), a completion when it is off by 0.04 at most where
the object stood, on average.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.pixels import Float, resize_channels, to_float
from multiplane.data.layer_photos import steps
from multiplane.data.layer_photos.examples import GOOD_ERROR, GOOD_IOU, ExampleStock
from multiplane.data.layer_photos.quality import QualityFilter, QualityScores
from multiplane.data.layer_photos.sources import PhotoSource
from multiplane.data.layer_photos.steps import PhotoConfig, PhotoRecord
from multiplane.data.shards import BrokenSource
from multiplane.evaluation.cutout_scenes import SceneStock, shipped_recipe
from multiplane.pipelines.cutout.candidates import iou
from multiplane.pipelines.cutout.matte import SalientMatte

SIDE = 384


@dataclass(frozen=True, eq=False)
class Truth:
    """A scene of which everything is known. image, background: (S, S, 3); mask: (S, S)."""

    group: str
    image: Float
    background: Float
    mask: Float


@dataclass(frozen=True, eq=False)
class Seen:
    """A record that came through the cheap filters, with what is true of it and what was said."""

    group: str
    record: PhotoRecord
    scores: QualityScores
    overlap: float
    error: float

    @property
    def good(self) -> tuple[bool, bool]:
        """(mask, completion)."""
        return self.overlap >= GOOD_IOU, self.error <= GOOD_ERROR


def truths(shards: Path, count: int) -> Iterator[Truth]:
    """`count` scenes of each group."""
    stock = ExampleStock(shards, "heldout", 256)
    for index in range(count):
        scene = stock.scene(np.random.default_rng([77, index]))
        yield Truth("held-out assets", scene.image, scene.background, scene.mask)
    recipe = replace(shipped_recipe(), photographs=count, renders=0)
    for scene in SceneStock(recipe).scenes():
        planes = [to_float(scene.composite), to_float(scene.background), scene.alpha]
        small = [resize_channels(plane, (SIDE, SIDE), "area") for plane in planes]
        yield Truth("photographic cut-outs", *small)


def seen(truth: Truth, config: PhotoConfig, matte: SalientMatte, quality: QualityFilter) -> Seen:
    """Raises BrokenSource as the steps do."""
    record = PhotoRecord(PhotoSource(truth.group, "", 0, 0, ""), truth.image)
    record = steps.cut(record, config, matte)
    record = steps.fill_background(steps.take_foreground(record, config), config)
    assert record.mask is not None
    assert record.background is not None
    scores = quality.score(record.picture, record.mask, record.background)
    error = float(np.abs(record.background - truth.background)[truth.mask > 0.5].mean())
    return Seen(truth.group, record, scores, iou(record.mask, truth.mask), error)


def told(found: list[Seen]) -> dict[str, Any]:
    """Counts and precision before and after the filter."""

    def part(rows: list[Seen]) -> dict[str, Any]:
        good = np.array([each.good for each in rows], bool).reshape(-1, 2)
        return {
            "records": len(rows),
            "mask good": _share(good[:, 0]),
            "completion good": _share(good[:, 1]),
            "both good": _share(good[:, 0] & good[:, 1]),
            "mean IoU": round(float(np.mean([each.overlap for each in rows])), 3) if rows else None,
            "mean error": round(float(np.mean([each.error for each in rows])), 4) if rows else None,
        }

    return {
        "before": part(found),
        "mask passes": part([e for e in found if "mask score" not in e.scores.reason]),
        "completion passes": part([e for e in found if "completion" not in e.scores.reason]),
        "after": part([each for each in found if each.scores.kept]),
    }


def _share(good: np.ndarray) -> float | None:
    return round(float(good.mean()), 3) if good.size else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--matte", default="u2netp")
    parser.add_argument("--complete", default="opencv")
    parser.add_argument("--quality", default="embedded")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    config = PhotoConfig(size=SIDE, matte=given.matte, complete=given.complete)
    matte = SalientMatte.load(given.matte, threads=1)
    quality = QualityFilter.load(given.quality)
    found: list[Seen] = []
    dropped: dict[str, int] = {}
    for truth in truths(given.shards, given.count):
        try:
            found.append(seen(truth, config, matte, quality))
        except BrokenSource:
            dropped[truth.group] = dropped.get(truth.group, 0) + 1
    groups = list(dict.fromkeys(each.group for each in found))
    report: dict[str, Any] = {
        "road": f"{given.matte}, {given.complete}",
        "left out by cheap filters": dropped,
        **{group: told([each for each in found if each.group == group]) for group in groups},
    }
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
