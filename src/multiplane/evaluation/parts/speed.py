"""Seconds a picture: three planes stage by stage, and how the cost grows."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from multiplane.core.request import LayerRequest, Plane, Task
from multiplane.evaluation.bench import Bench
from multiplane.evaluation.speed import Timing, machine, time_request

PART = "speed"
REPEATS = 3
SIDES = (128, 256, 512, 1024)
STEPS = (5, 10, 20, 40)
MAIN_CASES = ("three planes", "without the composite plane", "one plane")
PROMPTS = {"foreground": "a red apple", "background": "a misty valley"}


def run(bench: Bench) -> dict[str, Any]:
    """Time the three cases that say most; `benchmarks/generate.py` times them all."""
    cases = cases_of(bench)
    return timed_cases(bench, {name: cases[name] for name in MAIN_CASES})


def timed_cases(bench: Bench, cases: dict[str, LayerRequest]) -> dict[str, Any]:
    """Time every case; one that the weights cannot do is left out by name."""
    figures: dict[str, Any] = {"machine": machine(), "cases": {}, "left out": []}
    for done, (name, request) in enumerate(cases.items()):
        bench.report(PART, done, len(cases))
        if request.task not in bench.family.tasks:
            figures["left out"].append(name)
            continue
        figures["cases"][name] = asdict(timed(bench, request))
    bench.report(PART, len(cases), len(cases))
    return figures


def timed(bench: Bench, request: LayerRequest) -> Timing:
    from multiplane.io import psd

    return time_request(
        bench.model, bench.family, replace(request, **bench.options), REPEATS, psd.write
    )


def cases_of(bench: Bench) -> dict[str, LayerRequest]:
    """Name -> request. Every case changes one thing of "three planes"."""
    side = bench.side

    def request(task: str, **changes: Any) -> LayerRequest:
        wanted = Task.of(task).wanted

        def plane(kind: str) -> Plane:
            return Plane(wanted=kind in wanted, prompt=PROMPTS[kind] if kind in wanted else "")

        built = LayerRequest(
            foregrounds=(plane("foreground"),) if "foreground" in wanted else (),
            background=plane("background"),
            composite=Plane(wanted="composite" in wanted),
            size=(side, side),
            seed=bench.seed_for(PART),
            model=bench.family.name,
        )
        return replace(built, **changes)

    three = "-> foreground background composite"
    cases = {
        "three planes": request(three),
        "without the composite plane": request("-> foreground background"),
        "one plane": request("-> foreground"),
    }
    for size in SIDES:
        if size != side:
            cases[f"three planes, {size} px"] = request(three, size=(size, size))
    for steps in STEPS:
        cases[f"three planes, {steps} steps"] = request(three, steps=steps)
    return cases
