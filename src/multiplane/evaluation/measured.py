"""The figures that an evaluation tells of a model, by their place in its JSON: what each is called,
how it is written, and which way is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Better = Literal["more", "less", "unknown"]
Form: TypeAlias = int | Literal["%"]  # decimals, or a share in per cent

CLIP_ROWS = (
    "from words",
    "composite given",
    "background given",
    "foreground given",
    "still given",
)  # without "real", which no weights change


@dataclass(frozen=True)
class Measure:
    """path: keys parted by "/"; "*" is every key, and stands in `name` as "{}" in its turn. A value
    that is not there, or that nothing was measured for, is left out."""

    part: str
    path: str
    name: str
    form: Form = 3
    better: Better = "less"

    def found(self, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        """(name, value) of every place that the path fits."""
        for keys, value in _walk(figures, self.path.split("/")):
            if isinstance(value, int | float):
                yield self.name.format(*keys), float(value)


def _walk(found: Any, path: list[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not path:
        yield (), found
        return
    if not isinstance(found, Mapping):
        return
    first, *rest = path
    for key in found if first == "*" else (first,):
        if key in found:
            for keys, value in _walk(found[key], rest):
                yield ((key, *keys) if first == "*" else keys), value


def _likeness(part: str, path: str = "", name: str = "") -> tuple[Measure, ...]:
    """What `parts.foregrounds.likeness` measures, at a place of a part."""
    soft = f"{path}soft alpha"
    return (
        Measure(part, f"{path}kid/made to real/value", f"{name}KID", 4),
        Measure(part, f"{soft}/distance of made to real", f"{name}soft alpha distance", 4),
        Measure(part, f"{soft}/soft share, made/mean", f"{name}soft share", "%", "unknown"),
        Measure(part, f"{path}empty", f"{name}empty pictures", 0),
    )


def _alpha(group: str) -> tuple[Measure, ...]:
    """What `parts.alpha.faults_of` measures of a group."""
    path = f"groups/{group}"
    return (
        Measure("alpha", f"{path}/residue, mean/mean", f"{group}: residue, mean", 5),
        Measure("alpha", f"{path}/residue, max/mean", f"{group}: residue, max"),
        Measure("alpha", f"{path}/residue, share/mean", f"{group}: residue, share of canvas", "%"),
        Measure("alpha", f"{path}/holes/mean", f"{group}: holes", "%"),
        Measure("alpha", f"{path}/halo/mean", f"{group}: halo", 4),
        Measure("alpha", f"{path}/halo, lightness/mean", f"{group}: halo, lightness", 4, "unknown"),
        Measure("alpha", f"{path}/soft share/mean", f"{group}: soft share", "%", "unknown"),
        Measure("alpha", f"{path}/soft alpha distance", f"{group}: soft alpha distance", 4),
        Measure("alpha", f"{path}/empty", f"{group}: empty pictures", 0),
    )


def _native(way: str) -> tuple[Measure, ...]:
    return (
        Measure("native", f"{way}/mask iou with the judge/mean", f"{way}: mask IoU", 3, "more"),
        Measure(
            "native", f"{way}/share of the judge's own", f"{way}: of the judge's own", "%", "more"
        ),
        Measure("native", f"{way}/retrieval/top5", f"{way}: top-5", "%", "more"),
        *_likeness("native", f"{way}/", f"{way}: "),
        Measure("native", f"like real scenes/{way}/kid/value", f"{way}: KID, real scenes", 4),
        Measure(
            "native",
            f"like real scenes/{way}/soft alpha distance",
            f"{way}: soft alpha distance, real scenes",
            4,
        ),
    )


def _curve(path: str, name: str) -> tuple[Measure, ...]:
    return (
        Measure("steps", f"{path}/top5", f"{name}: top-5", "%", "more"),
        Measure("steps", f"{path}/kid", f"{name}: KID", 4),
        Measure("steps", f"{path}/soft alpha distance", f"{name}: soft alpha distance", 4),
        Measure("steps", f"{path}/seconds", f"{name}: seconds", 2),
    )


MEASURED: tuple[Measure, ...] = (
    Measure("speed", "cases/*/seconds", "{}, seconds", 2),
    Measure("retrieval", "retrieval/*/top5", "top-5, {}", "%", "more"),
    Measure("retrieval", "copying/rate", "copy rate", "%"),
    *_likeness("retrieval"),
    Measure("retrieval", "seconds/mean", "seconds", 2),
    *_alpha("made"),
    *_alpha("held out, encoded and decoded"),
    Measure("alpha", "see-through/made/soft share/mean", "see-through: soft share", "%", "unknown"),
    Measure(
        "alpha", "see-through/made/see-through share/mean", "see-through: share", "%", "unknown"
    ),
    Measure("materials", "materials/*/soft alpha distance", "{}: soft alpha distance", 4),
    Measure("materials", "materials/*/see-through, made/mean", "{}: see-through", "%", "unknown"),
    Measure("materials", "materials/*/soft share, made/mean", "{}: soft share", "%", "unknown"),
    Measure("materials", "materials/*/empty", "{}: empty pictures", 0),
    Measure("rows", "rows/*/before/psnr/mean", "{}: before, dB", 1, "more"),
    Measure("rows", "rows/*/before/mean/mean", "{}: before, mean", 4),
    Measure("rows", "rows/*/before/max/max", "{}: before, max"),
    Measure("rows", "rows/*/after, 255ths/max", "{}: after, 255ths", 2),
    Measure("rows", "rows/*/foreground/alpha mae/mean", "{}: alpha mae", 4),
    Measure("rows", "rows/*/foreground/mask iou/mean", "{}: mask IoU", 3, "more"),
    Measure("rows", "rows/*/background/psnr/mean", "{}: background, dB", 1, "more"),
    Measure("rows", "rows/*/seconds/mean", "{}: seconds", 2),
    Measure("conditional", "rows/*/*/ratio", "{}: loss, true over shuffled {}"),
    Measure("control", "own words/mask iou/mean", "mask IoU, own words", 3, "more"),
    Measure("control", "other words/mask iou/mean", "mask IoU, other words", 3, "more"),
    *_native("native"),
    *_native("cut"),
    Measure("iterative", "earlier layers unchanged", "earlier layers unchanged", "%", "more"),
    Measure("iterative", "empty layers", "empty layers", 0),
    Measure("iterative", "after, 255ths/max", "after, 255ths", 2),
    Measure("inpainting", "kept part unchanged", "kept part unchanged", "%", "more"),
    Measure("inpainting", "seam, made/mean", "seam"),
    Measure("clips", "frames", "frames", 0, "more"),
    Measure("clips", "*/named/*/top5", "{}: top-5 of frames, {} prompts", "%", "more"),
    Measure("clips", "*/likeness/first to last", "{}: likeness of first and last frame", 3, "more"),
    Measure("clips", "*/foreground/mask iou/mean", "{}: mask IoU", 3, "more"),
    Measure("clips", "*/before, psnr/mean", "{}: before, dB", 1, "more"),
    *(
        Measure("clips", f"{row}/{what}/mean", f"{row}: {what}", 4, "unknown")
        for row in CLIP_ROWS
        for what in ("motion of the foreground", "motion of the background", "alpha flicker")
    ),
    Measure("clips", "*/seconds/mean", "{}: seconds", 1),
    *_curve("at own", "the weights' own"),
    *_curve("steps/*", "{} steps"),
    *_curve("guidance/*", "guidance {}"),
)
