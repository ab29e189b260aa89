"""A photograph into a layered document: cut, peeled again, split, named, and adding up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.composite import composite_u8
from multiplane.core.deeper import deepen
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Pixels, Provenance
from multiplane.core.family import Family, Progress
from multiplane.core.pixels import full_scale, to_dtype, to_float
from multiplane.core.recompose import reconcile
from multiplane.core.request import LayerRequest, MadePlanes, Plane, RequestError
from multiplane.engine.entries import load_family
from multiplane.engine.generate import Outcome, run_request
from multiplane.engine.generated import GeneratedDocument
from multiplane.engine.model import Model
from multiplane.engine.naming import free_name
from multiplane.engine.pictures import Picture, pixels_of
from multiplane.pipelines.cutout.candidates import NoSubject
from multiplane.pipelines.cutout.complete import diffuse
from multiplane.pipelines.cutout.promptable import Box, Point
from multiplane.pipelines.cutout.settings import DEFAULT_COMPLETION, DEFAULT_MATTE
from multiplane.pipelines.cutout.split import split_alpha
from multiplane.pipelines.cutout.words import colour_word, place_word
from multiplane.weights.fetch import FetchError

__all__ = ["Decomposition", "NoSubject", "decompose"]

MAX_LAYERS = 16
_WANTED = Plane(wanted=True)
_WITHOUT_DOWNLOAD = (
    "Without any download: the options matte='u2netp' and complete='diffuse' (on the command line: "
    "--matte u2netp --complete diffuse)"
)


@dataclass(frozen=True)
class Decomposition:
    """What is asked for. layers: how often the picture is peeled, stopping early when nothing more
    stands out. split: unconnected objects become layers of their own. boxes, points: what to cut;
    each box is a layer, told apart further by the points in it, and points in no box are one more.
    keep_flat: a picture without a clear subject becomes a document of one layer instead of raising
    NoSubject. The rest: as the options of the family `cutout`."""

    layers: int = 1
    split: bool = False
    points: Sequence[Point] = ()
    boxes: Sequence[Box] = ()
    keep_flat: bool = False
    matte: str = DEFAULT_MATTE
    complete: str = DEFAULT_COMPLETION
    refine: bool = True
    candidates: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= MAX_LAYERS:
            raise RequestError(f"layers must be 1..{MAX_LAYERS}, got {self.layers}")
        if self.layers > 1 and (self.points or self.boxes):
            raise RequestError(
                "points and boxes say themselves how many layers there are: leave out layers"
            )

    def options(self, **changes: Any) -> dict[str, Any]:
        """The options of one request to the family."""
        names = ("matte", "complete", "refine", "candidates", "threads")
        return {**{name: getattr(self, name) for name in names}, **changes}

    def objects(self) -> list[dict[str, Any]]:
        """{"points", "boxes"} of each object the prompts mean."""
        found: list[dict[str, Any]] = []
        free = list(self.points)
        for box in self.boxes:
            inside = [p for p in self.points if box[0] <= p[0] < box[2] and box[1] <= p[1] < box[3]]
            free = [point for point in free if point not in inside]
            found.append({"points": [list(p) for p in inside], "boxes": [list(box)]})
        if any(point[2] == 1 for point in free) or (free and not found):
            found.append({"points": [list(point) for point in free], "boxes": []})
        return found


@dataclass
class _Taken:
    """What has been taken out of a picture so far. foregrounds: (H, W, 4) uint8, the lowest
    first."""

    request: LayerRequest
    background: Pixels
    foregrounds: list[Pixels] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)


def decompose(
    picture: Picture | str,
    *,
    model: Model | None = None,
    progress: Progress | None = None,
    **asked: Any,
) -> GeneratedDocument:
    """A photograph as a layered document of its own size: background, and what stands in front.

    picture: a file, Pillow image, array, layer or document. asked: the fields of `Decomposition`
    (`layers=2`, `split=True`, `points=[(x, y, 1)]`, `boxes=[(left, top, right, bottom)]`,
    `candidates=4`, `matte="u2netp"`, `complete="diffuse"`, ...). model: a loaded "cutout", to load
    its networks once for many pictures.

    The layers show the picture again to within 1/255; where one of them alone is seen they hold its
    own values, 16-bit ones too. A see-through picture comes back as a group with its alpha as mask.
    Scores, seconds a stage and the figures of the recomposition are in the provenance.

    Raises NoSubject when nothing stands out, RequestError for what contradicts itself, FetchError
    when a network cannot be had, and what reading the picture raises."""
    try:
        wanted = Decomposition(**asked)
    except TypeError as error:
        raise TypeError(f"{error}; decompose takes {', '.join(Decomposition().__dict__)}") from None
    model = model or Model(load_family("cutout"))
    pixels = pixels_of(Path(picture) if isinstance(picture, str) else picture)
    opaque, coverage = _opaque(pixels)
    try:
        taken = _take_apart(model.family, opaque, wanted, progress)
    except FetchError as error:
        raise FetchError(f"{error}. {_WITHOUT_DOWNLOAD}") from error
    document = _document(model.family, taken, opaque, coverage, wanted)
    return GeneratedDocument.of(document, model)


def _opaque(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    """The picture without its transparency, and that as coverage (H, W), None for none. What lies
    under clear pixels takes its colour from its surroundings."""
    full = full_scale(pixels.dtype)
    alpha = pixels[..., 3]
    if (alpha == full).all():
        return pixels, None
    clear = alpha == 0
    if clear.all():
        raise RequestError("the picture is clear throughout: there is nothing to take apart")
    colour = to_float(pixels)[..., :3]
    filled = np.where(clear[..., None], diffuse(colour, clear), colour)
    opaque = np.full_like(pixels, full)
    opaque[..., :3] = to_dtype(filled.astype(np.float32, copy=False), pixels.dtype)
    return opaque, np.ascontiguousarray(alpha)


def _take_apart(
    family: Family, picture: Pixels, wanted: Decomposition, progress: Progress | None
) -> _Taken:
    try:
        if wanted.points or wanted.boxes:
            return _prompted(family, picture, wanted, progress)
        return _peeled(family, picture, wanted, progress)
    except NoSubject as reason:
        if not wanted.keep_flat:
            raise
        request = _request(picture, wanted.options())
        return _Taken(request, picture, reports=[{"no_subject": str(reason)}])


def _request(picture: Pixels, options: dict[str, Any], **planes: Any) -> LayerRequest:
    planes = {"foregrounds": (_WANTED,), "background": _WANTED, **planes}
    return LayerRequest(composite=Plane(pixels=picture), model="cutout", options=options, **planes)


def _peeled(
    family: Family, picture: Pixels, wanted: Decomposition, progress: Progress | None
) -> _Taken:
    """What stands out, then what stands out of the background behind it, and so on."""
    taken: _Taken | None = None
    for number in range(wanted.layers):
        shown = picture if taken is None else taken.background
        request = _request(shown, wanted.options())
        try:
            outcome = run_request(family, request, _part(progress, number, wanted.layers))
        except NoSubject as reason:
            if taken is None:
                raise
            taken.reports.append({"no_subject": str(reason)})
            break
        assert outcome.background is not None
        taken = taken or _Taken(outcome.request, outcome.background)
        taken.background = outcome.background
        taken.foregrounds.insert(0, outcome.foregrounds[0])
        taken.reports.append(_report_of(outcome))
    assert taken is not None
    return taken


def _prompted(
    family: Family, picture: Pixels, wanted: Decomposition, progress: Progress | None
) -> _Taken:
    """What each prompt means, and one background behind all of it."""
    objects = wanted.objects()
    runs = len(objects) + 1
    taken: _Taken | None = None
    for number, prompts in enumerate(objects):
        request = _request(picture, wanted.options(**prompts), background=Plane())
        outcome = run_request(family, request, _part(progress, number, runs))
        taken = taken or _Taken(replace(outcome.request, options=wanted.options()), picture)
        taken.foregrounds.append(outcome.foregrounds[0])
        taken.reports.append({**_report_of(outcome), **prompts})
    assert taken is not None
    together = Plane(pixels=_stacked(taken.foregrounds))
    request = _request(picture, wanted.options(), foregrounds=(together,))
    outcome = run_request(family, request, _part(progress, runs - 1, runs))
    assert outcome.background is not None
    taken.background = outcome.background
    taken.reports.append(_report_of(outcome))
    return taken


def _stacked(foregrounds: Sequence[Pixels]) -> Pixels:
    """(H, W, 4) uint8: see-through pictures laid over each other, the lowest first."""
    height, width = foregrounds[0].shape[:2]
    layers = tuple(Layer(str(index), pixels) for index, pixels in enumerate(foregrounds))
    return composite_u8(LayerDocument((width, height), layers))


def _part(progress: Progress | None, number: int, count: int) -> Progress | None:
    if progress is None or count == 1:
        return progress
    return lambda step, total, shown: progress(number * total + step, count * total, shown)


def _report_of(outcome: Outcome) -> dict[str, Any]:
    return dict(outcome.report)


def _document(
    family: Family,
    taken: _Taken,
    picture: Pixels,
    coverage: Pixels | None,
    wanted: Decomposition,
) -> LayerDocument:
    groups = [
        _parts(foreground) if wanted.split else [foreground] for foreground in taken.foregrounds
    ]
    flat = [part for group in groups for part in group]
    background, residual, figures = taken.background, None, {}
    if flat:
        background, flat, residual, figures = _settled(taken, flat, picture)
    names = iter(flat)
    groups = [[next(names) for _ in group] for group in groups]
    nodes, entries = _nodes(background, groups, residual)
    if coverage is not None:
        nodes = (Group("Picture", nodes, blend="normal", mask=Mask(coverage, outside=0.0)),)
    height, width = picture.shape[:2]
    return LayerDocument(
        (width, height),
        nodes,
        provenance=Provenance(
            model=family.name,
            version=family.version,
            seed=taken.request.seed,
            request=taken.request.to_json(),
            report={
                "task": "composite -> foreground background",
                **figures,
                "parts": taken.reports,
                "layers": entries,
            },
        ),
    )


def _parts(foreground: Pixels) -> list[Pixels]:
    """The unconnected objects of a foreground, the largest on top."""
    alphas = split_alpha(to_float(foreground[..., 3]))
    if len(alphas) == 1:
        return [foreground]
    parts: list[Pixels] = []
    for alpha in reversed(alphas):
        part = foreground.copy()
        part[..., 3] = to_dtype(alpha, foreground.dtype)
        parts.append(part)
    return parts


def _settled(
    taken: _Taken, foregrounds: list[Pixels], picture: Pixels
) -> tuple[Pixels, list[Pixels], Pixels | None, dict[str, Any]]:
    """All planes together made to add up to the picture, in its own depth."""
    request = replace(
        taken.request,
        foregrounds=(_WANTED,) * len(foregrounds),
        background=_WANTED,
        composite=Plane(pixels=picture),
    )
    made = MadePlanes(
        tuple(to_float(pixels) for pixels in foregrounds), to_float(taken.background), None
    )
    found = reconcile(made, request)
    assert found.background is not None
    background, fronts = found.background, list(found.foregrounds)
    if picture.dtype != np.uint8:
        background, *fronts = deepen(background, fronts, picture)
    figures = found.report()
    del figures["disagreement"]  # that of planes already settled once; each part has its own
    return background, fronts, found.residual, figures


def _nodes(
    background: Pixels, groups: Sequence[Sequence[Pixels]], residual: Pixels | None
) -> tuple[tuple[Layer | Group, ...], list[dict[str, Any]]]:
    """Layers bottom to top with their names; a split foreground is a group."""
    nodes: list[Layer | Group] = [Layer("Background", background, role="background")]
    taken = {"Background", "Residual"}
    entries: list[dict[str, Any]] = [{"name": "Background", "role": "background"}]
    several = sum(len(group) for group in groups) > 1
    for number, group in enumerate(groups, start=1):
        layers: list[Layer | Group] = []
        for pixels in group:
            name = free_name(_name_of(pixels, several), taken)
            taken.add(name)
            layers.append(Layer(name, pixels, role="foreground"))
            entries.append({"name": name, "role": "foreground"})
        if len(layers) == 1:
            nodes += layers
        else:
            title = "Objects" if len(groups) == 1 else f"Objects {number}"
            nodes.append(Group(free_name(title, taken), tuple(layers)))
    if residual is not None:
        nodes.append(Layer("Residual", residual, role="residual"))
        entries.append({"name": "Residual", "role": "residual"})
    return tuple(nodes), entries


def _name_of(pixels: Pixels, several: bool) -> str:
    """ "Brown subject" for a single one, "Brown object, top left" among several."""
    values = to_float(pixels)
    word = colour_word(values[..., :3], values[..., 3]).capitalize()
    return f"{word} object, {place_word(values[..., 3])}" if several else f"{word} subject"
