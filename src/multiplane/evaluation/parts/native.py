"""Native planes against a flat picture that is cut: the question of Text2Layer and LayerDiffuse.

The same weights answer the same prompts twice: once with all planes, once with a flat picture out
of which U2-Net cuts the object. ISNet judges both mattes on the picture they belong to; its score
on real scenes, whose mattes are exact, is the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float
from multiplane.core.request import LayerRequest, Plane
from multiplane.evaluation.alpha import (
    alpha_histogram,
    histogram_distance,
    mask_iou,
    over_solid,
    soft_share,
)
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.judges import Segmenter
from multiplane.evaluation.kid import kid
from multiplane.evaluation.parts.foregrounds import likeness, retrieval
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.retrieval import BACKGROUNDS, described, looks
from multiplane.evaluation.scenes import joint_prompt
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table

PART = "native"
PROMPTS = 24
REAL_SCENES = 24
SHADOWED = 60
SHOWN = 12
BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Cutout:
    """picture: (H, W, 3) the whole of it. foreground: (H, W, 4) straight alpha of its object."""

    picture: NDArray[np.float32]
    foreground: NDArray[np.float32]


def run(bench: Bench) -> dict[str, Any]:
    """Make both for every prompt, judge them, and compare their foregrounds with real assets."""
    prompts = fixed_prompts(bench.count(PROMPTS))
    native: list[Cutout] = []
    cut: list[Cutout] = []
    for index, prompt in enumerate(prompts):
        bench.report(PART, index, 2 * len(prompts))
        native.append(_native(bench, prompt))
        cut.append(_cut(bench, prompt))
    judge = bench.judges.judge
    figures: dict[str, Any] = {"prompts": len(prompts), "judge": f"{judge.name} {judge.version}"}
    figures["cutter"] = f"{bench.judges.cutter.name} {bench.judges.cutter.version}"
    figures["judge on real scenes"] = judge_on_scenes(bench)
    ceiling = figures["judge on real scenes"].get("mean", 0.0)
    mattes: dict[str, list[NDArray[np.float32]]] = {}
    for number, (name, made) in enumerate((("native", native), ("cut", cut))):
        judged: list[NDArray[np.float32]] = []
        for index, each in enumerate(made):
            done = len(prompts) + (number * len(made) + index) // 2
            bench.report(PART, done, 2 * len(prompts))
            judged.append(judge.cut(each.picture))
        mattes[name] = judged
        figures[name] = _figures(bench, prompts, made, judged, ceiling)
    figures["like real scenes"] = like_scenes(bench, {"native": native, "cut": cut})
    bench.report(PART, 2 * len(prompts), 2 * len(prompts))
    _save_sheet(bench, prompts, {"native": native, "cut": cut}, mattes)
    return figures


def judge_on_scenes(bench: Bench) -> dict[str, Any]:
    """The judge's mask IoU with the exact mattes of held-out scenes that hold no other objects, as
    the prompts ask for none: the ceiling."""
    judge: Segmenter = bench.judges.judge
    scores = [
        mask_iou(judge.cut(to_float(scene.composite)[..., :3]), to_float(scene.foreground)[..., 3])
        for scene in bench.scenes(REAL_SCENES, clear=True)
    ]
    return summary(scores)


def _native(bench: Bench, prompt: FixedPrompt) -> Cutout:
    request = LayerRequest(
        foregrounds=(Plane(wanted=True, prompt=prompt.foreground),),
        background=Plane(wanted=True, prompt=prompt.background),
        composite=Plane(wanted=True),
        size=(bench.side, bench.side),
        seed=bench.seed_for(PART, "planes", prompt.name),
        model=bench.family.name,
    )
    document, _, _ = bench.run(request)
    from multiplane.core.composite import composite

    foreground = next(layer for layer in document.leaves() if layer.role == "foreground")
    return Cutout(over_solid(composite(document), BLACK), to_float(foreground.pixels))


def _cut(bench: Bench, prompt: FixedPrompt) -> Cutout:
    request = LayerRequest(
        composite=Plane(wanted=True, prompt=joint_prompt(prompt.foreground, prompt.background)),
        size=(bench.side, bench.side),
        seed=bench.seed_for(PART, "flat", prompt.name),
        model=bench.family.name,
    )
    document, _, _ = bench.run(request)
    picture = to_float(document.leaves()[0].pixels)[..., :3]
    matte = bench.judges.cutter.cut(picture)
    return Cutout(picture, np.concatenate([picture, matte[..., None]], axis=2))


def _figures(
    bench: Bench,
    prompts: Sequence[FixedPrompt],
    made: Sequence[Cutout],
    judged: Sequence[NDArray[np.float32]],
    ceiling: float,
) -> dict[str, Any]:
    scores = [
        mask_iou(each.foreground[..., 3], matte) for each, matte in zip(made, judged, strict=True)
    ]
    raw = looks([each.foreground for each in made], bench.judges.features)
    found = retrieval(bench.assets, prompts, described(raw))
    return {
        "mask iou with the judge": summary(scores),
        "share of the judge's own": float(np.mean(scores) / ceiling) if ceiling else 0.0,
        "judge found nothing": sum(not (matte >= 0.5).any() for matte in judged),
        "retrieval": found["all"],
        **likeness(bench.assets, raw[0], [each.foreground[..., 3] for each in made]),
    }


def like_scenes(bench: Bench, made: dict[str, list[Cutout]]) -> dict[str, Any]:
    """The foregrounds against those of held-out scenes, which lie over their own contact shadow as
    the model has learned it: beside assets without one, a shadow counts as softness."""
    features = bench.judges.features
    real = [to_float(scene.foreground) for scene in bench.scenes(SHADOWED)]
    histogram = alpha_histogram([each[..., 3] for each in real])
    on_grey = looks(real, features, BACKGROUNDS[:1])[0]
    figures: dict[str, Any] = {
        "scenes": len(real),
        "soft share, real": summary([soft_share(each[..., 3]) for each in real]),
    }
    for name, cutouts in made.items():
        foregrounds = [each.foreground for each in cutouts]
        mattes = [each[..., 3] for each in foregrounds if (each[..., 3] > 0.5).any()]
        seen = looks(foregrounds, features, BACKGROUNDS[:1])[0]
        figures[name] = {
            "kid": asdict(kid(seen, on_grey)),
            "soft alpha distance": histogram_distance(alpha_histogram(mattes), histogram)
            if mattes
            else None,
        }
    return figures


def _save_sheet(
    bench: Bench,
    prompts: Sequence[FixedPrompt],
    made: dict[str, list[Cutout]],
    mattes: dict[str, list[NDArray[np.float32]]],
) -> None:
    first = range(min(SHOWN, len(prompts)))
    label = {"native": "planes together", "cut": "flat picture, cut by U2-Net"}
    rows: list[SheetRow] = []
    for name, cutouts in made.items():
        judged = mattes[name]
        rows.append(SheetRow(label[name], [Cell(cutouts[i].picture) for i in first]))
        rows.append(SheetRow("its foreground", [Cell(cutouts[i].foreground) for i in first]))
        cells = []
        for i in first:
            score = mask_iou(cutouts[i].foreground[..., 3], judged[i])
            words = f"{prompts[i].foreground} in {prompts[i].background}" if name == "cut" else ""
            cells.append(Cell(judged[i], f"IoU {score:.2f}\n{words}", score < 0.5))
        rows.append(SheetRow("the judge's matte", cells))
    note = "The first prompts of the list, one seed each, nothing picked."
    sheet = table(rows, "Native planes and a cut flat picture", note, side=104)
    save_sheet(sheet, bench.out / f"{PART}.png")
