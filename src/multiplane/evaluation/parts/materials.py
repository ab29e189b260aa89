"""Foregrounds asked for in glass and with a glow, beside the real assets in that material: is alpha
soft where the words ask for it, and there alone?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from multiplane.core.pixels import to_float, to_u8
from multiplane.evaluation.alpha import alpha_histogram, histogram_distance, soft_share
from multiplane.evaluation.alpha_faults import see_through_share
from multiplane.evaluation.bench import Bench, summary
from multiplane.evaluation.made import made_foreground
from multiplane.evaluation.parts.alpha import on_backdrop
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.sheets import Cell, SheetRow, evenly, save_sheet, table
from multiplane.training.materials import MATERIALS, captions_of, in_material

PART = "materials"
ASKED = 16  # things a material
SHOWN = 8
Picture = NDArray[np.float32]


def run(bench: Bench) -> dict[str, Any]:
    """Make the same things in every material and measure them; "plain" are these things as
    themselves, which must stay solid."""
    prompts = _things(bench)
    assets = bench.pictures.real([prompt.concept for prompt in prompts])
    figures: dict[str, Any] = {}
    rows: list[SheetRow] = []
    for number, material in enumerate((None, *MATERIALS)):
        bench.report(PART, number * len(prompts), (len(MATERIALS) + 1) * len(prompts))
        words = [
            prompt.foreground if material is None else captions_of(material, prompt.foreground)[1]
            for prompt in prompts
        ]
        made = [
            made_foreground(bench, prompt.name, asked).picture
            for prompt, asked in zip(prompts, words, strict=True)
        ]
        real = assets if material is None else real_in(material, assets)
        name = material or "plain"
        figures[name] = figures_of(made, real)
        rows += _shown(name, words, made, real)
    note = (
        "Prompts spread evenly over the list, one seed each, nothing picked; below each the first "
        "real asset of its concept in the same material."
    )
    save_sheet(table(rows, "Glass and glow", note, side=128), bench.out / f"{PART}.png")
    return {"things": len(prompts), "materials": figures}


def _things(bench: Bench) -> list[FixedPrompt]:
    prompts = [prompt for prompt in fixed_prompts() if prompt.set == "train"]
    return [prompts[place] for place in evenly(len(prompts), bench.count(ASKED))]


def real_in(material: str, assets: Sequence[Picture]) -> list[Picture]:
    """Assets (S, S, 4) straight alpha, made of the material."""
    stacked = torch.from_numpy(np.stack([to_u8(asset) for asset in assets])).movedim(-1, 1)
    made = in_material(material, stacked).movedim(1, -1).contiguous().numpy()
    return [to_float(picture) for picture in made]


def figures_of(made: Sequence[Picture], real: Sequence[Picture]) -> dict[str, Any]:
    """Softness of the made pictures and of the real ones, and how far their alpha histograms lie
    apart; no distance where all that was made is empty."""
    mattes = {
        "made": [picture[..., 3] for picture in made],
        "real": [picture[..., 3] for picture in real],
    }
    covered = [matte for matte in mattes["made"] if (matte > 0.1).any()]
    distance = None
    if covered:
        distance = histogram_distance(alpha_histogram(covered), alpha_histogram(mattes["real"]))
    return {
        **{
            f"{what}, {kind}": summary([measure(matte) for matte in each])
            for kind, each in mattes.items()
            for what, measure in (("soft share", soft_share), ("see-through", see_through_share))
        },
        "soft alpha distance": distance,
        "empty": len(made) - len(covered),
    }


def _shown(
    name: str, words: Sequence[str], made: Sequence[Picture], real: Sequence[Picture]
) -> list[SheetRow]:
    """Made above real, on a checkerboard and on black."""
    rows = []
    for backdrop in ("checkerboard", "black"):
        for kind, pictures in (("made", made), ("real", real)):
            captions = words if (kind, backdrop) == ("real", "black") else [""] * len(words)
            cells = [
                Cell(on_backdrop(picture, backdrop), caption)
                for picture, caption in zip(pictures[:SHOWN], captions, strict=False)
            ]
            rows.append(SheetRow(f"{name}, {kind}", cells))
    return rows
