"""Two finished evaluations side by side: one table of what the digest tells of the model.

Figures of the data alone (ceilings, chance, real assets) are left out: they are the same in both,
which `compare` makes sure of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from multiplane.evaluation.measured import MEASURED, Better, Form
from multiplane.evaluation.suite import REPORT

Verdict = Literal["better", "worse", "same", ""]
# What must agree: everything of the setting that is not the model's own.
SAME = ("form", "seed", "limit", "data")


@dataclass(frozen=True)
class Figure:
    """One number of a run. part: where it was measured."""

    part: str
    name: str
    value: float
    form: Form
    better: Better


@dataclass(frozen=True)
class Line:
    """One figure of two runs; None where a run has it not."""

    part: str
    name: str
    old: float | None
    new: float | None
    form: Form
    better: Better

    @property
    def change(self) -> str:
        """The step from old to new, with its sign; shares in percentage points."""
        if self.old is None or self.new is None:
            return "-"
        if self.form == "%":
            return f"{100 * (self.new - self.old):+.1f} points"
        return f"{self.new - self.old:+.{self.form}f}"

    @property
    def verdict(self) -> Verdict:
        """Of the figures as they are shown; empty where no direction is known or one is missing."""
        if self.old is None or self.new is None or self.better == "unknown":
            return ""
        if shown(self.old, self.form) == shown(self.new, self.form):
            return "same"
        return "better" if (self.new > self.old) == (self.better == "more") else "worse"


def shown(value: float | None, form: Form) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if form == "%" else f"{value:.{form}f}"


def read_report(folder: Path) -> dict[str, Any]:
    """What `multiplane evaluate -o FOLDER` wrote. Raises FileNotFoundError or ValueError for a
    folder that is no evaluation."""
    path = folder / REPORT
    ask = "give the folder that `multiplane evaluate -o FOLDER` wrote"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no evaluation, it holds no {REPORT}: {ask}")
    try:
        report = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is torn ({error}): run the evaluation again") from error
    if not isinstance(report, dict) or not {"setting", "parts"} <= report.keys():
        raise ValueError(f"{path} is no evaluation, it lacks setting or parts: {ask}")
    return report


def figures_of(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Every figure of a report that `MEASURED` names, in that order."""
    for measure in MEASURED:
        for name, value in measure.found(report["parts"].get(measure.part, {})):
            yield Figure(measure.part, name, value, measure.form, measure.better)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Line]:
    """Every figure of either report. Raises ValueError naming what they were run with differently
    where that makes figures of them that do not compare."""
    for name in SAME:
        ours, theirs = (report["setting"].get(name) for report in (old, new))
        if ours != theirs:
            raise ValueError(
                f"the two were run with a different {name}: {_told(ours)} and {_told(theirs)}; "
                "run one of them again with the other's, or their figures say nothing together"
            )
    before, after = (
        {(each.part, each.name): each for each in figures_of(report)} for report in (old, new)
    )
    order = {measure.part: place for place, measure in reversed(list(enumerate(MEASURED)))}
    keys = sorted(dict.fromkeys((*after, *before)), key=lambda key: order[key[0]])
    lines: list[Line] = []
    for key in keys:
        one = after.get(key) or before[key]
        values = [found[key].value if key in found else None for found in (before, after)]
        lines.append(Line(*key, values[0], values[1], one.form, one.better))
    return lines


def _told(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def markdown(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The comparison as one table. Raises ValueError as `compare` does."""
    rows = ["| figure | old | new | change | |", "|---|---|---|---|---|", *_heads(old, new)]
    part = ""
    for line in compare(old, new):
        if line.part != part:
            part = line.part
            rows.append(f"| **{part}** | | | | |")
        cells = (line.name, shown(line.old, line.form), shown(line.new, line.form), line.change)
        rows.append(f"| {' | '.join(cells)} | {line.verdict} |".replace("|  |", "| |"))
    return "\n".join(rows)


def _heads(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What was measured: the weights, their size, and how pictures were made."""
    settings = [report["setting"] for report in (old, new)]
    names = [f"{each.get('model')} {each.get('version')}" for each in settings]
    yield f"| weights | {names[0]} | {names[1]} | | |"
    digests = [each.get("weights") or "-" for each in settings]
    yield f"| digest of the weights | {digests[0]} | {digests[1]} | | |"
    sizes = [report.get("weights", {}).get("bytes") for report in (old, new)]
    mega = [None if size is None else size / 1e6 for size in sizes]
    size = Line("", "", mega[0], mega[1], 1, "less")
    yield (
        f"| size of the weights, MB | {shown(size.old, 1)} | {shown(size.new, 1)} | "
        f"{size.change} | {size.verdict} |".replace("|  |", "| |")
    )
    yield f"| pixels a side | {settings[0].get('side')} | {settings[1].get('side')} | | |"
    given = [_options(each.get("options")) for each in settings]
    if any(each != "-" for each in given):
        yield f"| steps and guidance asked for | {given[0]} | {given[1]} | | |"


def _options(options: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in (options or {}).items()) or "-"


def tally(lines: list[Line]) -> str:
    """How many figures got better and worse, in one line."""
    verdicts = [line.verdict for line in lines]
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in ("better", "worse", "same"))
    once = sum(line.old is None or line.new is None for line in lines)
    return f"{len(lines)} figures: {counts}, {verdicts.count('') - once} without a direction, " + (
        f"{once} in one of them only"
    )
