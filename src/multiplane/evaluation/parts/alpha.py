"""Alpha of single foregrounds beside that of real assets: residue, holes, halo, what is
see-through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.family import AutoencodingFamily
from multiplane.core.pixels import checkerboard
from multiplane.evaluation.alpha import (
    alpha_histogram,
    histogram_distance,
    over_solid,
    soft_share,
)
from multiplane.evaluation.alpha_faults import halo, holes, residue, see_through_share
from multiplane.evaluation.assets import AssetPictures, PicturePool
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.made import made_foreground
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.sheets import DARK, LIGHT, Cell, SheetRow, evenly, save_sheet, table

PART = "alpha"
REAL = 96  # held-out assets at most
SEE_THROUGH = 16  # concepts
SEE_THROUGH_LEAST = 0.05  # of the covered pixels, for a concept to count as see-through
SHOWN = 10
BACKDROPS = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
}
RESIDUE_SHOWN = 32  # times, on the sheet: a 64th of full alpha is a middle grey
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class SeeThrough:
    """A concept whose real asset is see-through. row: that asset's place in the training pool."""

    concept: str
    words: str
    row: int


def run(bench: Bench) -> dict[str, Any]:
    """Make the foregrounds of the fixed prompts and of see-through concepts, and measure them and
    real assets alike."""
    prompts = fixed_prompts(bench.limit)
    training = bench.pictures.training
    clear = see_through_concepts(training, bench.count(SEE_THROUGH))
    asked = [(each.name, each.foreground) for each in prompts]
    asked += [(f"see-through-{each.concept}", each.words) for each in clear]
    pictures: list[Picture] = []
    for index, (name, words) in enumerate(asked):
        bench.report(PART, index, len(asked))
        pictures.append(made_foreground(bench, name, words).picture)
    made, glassy = pictures[: len(prompts)], pictures[len(prompts) :]
    concepts = [each.concept for each in prompts]
    groups = {"made": made, **real_groups(bench, bench.pictures, concepts)}
    histogram = alpha_histogram(training.mattes)
    real_glassy = [training.picture(each.row) for each in clear]
    figures: dict[str, Any] = {
        "groups": {name: faults_of(each, histogram) for name, each in groups.items()},
        "see-through": see_through_figures(clear, glassy, real_glassy),
    }
    bench.report(PART, len(asked), len(asked))
    _save_sheets(bench, prompts, made, groups["real, same concepts"])
    if clear:
        _save_see_through(bench, clear, glassy, real_glassy)
    return figures


def real_groups(
    bench: Bench, assets: AssetPictures, concepts: Sequence[str]
) -> dict[str, Sequence[Picture]]:
    """What the made pictures are read beside: real assets of the same concepts; held-out ones, one
    a concept root; and these through the family's autoencoder, where it has one."""
    heldout = assets.heldout
    rows = heldout.one_a_root(bench.count(REAL), bench.seed_for(PART, "real"))
    real = [heldout.picture(row) for row in rows]
    groups: dict[str, Sequence[Picture]] = {
        "real, same concepts": assets.real(concepts),
        "real, held out": real,
    }
    family = bench.family.inner
    if isinstance(family, AutoencodingFamily):
        groups["held out, encoded and decoded"] = list(family.through_autoencoder(np.stack(real)))
    return groups


def faults_of(pictures: Sequence[Picture], real: NDArray[np.float64]) -> dict[str, Any]:
    """Every measure of a group of pictures (H, W, 4). real: `alpha_histogram` of real assets."""
    mattes = [picture[..., 3] for picture in pictures]
    left = [found for matte in mattes if (found := residue(matte))]
    fringes = [found for picture in pictures if (found := halo(picture))]
    covered = [matte for matte in mattes if (matte > 0.5).any()]
    inside = [found for matte in mattes if (found := holes(matte)) is not None]
    return {
        "pictures": len(pictures),
        "empty": len(pictures) - len(covered),
        "residue, mean": summary([each.mean for each in left]),
        "residue, max": summary([each.max for each in left]),
        "residue, share": summary([each.share for each in left]),
        "holes": summary(inside),
        "halo": summary([each.error for each in fringes]),
        "halo, lightness": summary([each.lightness for each in fringes]),
        "soft share": summary([soft_share(matte) for matte in mattes]),
        "soft alpha distance": histogram_distance(alpha_histogram(covered), real)
        if covered
        else None,
    }


def see_through_concepts(training: PicturePool, count: int) -> list[SeeThrough]:
    """The concepts whose real training asset is see-through over the largest share of it, one a
    concept root, most first; of any drawing style, asked for in the words of that asset. A concept
    below `SEE_THROUGH_LEAST` is none."""
    pool = training.pool
    shares = [see_through_share(training.picture(row)[..., 3]) for row in range(len(pool))]
    found: dict[str, SeeThrough] = {}
    for row in np.argsort(-np.asarray(shares), kind="stable").tolist():
        if shares[row] < SEE_THROUGH_LEAST or len(found) == count:
            break
        entry = SeeThrough(pool.concepts[row], pool.captions[row][0], row)
        found.setdefault(pool.roots[row], entry)
    return list(found.values())


def see_through_figures(
    clear: Sequence[SeeThrough], made: Sequence[Picture], real: Sequence[Picture]
) -> dict[str, Any]:
    """Softness of what should be see-through, made and real, concept by concept."""

    def told(pictures: Sequence[Picture]) -> dict[str, Any]:
        mattes = [picture[..., 3] for picture in pictures]
        return {
            "soft share": summary([soft_share(matte) for matte in mattes]),
            "see-through share": summary([see_through_share(matte) for matte in mattes]),
        }

    return {
        "concepts": len(clear),
        "made": told(made),
        "real": told(real),
        "each": {
            one.concept: {
                "words": one.words,
                "made": see_through_share(a[..., 3]),
                "real": see_through_share(b[..., 3]),
            }
            for one, a, b in zip(clear, made, real, strict=True)
        },
    }


def on_backdrop(picture: Picture, name: str) -> NDArray[np.floating]:
    """(H, W, 4) straight over a backdrop by name, or over "checkerboard": (H, W, 3)."""
    if name != "checkerboard":
        return over_solid(picture, BACKDROPS[name])
    height, width = picture.shape[:2]
    board = checkerboard((width, height), max(4, width // 12), LIGHT, DARK)[..., :3]
    alpha = picture[..., 3:]
    return picture[..., :3] * alpha + board * (1.0 - alpha)


def _rows(pairs: Mapping[str, Sequence[Picture]], names: Sequence[str]) -> list[SheetRow]:
    """A row a backdrop and kind of picture, made above real."""
    return [
        SheetRow(f"{kind}, on {name}", [Cell(on_backdrop(picture, name)) for picture in pictures])
        for name in names
        for kind, pictures in pairs.items()
    ]


def _alphas(
    pairs: Mapping[str, Sequence[Picture]], words: Sequence[str], times: int = 1
) -> list[SheetRow]:
    """A row of alpha for each kind of picture, `times` as strong, the words under the last."""
    label = "alpha" if times == 1 else f"alpha times {times}"
    rows = []
    for kind, pictures in pairs.items():
        captions = words if kind == list(pairs)[-1] else [""] * len(words)
        cells = [
            Cell(np.minimum(picture[..., 3] * times, 1.0), caption)
            for picture, caption in zip(pictures, captions, strict=True)
        ]
        rows.append(SheetRow(f"{kind}, {label}", cells))
    return rows


def _save_sheets(
    bench: Bench, prompts: Sequence[FixedPrompt], made: Sequence[Picture], real: Sequence[Picture]
) -> None:
    places = evenly(len(prompts), SHOWN)
    pairs = {"made": [made[i] for i in places], "real": [real[i] for i in places]}
    rows = _rows(pairs, (*BACKDROPS, "checkerboard"))
    rows += _alphas(pairs, [prompts[i].foreground for i in places], RESIDUE_SHOWN)
    note = (
        "Prompts spread evenly over the list, one seed each, nothing picked; below each the first "
        "real asset of its concept. The last rows show what lies over the empty canvas."
    )
    sheet = table(rows, "Foregrounds on backdrops", note, side=_side(bench))
    save_sheet(sheet, bench.out / f"{PART}.png")


def _save_see_through(
    bench: Bench, clear: Sequence[SeeThrough], made: Sequence[Picture], real: Sequence[Picture]
) -> None:
    rows: list[SheetRow] = []
    for start in range(0, len(clear), SHOWN):
        part = slice(start, start + SHOWN)
        pairs = {"made": made[part], "real": real[part]}
        rows += _rows(pairs, ("checkerboard", "black"))
        rows += _alphas(pairs, [one.words for one in clear[part]])
    note = (
        "The concepts whose real training asset is see-through over the largest share of it, most "
        "first, asked for in that asset's words; one seed each, nothing picked."
    )
    sheet = table(rows, "What should be see-through", note, side=_side(bench))
    save_sheet(sheet, bench.out / f"{PART}-see-through.png")


def _side(bench: Bench) -> int:
    """Edges are looked at pixel by pixel where the sheet stays of a size to look at."""
    return min(max(bench.side, 128), 256)
