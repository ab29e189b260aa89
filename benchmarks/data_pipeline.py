"""How fast photographs become layers, and where the time goes: a pool of processes and, where
asked for, Ray against the plain loop, side by side in one run.

    python benchmarks/data_pipeline.py PHOTOS --count 24 --workers 2 [--ray] [--json out.json]

Records a second of wall clock: the first photographs, a block for every worker, warm each way up
and are not counted, nor is the loading of the networks. CPU seconds a record by step; for loop and
pool also those of all their processes, start and loading included, and for the pool on Linux the
share of the time in which its processes ran or waited for a core: these say what a way is worth on
a machine that is not idle. The outputs are compared too: all ways must give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiplane.data.layer_photos.sources import photo_sources
from multiplane.data.layer_photos.steps import PhotoConfig
from multiplane.data.layer_photos.work import BLOCK, Outcome, Task, Where, one_thread, outcomes


def timed(
    where: Where, config: PhotoConfig, warming: Sequence[Task], tasks: Sequence[Task], workers: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """(figures, sha256 of the outcome of every one of `tasks`) of one way.

    The clock starts when as many as `warming` are done. They are a block for every worker, for Ray
    hands out blocks and gives back whole ones: started at the first photograph, the clock would
    count the others of its block as made in no time."""
    begun, used = time.perf_counter(), _cpu_seconds()
    done: list[Outcome] = []
    warm, busy_warm, busy = begun, 0.0, 0.0
    for outcome in outcomes(config, [*warming, *tasks], where, workers):
        done.append(outcome)
        busy = _busy_seconds()
        if len(done) == len(warming):
            warm, busy_warm = time.perf_counter(), busy
    ended = time.perf_counter()
    keys = {task.key for task in tasks}
    made = [outcome for outcome in done if outcome.key in keys]
    steps: dict[str, float] = {}
    for outcome in made:
        for step, spent in outcome.seconds.items():
            steps[step] = steps.get(step, 0.0) + spent / len(made)
    figures = {
        "records a second": round(len(tasks) / (ended - warm), 3),
        "seconds before": round(warm - begun, 2),
        "finished": sum(outcome.members is not None for outcome in made),
        "CPU seconds a record": {step: round(spent, 4) for step, spent in steps.items()},
    }
    if where != "ray":  # its processes are not this one's children
        spent = _cpu_seconds() - used
        figures["CPU seconds a record, start and all"] = round(spent / len(done), 2)
    if busy > busy_warm:
        share = (busy - busy_warm) / (workers * (ended - warm))
        figures["share of the time running or waiting for a core"] = round(share, 3)
    return figures, {outcome.key: _digest(outcome) for outcome in made}


def _cpu_seconds() -> float:
    """Of this process and of those it started and has waited for."""
    return sum(os.times()[:4])


def _busy_seconds() -> float:
    """In which the processes of the pool have run or stood in line for a core; 0 where the system
    does not tell."""
    found = 0
    for process in multiprocessing.active_children():
        told = Path(f"/proc/{process.pid}/schedstat")
        if told.exists():
            ran, waited, _ = told.read_text().split()
            found += int(ran) + int(waited)
    return found / 1e9


def _digest(outcome: Outcome) -> str:
    digest = hashlib.sha256(outcome.reason.encode())
    for name, data in outcome.members or []:
        digest.update(name.encode() + data)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--matte", default="u2netp")
    parser.add_argument("--complete", default="opencv")
    parser.add_argument("--quality", default="embedded", help="embedded, a folder, or none")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    config = PhotoConfig(
        size=given.size,
        matte=given.matte,
        complete=given.complete,
        quality="" if given.quality == "none" else given.quality,
        drop=False,
    )
    warming = BLOCK * given.workers
    found = list(itertools.islice(photo_sources(given.photos), warming + given.count))
    listed = [Task(f"photo-{number}", source) for number, source in enumerate(found)]
    tasks = listed[warming:]
    if not tasks:
        parser.error(f"{len(found)} photographs, of which {warming} only warm up: give more")
    one_thread()  # of this process, which is the plain loop
    ways: list[Where] = ["loop", "pool", *(["ray"] if given.ray else [])]
    report: dict[str, Any] = {
        "photographs": len(tasks),
        "workers": given.workers,
        "machine": platform.processor() or platform.machine(),
        "config": f"{given.matte}, {given.complete}, {given.size} px, quality {given.quality}",
    }
    digests = {}
    for where in ways:
        first = listed[: 1 if where == "loop" else warming]
        report[where], digests[where] = timed(where, config, first, tasks, given.workers)
        ratio = report[where]["records a second"] / report["loop"]["records a second"]
        report[where]["ratio to the loop"] = round(ratio, 2)
        report[where]["same bytes as the loop"] = digests[where] == digests["loop"]
        print(where, json.dumps(report[where]), file=sys.stderr, flush=True)
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
