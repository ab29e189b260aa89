"""Seconds a layered picture takes after loading, stage by stage, one table.

    python benchmarks/generate.py [--model tiny] [--weights FOLDER] [--threads N] [--json FILE]

Every case runs once to warm up and three times counted; the median counts. Cases: three planes, the
same without the composite plane, one plane, other sizes, other numbers of steps. A case the weights
were not trained for is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from multiplane.engine import Model, load
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.parts import speed
from multiplane.evaluation.speed import STAGES


def measure(model: str, weights: Path | None, steps: int | None) -> dict[str, Any]:
    start = time.perf_counter()
    family = RecordingFamily(load(model, weights).family)
    loading = time.perf_counter() - start
    options = {} if steps is None else {"steps": steps}
    with Console(stderr=True).status("") as status:

        def report(part: str, done: int, total: int) -> None:
            status.update(f"case {done + 1} of {total}")

        bench = Bench(Model(family), family, Path(), Path(), options=options, report=report)
        figures = speed.timed_cases(bench, speed.cases_of(bench))
    return {"model": family.name, "version": family.version, "loading": loading, **figures}


def table_of(figures: dict[str, Any]) -> Table:
    about = figures["machine"]
    title = (
        f"{figures['model']} {figures['version']}: seconds a picture after loading "
        f"({figures['loading']:.1f} s); {about['processor']}, {about['torch threads']} threads"
    )
    table = Table("case", "seconds", *STAGES, "network calls", title=title)
    for name, case in figures["cases"].items():
        total = case["seconds"]
        shares = (
            f"{case['stages'][stage]:.3f} ({case['stages'][stage] / total:.0%})" for stage in STAGES
        )
        table.add_row(name, f"{total:.2f}", *shares, str(case["calls"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds a layered picture takes, by stage.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--weights", type=Path, help="a folder of weights, for other than its own")
    parser.add_argument("--steps", type=int, help="sampling steps, for other than the model's own")
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice if left out")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    figures = measure(arguments.model, arguments.weights, arguments.steps)
    Console(width=180).print(table_of(figures))
    for name in figures["left out"]:
        print(f"left out, not a task of these weights: {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        print(arguments.json)


if __name__ == "__main__":
    main()
