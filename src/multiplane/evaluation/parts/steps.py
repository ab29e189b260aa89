"""Quality against sampling steps and against guidance: how few steps do, and how much of the words
is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from multiplane.evaluation.bench import Bench
from multiplane.evaluation.digest import of_setting
from multiplane.evaluation.made import MadeForeground, made_foreground
from multiplane.evaluation.parts.foregrounds import likeness, retrieval
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.retrieval import described, looks
from multiplane.evaluation.sheets import Cell, SheetRow, evenly, save_sheet, table
from multiplane.io.atomic import write_bytes

PART = "steps"
PROMPTS = 48
STEPS = (4, 8, 12, 16, 24, 32)
GUIDANCE = (1, 2, 3, 5, 7)
SHOWN = 8


@dataclass(frozen=True)
class Curve:
    """name: the setting that is varied; the other one stays the family's own."""

    name: str
    values: tuple[int, ...]


CURVES = (Curve("steps", STEPS), Curve("guidance", GUIDANCE))


def run(bench: Bench) -> dict[str, Any]:
    """Make the same prompts from the same seeds at every setting."""
    prompts = fixed_prompts(bench.count(PROMPTS))
    total = len(prompts) * (1 + sum(len(curve.values) for curve in CURVES))
    done = 0

    def made(options: dict[str, Any]) -> list[MadeForeground]:
        nonlocal done
        at = bench if not options else replace(bench, options={**bench.options, **options})
        pictures = []
        for prompt in prompts:
            bench.report(PART, done, total)
            done += 1
            pictures.append(made_foreground(at, prompt.name, prompt.foreground))
        return pictures

    own = made({})
    report = own[0].report
    figures: dict[str, Any] = {
        "prompts": len(prompts),
        "own": {curve.name: report.get(curve.name) for curve in CURVES},
        "at own": score(bench, prompts, own),
    }
    for curve in CURVES:
        rows: dict[str, Any] = {}
        lines: list[SheetRow] = []
        for value in curve.values:
            if report.get(curve.name) == value:
                rows[str(value)] = figures["at own"]
                pictures = own
                done += len(prompts)
            else:
                pictures = made({curve.name: value})
                rows[str(value)] = score(bench, prompts, pictures)
            lines.append(SheetRow(f"{value} {curve.name}", _cells(prompts, pictures)))
        figures[curve.name] = rows
        _save_sheet(bench, curve, figures["own"], lines)
    bench.report(PART, total, total)
    write_bytes(bench.out / f"{PART}.md", f"{markdown(figures)}\n".encode())
    return figures


def score(
    bench: Bench, prompts: Sequence[FixedPrompt], made: Sequence[MadeForeground]
) -> dict[str, Any]:
    """top-5 retrieval, KID, distance of the soft alpha histogram, seconds a picture."""
    pictures = [each.picture for each in made]
    raw = looks(pictures, bench.judges.features)
    alike = likeness(bench.assets, raw[0], [picture[..., 3] for picture in pictures])
    kid = alike["kid"]["made to real"]
    return {
        "top5": retrieval(bench.assets, prompts, described(raw))["all"]["top5"],
        "kid": kid["value"] if kid else None,
        "kid spread": kid["spread"] if kid else None,
        "soft alpha distance": alike["soft alpha"]["distance of made to real"],
        "empty": alike["empty"],
        "seconds": float(np.mean([each.seconds for each in made])),
    }


def markdown(figures: dict[str, Any]) -> str:
    """Both curves as tables, the family's own setting in bold."""
    parts: list[str] = []
    for curve in CURVES:
        own = figures["own"][curve.name]
        lines = [
            f"| {curve.name} | top-5 | KID | soft alpha distance | seconds |",
            "|---|---|---|---|---|",
        ]
        rows = {**figures[curve.name]}
        if own is None or not any(float(value) == own for value in rows):
            rows["own" if own is None else f"{own:g}"] = figures["at own"]
        for value, row in sorted(rows.items(), key=_place):
            is_own = value == "own" or float(value) == own
            cells = (f"**{value}**" if is_own else value, *of_setting(row))
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _place(row: tuple[str, Any]) -> float:
    return float("inf") if row[0] == "own" else float(row[0])


def _cells(prompts: Sequence[FixedPrompt], made: Sequence[MadeForeground]) -> list[Cell]:
    return [
        Cell(made[place].picture, prompts[place].foreground)
        for place in evenly(len(prompts), SHOWN)
    ]


def _save_sheet(bench: Bench, curve: Curve, own: dict[str, Any], lines: Sequence[SheetRow]) -> None:
    other = next(each.name for each in CURVES if each.name != curve.name)
    kept = "" if own[other] is None else f" ({own[other]:g})"
    note = (
        f"The same prompts from the same seeds at every number; {other} as the weights have it"
        f"{kept}. Prompts spread evenly over the list, nothing picked."
    )
    end = "" if curve.name == PART else f"-{curve.name}"
    sheet = table(lines, f"Quality against {curve.name}", note, side=104)
    save_sheet(sheet, bench.out / f"{PART}{end}.png")
