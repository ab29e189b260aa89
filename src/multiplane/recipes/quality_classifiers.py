"""Train the two quality classifiers of the photo pipeline: one neuron each over a frozen network.

    python -m multiplane.recipes.quality_classifiers config.toml

Examples come from scenes with exact truth and planted faults (`data/layer_photos/examples.py`), for
masks also from such with photographic objects (`data/layer_photos/photographic.py`), and from what
people decided (`multiplane data label`) where the config names such files. The frozen features are
computed once and kept; after that the training takes seconds. Views, decay and threshold are chosen
on training concepts set aside; the figures are of the held-out split.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multiplane.core.config import read_config, to_table
from multiplane.data.build import hash_of
from multiplane.data.layer_photos.examples import (
    EXAMPLE_FORM,
    Example,
    ExampleStock,
    completion_example,
    mask_example,
)
from multiplane.data.layer_photos.human import labelled_examples
from multiplane.data.layer_photos.photographic import (
    PHOTOGRAPHIC_FORM,
    CutoutStock,
    TexturedStock,
)
from multiplane.data.layer_photos.quality import (
    NeuronNote,
    QualityNote,
    load_backbone,
    save_quality,
)
from multiplane.data.records import Split, split_of
from multiplane.data.shards import write_json
from multiplane.io.atomic import replacing
from multiplane.models.quality_classifier import FrozenFeatures, Neuron
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.recipes.command import path_argument
from multiplane.training.one_neuron import (
    FitConfig,
    fit_neuron,
    roc_auc,
    threshold_at_precision,
)

logger = logging.getLogger(__name__)
CHUNK = 50  # examples whose features are kept in one file
DECAYS = (1e-2, 1e-1, 1.0)
SET_ASIDE = 0.2  # of the training concepts, to choose by
Question = Literal["mask", "completion"]
# The ways a question's picture may be shown; the better is kept.
QUESTIONS: dict[Question, tuple[tuple[str, ...], ...]] = {
    "mask": (("picture", "object"), ("object", "rest")),
    "completion": (("picture",),),
}


@dataclass(frozen=True)
class HumanLabels:
    """A file of decisions and the folder or shards they are about."""

    question: Question
    labels: Path
    pictures: Path


@dataclass(frozen=True)
class QualityConfig:
    """shards: asset shards. train, heldout: examples a classifier. photographs: what `layer-photos`
    made of photographs of clear rights; photographic: so many examples of masks with their objects,
    and as many with textured assets, beside the others, for training alone (photographs are too
    few to hold any out: benchmarks/quality_groups.py judges on others). size: of the scenes.
    side: of what the frozen network reads. matte: the network among the mask examples, "" for none.
    precision: what the threshold must reach on the concepts set aside; mask_precision: the same for
    masks, None for as much. backbone: a classifier folder whose network is used in place of the
    package's."""

    shards: Path
    out: Path
    train: int = 900
    heldout: int = 300
    photographs: Path | None = None
    photographic: int = 0
    size: int = 192
    side: int = 192
    seed: int = 0
    matte: str = "u2netp"
    precision: float = 0.95
    mask_precision: float | None = None
    fit: FitConfig = field(default_factory=FitConfig)
    labels: tuple[HumanLabels, ...] = ()
    backbone: Path | None = None

    def __post_init__(self) -> None:
        for precision in (self.precision, self.precision_of("mask")):
            if not 0.5 <= precision < 1:
                raise ValueError(f"precision must be 0.5 up to 1, got {precision}")
        if (self.photographs is None) != (self.photographic == 0) or self.photographic < 0:
            raise ValueError(
                "photographs (a folder of layer-photos) and photographic (how many examples) go "
                f"together, got {self.photographs} and {self.photographic}"
            )
        if min(self.train, self.heldout) < 20:
            raise ValueError("train and heldout need 20 examples or more to say anything")

    def precision_of(self, question: Question) -> float:
        own = self.mask_precision if question == "mask" else None
        return self.precision if own is None else own


@dataclass(frozen=True, eq=False)
class Table:
    """Features of labelled examples by view, (N, D) each. aside: rows to choose by."""

    views: dict[str, NDArray[np.float32]]
    good: NDArray[np.bool_]
    fault: NDArray[np.str_]
    aside: NDArray[np.bool_]

    def of(self, views: Sequence[str], rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.concatenate([self.views[name][rows] for name in views], axis=1)


def run(config: QualityConfig) -> dict[str, Any]:
    """Train both, write the classifier folder `config.out`, return the figures."""
    note, folder = _backbone_note(config)
    features = cache(lambda: load_backbone(note, folder))  # not needed where all are kept
    neurons: dict[str, Neuron] = {}
    figures: dict[str, Any] = {}
    for question, ways in QUESTIONS.items():
        views = tuple(dict.fromkeys(view for way in ways for view in way))
        tables: dict[Split, Table] = {
            split: _table(config, features, question, split, views) for split in _SPLITS
        }
        precision = config.precision_of(question)
        neurons[question], figures[question] = train_neuron(tables, ways, config.fit, precision)
    notes = {name: NeuronNote(neuron.views, neuron.threshold) for name, neuron in neurons.items()}
    save_quality(config.out, replace(note, **notes), neurons, figures)
    write_json(config.out / "figures.json", figures)
    return figures


_SPLITS: tuple[Split, ...] = ("train", "heldout")


def _backbone_note(config: QualityConfig) -> tuple[QualityNote, Path]:
    nothing = NeuronNote(("picture",), 0.5)
    if config.backbone is None:
        return QualityNote(config.side, nothing, nothing), config.out
    layers = json.loads((config.backbone / "config.json").read_text("utf-8"))["layers"]
    return QualityNote(config.side, nothing, nothing, "own", layers), config.backbone


def train_neuron(
    tables: dict[Split, Table],
    ways: Sequence[Sequence[str]],
    usual: FitConfig,
    precision: float,
) -> tuple[Neuron, dict[str, Any]]:
    """The best way and decay on the concepts set aside, with its threshold, fitted anew on all; and
    the figures of every way on the held-out split."""
    train, heldout = tables["train"], tables["heldout"]
    everything = np.ones(len(heldout.good), bool)
    tried: list[tuple[float, tuple[str, ...], FitConfig, float]] = []
    for views in map(tuple, ways):
        for decay in DECAYS:
            fit = replace(usual, decay=decay)
            part = _neuron(train, views, ~train.aside, fit)
            scores = part(train.of(views, train.aside))
            good = train.good[train.aside]
            threshold = threshold_at_precision(scores, good, precision)
            tried.append((roc_auc(scores, good), views, fit, threshold))
    listed = []
    for views in map(tuple, ways):
        auc, _, fit, threshold = max(
            (each for each in tried if each[1] == views), key=lambda each: each[0]
        )
        neuron = _neuron(train, views, np.ones(len(train.good), bool), fit, threshold)
        listed.append((auc, neuron, fit.decay))
    best = max(listed, key=lambda each: each[0])
    figures: dict[str, Any] = {
        "examples": {"train": len(train.good), "heldout": len(heldout.good)},
        "ways": [
            {
                "views": "+".join(neuron.views),
                "decay": decay,
                "auc set aside": round(auc, 4),
                **judged(neuron(heldout.of(neuron.views, everything)), heldout, neuron.threshold),
            }
            for auc, neuron, decay in listed
        ],
        "chosen": "+".join(best[1].views),
    }
    return best[1], figures


def _neuron(
    table: Table,
    views: tuple[str, ...],
    rows: NDArray[np.bool_],
    fit: FitConfig,
    threshold: float = 0.5,
) -> Neuron:
    weight, bias = fit_neuron(table.of(views, rows), table.good[rows], fit)
    return Neuron(views, weight, bias, round(threshold, 4))


def judged(scores: NDArray[np.floating], table: Table, threshold: float) -> dict[str, Any]:
    """Accuracy at 0.5, area under the curve, and what the threshold lets through, by fault."""
    passed = scores >= threshold
    faults = {
        fault or "none": {
            "count": int(rows.sum()),
            "good": int(table.good[rows].sum()),
            "passed": round(float(passed[rows].mean()), 3),
        }
        for fault in sorted(set(table.fault.tolist()))
        for rows in [table.fault == fault]
    }
    return {
        "accuracy": round(float(((scores >= 0.5) == table.good).mean()), 4),
        "auc": round(roc_auc(scores, table.good), 4),
        "good share": round(float(table.good.mean()), 4),
        "threshold": round(threshold, 4),
        "precision": round(float(table.good[passed].mean()), 4) if passed.any() else None,
        "recall": round(float(passed[table.good].mean()), 4),
        "passed": faults,
    }


def _table(
    config: QualityConfig,
    features: Callable[[], FrozenFeatures],
    question: Question,
    split: Split,
    views: tuple[str, ...],
) -> Table:
    """Every example of a question and split: drawn, photographic, and judged by people."""
    stock = ExampleStock(config.shards, split, config.size)
    matte = SalientMatte.load(config.matte, threads=1) if config.matte else None
    seed = config.seed

    def example(index: int) -> Example:
        if question == "mask":
            return mask_example(stock, seed, index, matte)
        return completion_example(stock, seed, index)

    count = config.train if split == "train" else config.heldout
    form = hash_of([EXAMPLE_FORM, _form(config), views])[:12]
    work = config.out / "features" / f"{question}-{split}-{form}"
    rows = _rows(work, count, example, features, views)
    if split == "train" and question == "mask" and config.photographs is not None:
        manifest = (config.photographs / "manifest.json").read_text("utf-8")
        form = hash_of([EXAMPLE_FORM, PHOTOGRAPHIC_FORM, _form(config), manifest, views])[:12]
        for kind, own_seed, source in (
            ("cutouts", seed + 7, CutoutStock(stock, config.photographs)),
            ("textured", seed + 8, TexturedStock(stock)),
        ):
            work = config.out / "features" / f"{question}-{kind}-{form}"
            drawn = partial(mask_example, source, own_seed, matte=matte)
            rows += _rows(work, config.photographic, drawn, features, views)
    if split == "train":
        for source in config.labels:
            if source.question == question:
                found = labelled_examples(source.pictures, source.labels, question)
                rows += [_row(each, features(), views) for each in found]
    return _stacked(rows, views)


def _form(config: QualityConfig) -> dict[str, Any]:
    """What the features of an example depend on, its number apart."""
    table = to_table(replace(config, labels=(), fit=FitConfig(), precision=0.9))
    table |= {"out": "", "train": 0, "heldout": 0}
    apart = ("photographs", "photographic", "mask_precision")
    return {name: table[name] for name in table if name not in apart}


def _rows(
    work: Path,
    count: int,
    example: Callable[[int], Example],
    features: Callable[[], FrozenFeatures],
    views: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Rows of the first `count` examples; what is in the folder `work` is not made again."""
    rows: list[dict[str, Any]] = []
    for start in range(0, count, CHUNK):
        indices = range(start, min(start + CHUNK, count))
        rows += _chunk(work / f"{start:06d}-{len(indices)}.npz", indices, example, features, views)
        logger.info("%s: features of %d of %d", work.name, indices[-1] + 1, count)
    return rows


def _chunk(
    path: Path,
    indices: Sequence[int],
    example: Callable[[int], Example],
    features: Callable[[], FrozenFeatures],
    views: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Rows of these examples, from `path` when they are there."""
    if not path.exists():
        made = [_row(example(index), features(), views) for index in indices]
        arrays = {name: np.stack([row[name] for row in made]) for name in made[0]}
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    with np.load(path) as kept:
        columns = {name: kept[name] for name in kept.files}
    return [{name: columns[name][row] for name in columns} for row in range(len(indices))]


def _row(example: Example, features: FrozenFeatures, views: tuple[str, ...]) -> dict[str, Any]:
    laid = features.of_views(example.picture, example.mask, views)
    answer = -1 if example.good is None else int(example.good)
    return {
        "features": laid.astype(np.float32),
        "good": np.int8(answer),
        "fault": np.str_(example.fault),
        "root": np.str_(example.root),
    }


def _stacked(rows: list[dict[str, Any]], views: tuple[str, ...]) -> Table:
    kept = [row for row in rows if row["good"] >= 0]
    laid = np.stack([row["features"] for row in kept])
    parts = np.split(laid, len(views), axis=1)
    return Table(
        views=dict(zip(views, parts, strict=True)),
        good=np.array([bool(row["good"]) for row in kept]),
        fault=np.array([str(row["fault"]) for row in kept]),
        aside=np.array([_is_aside(str(row["root"])) for row in kept]),
    )


def _is_aside(root: str) -> bool:
    return split_of(f"quality {root}", SET_ASIDE) == "heldout"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    figures = run(read_config(QualityConfig, path_argument(__doc__)))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
