"""Text2Layer's protocol (arXiv 2307.09781, section V-B) on outputs of any model: fixed captions,
distance of the composites to two reference sets, fit to the caption, and the mask against a
segmenter's on the composite.

Differs from the paper in its judges, which are named with every figure: KID on EfficientNet-Lite0
features for Clean-FID (no Inception network comes as a package, and a few hundred pictures are too
few for a Frechet distance of 1,280 numbers); the rank of the caption's drawing in a gallery for
CLIP; ISNet for ICON. Nobody has drawn masks by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.evaluation.alpha import mask_iou
from multiplane.evaluation.bench import Report, summary
from multiplane.evaluation.judges import Features, Segmenter
from multiplane.evaluation.kid import kid
from multiplane.evaluation.prompts import SETS, FixedPrompt, by_set
from multiplane.evaluation.retrieval import Gallery, Vectors, described, looks
from multiplane.evaluation.sheets import Cell, SheetRow, table
from multiplane.evaluation.text2layer_outputs import Float, Output
from multiplane.evaluation.text2layer_sets import Pictures

TOP = 5
JUDGED = 32
SHOWN = 12


def ranks(gallery: Gallery, vectors: Vectors, concepts: Sequence[str]) -> NDArray[np.float64]:
    """(N,) share of the gallery's drawings that are further from the picture than that of its own
    concept: 1 is the nearest, 0.5 is chance."""
    count = len(gallery.concepts)
    order = gallery.nearest(vectors, count)
    places = [row.index(name) for row, name in zip(order, concepts, strict=True)]
    return 1 - np.asarray(places, np.float64) / max(1, count - 1)


def with_foregrounds(outputs: Sequence[Output], cutter: Segmenter) -> list[Float]:
    """(H, W, 4) straight alpha each: the model's own, or the cutter's of a flat picture."""
    found = []
    for each in outputs:
        if each.foreground is not None:
            found.append(each.foreground)
        else:
            matte = cutter.cut(each.composite)
            found.append(np.concatenate([each.composite, matte[..., None]], axis=2))
    return found


def score_outputs(
    outputs: Sequence[Output],
    prompts: Sequence[FixedPrompt],
    references: Mapping[str, Vectors],
    gallery: Gallery,
    features: Features,
    judge: Segmenter,
    cutter: Segmenter,
    report: Report,
    name: str,
) -> dict[str, Any]:
    """Every figure of one model's outputs, one a prompt. references: set -> features of its
    composites."""
    foregrounds = with_foregrounds(outputs, cutter)
    composites = features.of([each.composite for each in outputs])
    vectors = described(looks(foregrounds, features))
    concepts = [prompt.concept for prompt in prompts]
    places = ranks(gallery, vectors, concepts)
    hits = gallery.hits(vectors, concepts, TOP)

    def text(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "n": int(chosen.sum()),
            "top5": float(hits[chosen].mean()),
            "rank": summary(places[chosen]),
        }

    every = max(1, len(outputs) // JUDGED)
    judged = mask_scores(outputs[::every], foregrounds[::every], judge, report, name)
    return {
        "pictures": len(outputs),
        "layers": all(each.foreground is not None for each in outputs),
        "kid": {known: asdict(kid(composites, real)) for known, real in references.items()},
        "text": {
            "chance, top5": gallery.floor(TOP),
            **by_set(prompts, text),
        },
        "mask": {"judge": f"{judge.name} {judge.version}", **judged},
    }


def mask_scores(
    outputs: Sequence[Output],
    foregrounds: Sequence[Float],
    judge: Segmenter,
    report: Report,
    name: str,
) -> dict[str, Any]:
    """IoU at 0.5 of each mask with the judge's matte of its composite; and on how many composites
    the judge found nothing, which count as 0."""
    scores, nothing = [], 0
    for done, (each, foreground) in enumerate(zip(outputs, foregrounds, strict=True)):
        report(name, done, len(outputs))
        matte = judge.cut(each.composite)
        nothing += not (matte >= 0.5).any()
        scores.append(mask_iou(foreground[..., 3], matte))
    report(name, len(outputs), len(outputs))
    return {"iou": summary(scores), "judge found nothing": nothing}


def reference_figures(references: Mapping[str, Vectors]) -> dict[str, Any]:
    """Zeros and a scale for the distances: KID between the halves of each set, and between the
    sets."""
    figures: dict[str, Any] = {
        f"{name}, one half to the other": asdict(kid(vectors[::2], vectors[1::2]))
        for name, vectors in references.items()
    }
    known = list(references)
    for index, one in enumerate(known):
        for two in known[index + 1 :]:
            figures[f"{one} to {two}"] = asdict(kid(references[one], references[two]))
    return figures


def described_sets(sets: Mapping[str, Pictures], features: Features) -> dict[str, Vectors]:
    """Set -> (N, D) features of its composites."""
    return {name: features.of(pictures) for name, pictures in sets.items()}


def sheet(
    models: Mapping[str, Sequence[Output]], prompts: Sequence[FixedPrompt], side: int = 104
) -> Any:
    """Every model's planes for the first prompts of each set, in their order; captions below."""
    chosen = [
        index
        for each in SETS
        for index in [i for i, prompt in enumerate(prompts) if prompt.set == each][: SHOWN // 3]
    ]
    rows = []
    for name, outputs in models.items():
        rows.append(SheetRow(name, [Cell(outputs[i].composite) for i in chosen]))
        if any(each.foreground is not None for each in outputs):
            rows.append(SheetRow("its foreground", [Cell(outputs[i].foreground) for i in chosen]))
        if any(each.background is not None for each in outputs):
            rows.append(SheetRow("its background", [Cell(outputs[i].background) for i in chosen]))
    last = [
        replace(cell, caption=f"{prompts[i].foreground} in {prompts[i].background}")
        for i, cell in zip(chosen, rows[-1].cells, strict=True)
    ]
    rows[-1] = SheetRow(rows[-1].label, last)
    note = "The first captions of each set, one seed each, nothing picked."
    return table(rows, "One caption, two layers", note, side)
