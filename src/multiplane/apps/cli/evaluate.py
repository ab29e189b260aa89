"""`multiplane evaluate`: score a model, or any folder of planes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.terminal import say, say_json

Suite = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        help="Part to run: all, speed, retrieval, rows, conditional, control, native, iterative, "
        "inpainting. May be given several times.",
    ),
]


def evaluate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the JSON and the sheets.")],
    shards: Annotated[
        Path,
        typer.Option(help="What `multiplane data build` wrote: a folder with assets/ and scenes/."),
    ] = Path("shards"),
    suite: Suite = None,
    planes: Annotated[
        Path | None,
        typer.Option(help="Score this folder of planes folders in place of a model."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="At most this many pictures a part.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Run finished parts again.")] = False,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the networks; 0: as many as they like.")
    ] = 0,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    seed: Annotated[int, typer.Option(min=0, help="Changes every picture that is made.")] = 0,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure what a model makes, with fixed seeds: figures as JSON, pictures as sheets.

    A part that is finished is not run again for the same weights, data and settings, so a stopped
    run goes on where it was:

    multiplane data build tiny -o shards

    multiplane evaluate --shards shards -o evaluation

    With --planes the model is left out and any program's planes are scored: folders with
    layers.json, or with foreground.png, background.png and composite.png; one named after a
    held-out scene (scene-0001) is compared with that scene's truth.
    """
    from multiplane.evaluation.bench import Bench, Judges
    from multiplane.evaluation.suite import parts_named, run_suite
    from multiplane.weights.fetch import FetchError

    parts = parts_named(suite or ["all"])
    _check_shards(shards)
    if threads:
        import torch

        torch.set_num_threads(threads)
    try:
        with _bars() as report:
            if planes is not None:
                from multiplane.evaluation.folder import score_folder

                found = score_folder(planes, shards, out, Judges(threads), report)
            else:
                bench = Bench(
                    **_loaded(model, weights),
                    shards=shards,
                    out=out,
                    judges=Judges(threads),
                    limit=limit,
                    seed=seed,
                    options=options.only_given(steps=steps, guidance=guidance),
                    report=report,
                )
                found = run_suite(bench, parts, fresh)
    except FetchError as error:
        raise OSError(f"{error}; the judges come with `multiplane data fetch judges`") from error
    _show(found, as_json)


def _loaded(model: str, weights: Path | None) -> dict[str, Any]:
    from multiplane.engine import Model, load
    from multiplane.evaluation.bench import RecordingFamily, weights_digest

    family = RecordingFamily(load(model, weights).family)
    return {"model": Model(family), "family": family, "weights": weights_digest(family.inner)}


def _check_shards(shards: Path) -> None:
    if not (shards / "assets" / "manifest.json").is_file():
        raise FileNotFoundError(
            f"no assets/manifest.json in {shards}: build the shards first with "
            f"`multiplane data build tiny -o {shards}`, or say where they are with --shards"
        )


class _bars:
    """One progress bar a part, on standard error."""

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        return self._report

    def _report(self, part: str, done: int, total: int) -> None:
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part)
        self._progress.update(self._tasks[part], completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def _show(found: dict[str, Any], as_json: bool) -> None:
    from multiplane.evaluation.digest import lines_of

    if as_json:
        say_json(found)
        return
    for line in lines_of(found):
        say(line)
