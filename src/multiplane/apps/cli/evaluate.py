"""`multiplane evaluate`: score a model, or any folder of planes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.terminal import bytes_of, say, say_json
from multiplane.evaluation.entries import parts_told

Suite = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        help=f"Part to run: {parts_told()}. May be given several times.",
    ),
]


Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the JSON and the sheets.")
]
Shards = Annotated[
    Path,
    typer.Option(help="What `multiplane data build` wrote: a folder with assets/ and scenes/."),
]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the networks; 0: as many as they like.")
]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def evaluate(
    context: typer.Context,
    out: Out = None,
    shards: Shards = Path("shards"),
    suite: Suite = None,
    planes: Annotated[
        Path | None,
        typer.Option(help="Score this folder of planes folders in place of a model."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="At most this many pictures a part.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Run finished parts again.")] = False,
    threads: Threads = 0,
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
    if context.invoked_subcommand is not None:
        return
    out = named_out(out)
    from multiplane.evaluation.bench import Bench, Judges
    from multiplane.evaluation.entries import parts_named
    from multiplane.evaluation.suite import run_suite
    from multiplane.weights.fetch import FetchError

    parts = parts_named(suite or ["all"])
    _check_shards(shards)
    if threads:
        import torch

        torch.set_num_threads(threads)
    try:
        with bars() as report:
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


@app.command()
def text2layer(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FOLDER...", help="Folders of outputs, one entry a caption each."
        ),
    ],
    out: Out = None,
    shards: Shards = Path("shards"),
    limit: Annotated[
        int | None, typer.Option(min=2, help="At most this many captions, a share of each set.")
    ] = None,
    side: Annotated[
        int, typer.Option(min=32, help="Pixels a side at which everything is compared.")
    ] = 64,
    threads: Threads = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Make the outputs first, into the one folder that is named."
        ),
    ] = None,
    weights: options.Weights = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    as_json: options.AsJson = False,
) -> None:
    """Text2Layer's protocol: fixed captions, composites against two sets of real ones, the fit to
    the caption, masks against a segmenter's.

    Scores folders of any program's outputs: one entry a caption, called train-00, heldout-03,
    combined-15 and so on (the captions: evaluation/prompts.json), each a planes folder, a layered
    file, or a folder with foreground.png, background.png and composite.png; a flat model has
    composite.png alone.

    multiplane evaluate text2layer made/joint -m text2layer --weights DIR --shards shards -o out

    multiplane evaluate text2layer joint=made/joint flat=made/flat --shards shards -o out
    """
    from multiplane.evaluation.bench import Judges
    from multiplane.evaluation.text2layer_run import lines_of_protocol, run_protocol
    from multiplane.weights.fetch import FetchError

    out = named_out(out)
    _check_shards(shards)
    named = dict(_name_and_folder(text) for text in folders)
    if threads:
        import torch

        torch.set_num_threads(threads)
    try:
        with bars() as report:
            if model is not None:
                _make_outputs(named, model, weights, limit, steps, guidance, report)
            found = run_protocol(named, shards, out, Judges(threads), report, side, limit)
    except FetchError as error:
        raise OSError(f"{error}; the judges come with `multiplane data fetch judges`") from error
    if as_json:
        say_json(found)
        return
    for line in lines_of_protocol(found):
        say(line)


def _name_and_folder(text: str) -> tuple[str, Path]:
    """`NAME=FOLDER`, or a folder that gives its own name."""
    name, given, folder = text.rpartition("=")
    return (name, Path(folder)) if given else (Path(folder).name, Path(folder))


def _make_outputs(
    named: dict[str, Path],
    model: str,
    weights: Path | None,
    limit: int | None,
    steps: int | None,
    guidance: float | None,
    report: Any,
) -> None:
    """Let the model answer the captions into the one folder named."""
    from multiplane.engine import load
    from multiplane.evaluation.prompts import fixed_prompts
    from multiplane.evaluation.text2layer_outputs import make_outputs

    if len(named) != 1:
        raise typer.BadParameter(f"--model makes one folder of outputs, {len(named)} are named")
    ((name, folder),) = named.items()
    wanted = options.only_given(steps=steps, guidance=guidance)

    def made(done: int, total: int) -> None:
        report(f"making {name}", done, total)

    make_outputs(load(model, weights), fixed_prompts(limit), folder, wanted, made)


def named_out(out: Path | None) -> Path:
    if out is None:
        raise typer.BadParameter("say where the figures and sheets go: -o FOLDER")
    return out


def _loaded(model: str, weights: Path | None) -> dict[str, Any]:
    from multiplane.engine import Model, load
    from multiplane.evaluation.bench import RecordingFamily, weights_digest

    family = RecordingFamily(load(model, weights).family)
    folder = weights or getattr(family.inner, "folder", None)
    return {
        "model": Model(family),
        "family": family,
        "weights": weights_digest(family.inner),
        "weights_bytes": None if folder is None else bytes_of(folder),
    }


def _check_shards(shards: Path) -> None:
    if not (shards / "assets" / "manifest.json").is_file():
        raise FileNotFoundError(
            f"no assets/manifest.json in {shards}: build the shards first with "
            f"`multiplane data build tiny -o {shards}`, or say where they are with --shards"
        )


class bars:
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
