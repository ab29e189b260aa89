"""`multiplane generate`: prompts and pictures in, layered files out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.terminal import (
    progress_shown,
    say_json,
    show_summary,
    summary_of,
)
from multiplane.core.request import PLANE_KINDS, LayerRequest, RequestError

if TYPE_CHECKING:
    from multiplane.engine import Model

PlaneText = Annotated[str | None, typer.Option(metavar="TEXT|@FILE")]


def generate(
    output: options.Output,
    foreground: Annotated[
        list[str] | None,
        typer.Option(
            "--foreground",
            "-f",
            metavar="TEXT|@FILE",
            help="Prompt for a transparent foreground, or @FILE to give one. Several are stacked "
            "in their order, the first nearest to the background.",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            "-b",
            metavar="TEXT|@FILE",
            help="Prompt for the background, or @FILE to give one.",
        ),
    ] = None,
    composite: Annotated[
        str | None,
        typer.Option(
            "--composite",
            "-c",
            metavar="TEXT|@FILE",
            help="Prompt for the whole picture, or @FILE: a picture to take apart.",
        ),
    ] = None,
    want: Annotated[
        list[str] | None,
        typer.Option(metavar="PLANE", help="Have this plane made without a prompt."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLANE",
            help="Leave this plane out. Otherwise two planes ask for the third: a foreground and "
            "a background are made together with their composite.",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PLANE=]@FILE", help="Repaint a given picture where this one is white."
        ),
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(metavar="[PLANE=]NUMBER", help="How far a given picture may change, 0 to 1."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PLANE=]TEXT",
            help="What to make of a picture given with --mask or --strength.",
        ),
    ] = None,
    silhouette: options.Silhouette = None,
    edges: options.Edges = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="That of the given pictures, or the family's own, if out."
        ),
    ] = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many frames; more than one makes a clip. As many as the longest clip given, "
            "if out. A plane given over fewer is made for the rest: a still is animated.",
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Frames a second of a clip: 24, 24000/1001, 29.97."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many pictures, each with the next seed.")
    ] = 1,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    option: options.Extras = None,
    preview: options.Preview = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a layered picture, or a clip.

    Each plane is a prompt, a picture (@FILE), or left out; what happens follows from that alone:

    multiplane generate -f "a red apple" -b "a misty valley" -o apple.psd

    multiplane generate -f "a parrot" -b @room.png -o room.psd

    multiplane generate -c @photo.jpg -f "the dog" -o layers.psd

    multiplane generate -f "a parrot" -b @room.png --frames 16 -o parrot.mov
    """
    from multiplane.engine import build_request, load

    planes = _planes(foreground, background, composite, want or [], without or [])
    settings: Any = options.only_given(
        mask=options.addressed(mask, options.file_of),
        strength=options.addressed(strength, options.number_of),
        prompt=options.addressed(prompt, str),
        silhouette=options.addressed(silhouette, options.file_of),
        edges=options.addressed(edges, options.file_of),
        size=options.size_of(size),
        frames=frames,
        fps=fps,
        seed=seed,
        steps=steps,
        guidance=guidance,
        options=options.extras_of(option),
    )
    request = build_request(model, **planes, settings=settings)
    check_outputs(output, request.frames)
    request.check()  # before the weights are loaded, which takes seconds
    _run(load(model, weights), request, output, count, preview, as_json)


def _planes(
    foreground: list[str] | None,
    background: str | None,
    composite: str | None,
    want: Sequence[str],
    without: Sequence[str],
) -> dict[str, Any]:
    """The planes as `build_request` takes them; those nobody spoke of are not in it."""
    planes: dict[str, Any] = {}
    if foreground:
        planes["foreground"] = [options.plane_value(text) for text in foreground]
    if background is not None:
        planes["background"] = options.plane_value(background)
    if composite is not None:
        planes["composite"] = options.plane_value(composite)
    for option, names, value in (("--want", want, True), ("--without", without, None)):
        for name in names:
            if name not in PLANE_KINDS:
                raise RequestError(f"{option} takes {', '.join(PLANE_KINDS)}, got {name!r}")
            if name == "foreground" and value:
                planes["foreground"] = [*planes.get("foreground", []), True]
                continue
            if name in planes:
                raise RequestError(f"{option} {name} contradicts what else is said of {name}")
            planes[name] = value
    return planes


def _run(
    model: Model,
    request: LayerRequest,
    output: list[Path],
    count: int,
    preview: Path | None,
    as_json: bool,
) -> None:
    """Make `count` pictures; each is written as soon as it is finished."""
    pictures: list[dict[str, Any]] = []
    began = time.perf_counter()
    for number in range(count):
        started = time.perf_counter()
        numbered = replace(request, seed=request.seed + number)
        what = "generate" if count == 1 else f"generate {number + 1} of {count}"
        with progress_shown(what, preview) as progress:
            run = model.run if request.frames == 1 else model.run_clip
            document = run(numbered, progress)
        files = [numbered_path(path, number, count) for path in output]
        document.save(*files)
        seconds = time.perf_counter() - started
        if as_json:
            pictures.append({**summary_of(document, files), "seconds": round(seconds, 3)})
        else:
            show_summary(document, files, seconds)
    if as_json:
        seconds = round(time.perf_counter() - began, 3)
        say_json({"task": str(request.task), "seconds": seconds, "pictures": pictures})


def check_outputs(paths: list[Path], frames: int = 1) -> None:
    """Raises for a name that could not be written, before the work is done."""
    from multiplane.io.clip_formats import format_to_write
    from multiplane.io.registry import check_writable

    for path in paths:
        (check_writable if frames == 1 else format_to_write)(path)


def numbered_path(path: Path, number: int, count: int) -> Path:
    """`out.psd` as `out-1.psd`, `out-2.psd`, ... when there are several; a sequence of frames in
    folders numbered so."""
    from multiplane.io.png_sequence import Pattern

    if count == 1:
        return path
    if Pattern.of(path) is not None:
        return path.parent.with_name(f"{path.parent.name}-{number + 1}") / path.name
    return path.with_name(f"{path.stem}-{number + 1}{path.suffix}")
