"""Run a request: check it against the family, make its planes, keep what is kept, reconcile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from multiplane.core.document import Pixels
from multiplane.core.family import ClipFamily, Family, Progress
from multiplane.core.pixels import Float, premultiply, to_float, unpremultiply
from multiplane.core.recompose import Reconciled
from multiplane.core.request import (
    TASK_TABLE,
    LayerRequest,
    MadePlanes,
    Plane,
    RequestError,
    Task,
)
from multiplane.engine.entries import families, families_for
from multiplane.engine.settling import flattened, settle
from multiplane.engine.stages import Stage, request_of, seed_of, stages_of, task_of


@dataclass(frozen=True, eq=False)
class Outcome:
    """The planes of a request as they are stored: given ones as they came, made ones uint8.

    Each is (H, W, 4), or (T, H, W, 4) where the request has several frames. request: the one asked
    for, as `LayerRequest.resolve` fills it in, and its rate. composite: what a flat picture is;
    elsewhere the layers show it. residual: what given planes contradict each other by, to lie on
    top, or None.
    """

    request: LayerRequest
    foregrounds: tuple[Pixels, ...]
    background: Pixels | None
    composite: Pixels | None
    residual: Pixels | None
    report: Mapping[str, Any] = field(default_factory=dict)


def run_request(family: Family, request: LayerRequest, progress: Progress | None = None) -> Outcome:
    """Make the wanted planes of `request`; several foregrounds one by one (see `stages`).

    Raises RequestError for what contradicts itself or this family cannot do, before any work."""
    request = _with_rate(family, request.resolve(family.native_size))
    stages = stages_of(request)
    for stage in stages:
        _check_task(family, task_of(stage, request))
    if len(request.foregrounds) <= 1:
        made = _make(family, request, progress)
        return _outcome(request, settle(made, request), {"family": dict(made.report)})
    return _make_in_stages(family, request, stages, progress)


def _with_rate(family: Family, request: LayerRequest) -> LayerRequest:
    """`request` with the rate its frames play at. Raises RequestError where the family makes fewer
    frames at once."""
    if request.frames == 1:
        return request
    if not isinstance(family, ClipFamily) or family.max_frames == 1:
        able = [entry.name for entry in families().values() if entry.clips]
        advice = f"families that make clips: {', '.join(able)}" if able else "no family here does"
        raise RequestError(
            f"{family.name!r} makes stills: frames must be 1, got {request.frames}; {advice}"
        )
    if request.frames > family.max_frames:
        raise RequestError(
            f"{family.name!r} makes at most {family.max_frames} frames at once, got "
            f"{request.frames}: ask for fewer, then give the last ones to continue from them"
        )
    return replace(request, fps=request.fps or family.fps)


def _check_task(family: Family, task: Task) -> None:
    if task in family.tasks:
        return
    able = [name for name in families_for(task) if name != family.name]
    if able:
        advice = f"families that can: {', '.join(able)}"
    else:
        rows = "; ".join(str(row) for row in TASK_TABLE if row in family.tasks)
        advice = f"no family here can; {family.name!r} does {rows}"
    raise RequestError(f"{family.name!r} cannot do {str(task)!r} (given -> wanted): {advice}")


def _make(family: Family, request: LayerRequest, progress: Progress | None) -> MadePlanes:
    """What the family makes of a request of at most one foreground, kept pixels put back."""
    made = family.make(request, progress)
    if len(made.foregrounds) != len(request.foregrounds):
        raise RuntimeError(
            f"{family.name!r} made {len(made.foregrounds)} foregrounds, asked for were "
            f"{len(request.foregrounds)}"
        )
    return replace(
        made,
        foregrounds=tuple(
            _checked(family, request, plane, pixels, "foreground")
            for plane, pixels in zip(request.foregrounds, made.foregrounds, strict=True)
        ),
        background=_checked(family, request, request.background, made.background, "background"),
        composite=_checked(family, request, request.composite, made.composite, "composite"),
    )


def _checked(family: Family, request: LayerRequest, plane: Plane, pixels: Any, name: str) -> Any:
    """A plane the family made, fit to be stored; None where it made none and need not have."""
    if plane.state != "wanted":
        return pixels if plane.state == "given" else None
    if pixels is None:
        raise RuntimeError(f"{family.name!r} left out the {name} it was asked for")
    assert request.size is not None
    shape: tuple[int, ...] = (request.size[1], request.size[0], 4)
    if request.frames > 1:
        shape = (request.frames, *shape)
    if pixels.shape != shape or not np.isfinite(pixels).all():
        raise RuntimeError(
            f"{family.name!r} made a {name} of shape {pixels.shape}, finite "
            f"{bool(np.isfinite(pixels).all())}; {shape} was asked for"
        )
    return _blend_kept(plane, np.clip(pixels, 0.0, 1.0))


def _blend_kept(plane: Plane, made: Float) -> Float:
    """`made` with the given pixels put back by as much as they are kept, premultiplied."""
    if plane.keep is None or plane.pixels is None:
        return made
    keep = to_float(plane.keep)[..., None]
    given = to_float(plane.pixels)
    premul_made = premultiply(made)
    premul_mixed = premul_made + keep * (premultiply(given) - premul_made)
    mixed = unpremultiply(premul_mixed.astype(np.float32, copy=False))
    return np.where(keep >= 1.0, given, np.where(keep <= 0.0, made, np.clip(mixed, 0.0, 1.0)))


def _outcome(request: LayerRequest, planes: Reconciled, extra: Mapping[str, Any]) -> Outcome:
    is_flat = not planes.foregrounds and planes.background is None
    return Outcome(
        request=request,
        foregrounds=planes.foregrounds,
        background=planes.background,
        composite=planes.composite if is_flat else None,
        residual=planes.residual,
        report={"task": str(request.task), **planes.report(), **extra},
    )


def _make_in_stages(
    family: Family,
    request: LayerRequest,
    stages: Sequence[Stage],
    progress: Progress | None,
) -> Outcome:
    foregrounds: list[Pixels | None] = [
        plane.pixels if plane.state == "given" else None for plane in request.foregrounds
    ]
    given = [pixels for pixels in foregrounds if pixels is not None]
    background = request.background.pixels if request.background.state == "given" else None
    rest: Pixels | None = None
    reports: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        shown: Pixels | None = rest
        if stage.background == "below":
            shown = flattened(request, [background, *foregrounds[: stage.foreground]])
        elif stage.foreground is None:
            shown = flattened(request, given)
        part = request_of(stage, number, request, shown)
        made = _make(family, part, _shifted(progress, number, len(stages)))
        planes = settle(made, part)
        if stage.foreground is not None:
            foregrounds[stage.foreground] = planes.foregrounds[0]
        if stage.background == "rest":
            rest = planes.background
        elif stage.background == "asked":
            background = planes.background
        reports.append(_stage_report(stage, part, planes, made))
    together = MadePlanes(
        tuple(to_float(pixels) for pixels in foregrounds if pixels is not None),
        None if background is None else to_float(background),
        None,
    )
    outcome = _outcome(request, settle(together, request), {"stages": reports})
    worst = max(
        (each["disagreement"] for each in reports if each["disagreement"] is not None),
        key=lambda found: found["mean"],
        default=None,
    )
    return replace(outcome, report={**outcome.report, "disagreement": worst})


def _stage_report(
    stage: Stage, part: LayerRequest, planes: Reconciled, made: MadePlanes
) -> dict[str, Any]:
    return {
        "foreground": stage.foreground,
        "task": str(part.task),
        "seed": part.seed,
        **planes.report(),
        "family": dict(made.report),
    }


def _shifted(progress: Progress | None, number: int, count: int) -> Progress | None:
    """`progress` for run `number` of `count` alike."""
    if progress is None:
        return None

    def show(step: int, total: int, preview: np.ndarray | None) -> None:
        progress(number * total + step, count * total, preview)

    return show


def stage_seeds(request: LayerRequest) -> dict[int, int]:
    """The seed each foreground was made with, by its index."""
    return {
        stage.foreground: seed_of(request.seed, number)
        for number, stage in enumerate(stages_of(request))
        if stage.foreground is not None
    }
