"""Single foregrounds for the fixed prompts: retrieval, copy rate, KID and softness of alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import resize
from multiplane.evaluation.alpha import alpha_histogram, histogram_distance, soft_share
from multiplane.evaluation.assets import DescribedPool, ReferenceAssets
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.copying import CopyReport, copy_report
from multiplane.evaluation.judges import Features
from multiplane.evaluation.kid import kid
from multiplane.evaluation.made import made_foreground
from multiplane.evaluation.prompts import SETS, FixedPrompt, by_set, fixed_prompts
from multiplane.evaluation.retrieval import Vectors, described, looks
from multiplane.evaluation.sheets import Cell, SheetRow, grid, save_sheet, table

PART = "foregrounds"
TOP = 5
KNOWN_COPIES = 40


def run(bench: Bench) -> dict[str, Any]:
    """Make one foreground a prompt and score them all."""
    prompts = fixed_prompts(bench.limit)
    pictures: list[NDArray[np.float32]] = []
    seconds: list[float] = []
    for index, prompt in enumerate(prompts):
        bench.report(PART, index, len(prompts))
        made = made_foreground(bench, prompt.name, prompt.foreground)
        pictures.append(made.picture)
        seconds.append(made.seconds)
    bench.report(PART, len(prompts), len(prompts))
    figures = score(bench.assets, prompts, pictures, bench.judges.features)
    _save_sheets(bench, prompts, pictures, figures)
    return {**figures, "seconds": summary(seconds)}


def score(
    assets: ReferenceAssets,
    prompts: Sequence[FixedPrompt],
    pictures: Sequence[NDArray[np.float32]],
    features: Features,
) -> dict[str, Any]:
    """Every figure of a set of foregrounds (H, W, 4) straight alpha, one a prompt."""
    raw = looks(pictures, features)
    copies = copy_report(described(raw), assets.training.vectors)
    by_concept = copy_report(described(raw), assets.training.vectors, assets.training.pool.concepts)
    return {
        "pictures": len(pictures),
        "retrieval": retrieval(assets, prompts, described(raw)),
        "copying": {
            "rate": copies.rate,
            "rate, neighbours of other concepts only": by_concept.rate,
            "rate of held-out real assets": _heldout_rate(assets),
            "rate of softened, mirrored training assets": known_copies_rate(assets, features),
            "nearest": _nearest(assets.training, prompts, copies),
        },
        **likeness(assets, raw[0], [picture[..., 3] for picture in pictures]),
    }


def retrieval(
    assets: ReferenceAssets, prompts: Sequence[FixedPrompt], vectors: Vectors
) -> dict[str, Any]:
    """Top-5 of the made pictures, of real assets of the same concepts, and at random."""
    gallery = assets.gallery
    concepts = [prompt.concept for prompt in prompts]
    made = gallery.hits(vectors, concepts, TOP)
    real = gallery.hits(assets.real_vectors(concepts), concepts, TOP)
    nearest = gallery.nearest(vectors, TOP)

    def rates(chosen: NDArray[np.bool_]) -> dict[str, float]:
        top, ceiling, floor = made[chosen].mean(), real[chosen].mean(), gallery.floor(TOP)
        return {
            "n": int(chosen.sum()),
            "top5": float(top),
            "ceiling": float(ceiling),
            "floor": floor,
            "share of ceiling": float(top / ceiling) if ceiling else 0.0,
            "times floor": float(top / floor),
        }

    return {
        "gallery": len(gallery.concepts),
        **by_set(prompts, rates),
        "found": {
            prompt.name: {"hit": bool(hit), "nearest": row}
            for prompt, hit, row in zip(prompts, made, nearest, strict=True)
        },
    }


def _heldout_rate(assets: ReferenceAssets) -> float:
    """What is no copy for certain: held-out pictures, never trained on, scored the same."""
    held = assets.heldout.vectors[assets.heldout.in_made_style]
    return copy_report(held, assets.training.vectors).rate


def known_copies_rate(assets: ReferenceAssets, features: Features) -> float:
    """What is a copy for certain: training assets at 5/8 of their size and back, mirrored."""
    training = assets.training
    every = max(1, training.in_made_style.size // KNOWN_COPIES)
    chosen = training.in_made_style[::every][:KNOWN_COPIES]
    copies = [_softened(training.picture(index))[:, ::-1] for index in chosen]
    return copy_report(described(looks(copies, features)), training.vectors).rate


def _softened(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    side = picture.shape[0]
    small = resize(picture, (side * 5 // 8, side * 5 // 8), "area")
    return resize(small, (side, side), "lanczos")


def _nearest(
    training: DescribedPool, prompts: Sequence[FixedPrompt], copies: CopyReport
) -> dict[str, dict[str, Any]]:
    return {
        prompt.name: {
            "asset": training.pool.keys[copies.nearest[row]],
            "index": int(copies.nearest[row]),
            "distance": float(copies.distance[row]),
            "spacing": float(copies.spacing[row]),
            "copied": bool(copies.copied[row]),
        }
        for row, prompt in enumerate(prompts)
    }


def likeness(
    assets: ReferenceAssets, on_grey: Vectors, mattes: Sequence[NDArray[np.floating]]
) -> dict[str, Any]:
    """KID and softness of alpha against real assets, with what real held-out assets score."""
    training, heldout = assets.training, assets.heldout
    real = training.on_grey[training.in_made_style]
    real_mattes = training.mattes
    held_mattes = [heldout.picture(index)[..., 3] for index in heldout.in_made_style]
    histogram = alpha_histogram(real_mattes)
    covered = [matte for matte in mattes if (matte > 0.5).any()]
    made_histogram = alpha_histogram(covered) if covered else np.zeros_like(histogram)
    return {
        "empty": len(mattes) - len(covered),
        "kid": {
            "features": "efficientnet-lite0, object framed, on grey",
            "made to real": asdict(kid(on_grey, real)) if len(on_grey) > 1 else None,
            "half of real to the other half": asdict(kid(real[::2], real[1::2])),
            "held-out real to real": asdict(kid(heldout.on_grey[heldout.in_made_style], real)),
        },
        "soft alpha": {
            "distance of made to real": histogram_distance(made_histogram, histogram),
            "distance of held-out real to real": histogram_distance(
                alpha_histogram(held_mattes), histogram
            ),
            "soft share, made": summary([soft_share(matte) for matte in mattes]),
            "soft share, real": summary([soft_share(matte) for matte in real_mattes]),
            "histogram, made": made_histogram.round(5).tolist(),
            "histogram, real": histogram.round(5).tolist(),
        },
    }


def _save_sheets(
    bench: Bench,
    prompts: Sequence[FixedPrompt],
    pictures: Sequence[NDArray[np.float32]],
    figures: dict[str, Any],
) -> None:
    found = figures["retrieval"]["found"]
    overall = figures["retrieval"]["all"]
    note = (
        f"Every prompt of the list, one seed each, nothing picked. Red: its drawing is not among "
        f"the five nearest of {figures['retrieval']['gallery']}. Top-5 {overall['top5']:.0%}, real "
        f"assets {overall['ceiling']:.0%}, chance {overall['floor']:.1%}."
    )
    for each in SETS:
        chosen = [row for row, prompt in enumerate(prompts) if prompt.set == each]
        if not chosen:
            continue
        cells = [
            Cell(pictures[row], prompts[row].foreground, not found[prompts[row].name]["hit"])
            for row in chosen
        ]
        sheet = grid(cells, f"Foregrounds: {each} prompts", note)
        save_sheet(sheet, bench.out / f"{PART}-{each}.png")
    save_sheet(_copy_sheet(bench, prompts, pictures, figures), bench.out / f"{PART}-nearest.png")


def _copy_sheet(
    bench: Bench,
    prompts: Sequence[FixedPrompt],
    pictures: Sequence[NDArray[np.float32]],
    figures: dict[str, Any],
) -> Any:
    training = bench.assets.training
    nearest = figures["copying"]["nearest"]
    rows: list[SheetRow] = []
    for start in range(0, len(prompts), 12):
        part = range(start, min(start + 12, len(prompts)))
        made = [Cell(pictures[row], prompts[row].foreground) for row in part]
        real: list[Cell] = []
        for row in part:
            entry = nearest[prompts[row].name]
            caption = f"{entry['distance']:.2f} / {entry['spacing']:.2f}"
            real.append(Cell(training.picture(entry["index"]), caption, entry["copied"]))
        rows += [SheetRow("made", made), SheetRow("nearest trained on", real)]
    copying = figures["copying"]
    note = (
        "Under each made picture the nearest training asset: its distance / that asset's distance "
        f"to its own nearest neighbour. Red: counted as a copy. Copy rate {copying['rate']:.0%}; "
        f"held-out real assets {copying['rate of held-out real assets']:.0%}."
    )
    return table(rows, "Nearest training assets", note, side=88)
