"""Several foregrounds, one run each: which runs a request takes, and the request of each.

A family makes one foreground a run. Without a given composite the scene is built upward: each
foreground is made in front of what lies below it, flattened to a given background (iterative
layering). With a given composite the scene is taken apart from the top: each run's background is
what the next one takes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from multiplane.core.document import Pixels
from multiplane.core.request import LayerRequest, Plane, PlaneState, Task

WANTED = Plane(wanted=True)


@dataclass(frozen=True)
class Stage:
    """One run of a family.

    foreground: index of the foreground it is about; None: all given ones, flattened. background:
    "asked" is the request's own, "below" what is there so far, given; "rest" wanted for the next
    stage to take apart. composite: "asked" is the request's own, "rest" what the stage before left,
    given; "wanted" is made to check against, as the task table has it.
    """

    foreground: int | None
    background: Literal["asked", "below", "rest"]
    composite: Literal["asked", "rest", "wanted"]


def stages_of(request: LayerRequest) -> tuple[Stage, ...]:
    """The runs a resolved request takes, in their order; one for at most one foreground."""
    if len(request.foregrounds) <= 1:
        return (Stage(0 if request.foregrounds else None, "asked", "asked"),)
    if request.composite.state == "given":
        return _taken_apart(request)
    return _built_up(request)


def _built_up(request: LayerRequest) -> tuple[Stage, ...]:
    states = [plane.state for plane in request.foregrounds]
    wanted = [index for index, state in enumerate(states) if state == "wanted"]
    if request.background.state == "absent":
        return tuple(Stage(index, "asked", "asked") for index in wanted)
    stages: list[Stage] = []
    if request.background.state == "wanted":
        if "given" in states:
            stages.append(Stage(None, "asked", "asked"))
        else:
            stages.append(Stage(wanted.pop(0), "asked", "asked"))
    return (*stages, *(Stage(index, "below", "wanted") for index in wanted))


def _taken_apart(request: LayerRequest) -> tuple[Stage, ...]:
    top = len(request.foregrounds) - 1
    stages = [
        Stage(index, "rest" if index else "asked", "asked" if index == top else "rest")
        for index in range(top, -1, -1)
    ]
    return tuple(stage for stage in stages if task_of(stage, request).wanted)


def task_of(stage: Stage, request: LayerRequest) -> Task:
    """The row of the task table this stage falls into."""
    backgrounds: dict[str, PlaneState] = {
        "asked": request.background.state,
        "below": "given",
        "rest": "wanted",
    }
    composites: dict[str, PlaneState] = {
        "asked": request.composite.state,
        "rest": "given",
        "wanted": "wanted",
    }
    states = {
        "foreground": _foreground_state(stage, request),
        "background": backgrounds[stage.background],
        "composite": composites[stage.composite],
    }
    return Task(
        frozenset(name for name, state in states.items() if state == "given"),
        frozenset(name for name, state in states.items() if state == "wanted"),
    )


def _foreground_state(stage: Stage, request: LayerRequest) -> PlaneState:
    if stage.foreground is not None:
        return request.foregrounds[stage.foreground].state
    return "given" if request.foregrounds else "absent"


def request_of(
    stage: Stage, number: int, request: LayerRequest, shown: Pixels | None
) -> LayerRequest:
    """The request of stage `number`. shown: the picture the stage goes by: what lies below its
    foreground, what the stage before left, or all given foregrounds flattened."""
    if stage.foreground is not None:
        foregrounds = (request.foregrounds[stage.foreground],)
    else:
        foregrounds = () if shown is None else (Plane(pixels=shown),)
    background = {"asked": request.background, "below": Plane(pixels=shown), "rest": WANTED}
    composite = {"asked": request.composite, "rest": Plane(pixels=shown), "wanted": WANTED}
    own = "foreground" if not stage.foreground else f"foreground:{stage.foreground}"
    controls = [
        replace(control, plane="foreground") for control in request.controls if control.plane == own
    ]
    for kind, asked in (("background", stage.background), ("composite", stage.composite)):
        if asked == "asked":
            controls += [control for control in request.controls if control.plane == kind]
    return replace(
        request,
        foregrounds=foregrounds,
        background=background[stage.background],
        composite=composite[stage.composite],
        controls=tuple(controls),
        seed=seed_of(request.seed, number),
    )


def seed_of(seed: int, number: int) -> int:
    """The seed of stage `number`: the request's own for the first, then drawn from it."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
