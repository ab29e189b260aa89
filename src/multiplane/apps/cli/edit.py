"""`multiplane add`, `regenerate`, `inpaint`: one layer of a file, the others left as they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.generate import check_outputs
from multiplane.apps.cli.terminal import progress_shown, say_json, show_summary, summary_of

if TYPE_CHECKING:
    from multiplane.engine import GeneratedDocument

Document = Annotated[Path, typer.Argument(metavar="DOC", help="Layered file or planes folder.")]
LayerName = Annotated[
    str, typer.Option("--layer", "-l", help="Name of the layer; `multiplane inspect` lists them.")
]

Silhouette = Annotated[
    str | None,
    typer.Option(
        metavar="@FILE", help="Shape the layer shall have: white (or opaque) where it is."
    ),
]
Edges = Annotated[
    str | None,
    typer.Option(metavar="@FILE", help="Line sketch to follow: white lines on black."),
]


def add(
    document: Document,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to add.")],
    output: options.Output,
    silhouette: Silhouette = None,
    edges: Edges = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    preview: options.Preview = None,
    as_json: options.AsJson = False,
) -> None:
    """Layer one more foreground on top of what is there."""
    settings = _settings(silhouette, edges, seed, steps, guidance)
    job = _Job("add", document, output, model, weights, preview, as_json)
    job.run(prompt, **settings)


def regenerate(
    document: Document,
    layer: LayerName,
    output: options.Output,
    prompt: Annotated[
        str | None,
        typer.Option(help="What to make of it; what it was made from when left out."),
    ] = None,
    silhouette: Silhouette = None,
    edges: Edges = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    preview: options.Preview = None,
    as_json: options.AsJson = False,
) -> None:
    """Make one layer again and leave every other byte alone."""
    settings = _settings(silhouette, edges, seed, steps, guidance)
    job = _Job("regenerate", document, output, model, weights, preview, as_json)
    job.run(layer, prompt, **settings)


def inpaint(
    document: Document,
    layer: LayerName,
    mask: Annotated[
        str, typer.Option(metavar="@FILE", help="Picture, white where the layer is painted anew.")
    ],
    output: options.Output,
    prompt: Annotated[
        str | None,
        typer.Option(help="What to paint; what the layer was made from when left out."),
    ] = None,
    silhouette: Silhouette = None,
    edges: Edges = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    preview: options.Preview = None,
    as_json: options.AsJson = False,
) -> None:
    """Paint part of one layer anew, its transparency too."""
    settings = _settings(silhouette, edges, seed, steps, guidance)
    job = _Job("inpaint", document, output, model, weights, preview, as_json)
    job.run(layer, options.file_of(mask), prompt, **settings)


def _settings(
    silhouette: str | None,
    edges: str | None,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
) -> dict[str, Any]:
    return options.only_given(
        silhouette=silhouette and options.file_of(silhouette),
        edges=edges and options.file_of(edges),
        seed=seed,
        steps=steps,
        guidance=guidance,
    )


class _Job:
    """Read a document, have the model act on it, write the result."""

    def __init__(
        self,
        action: str,
        document: Path,
        output: list[Path],
        model: str,
        weights: Path | None,
        preview: Path | None,
        as_json: bool,
    ) -> None:
        self.action, self.document, self.output = action, document, output
        self.model, self.weights, self.preview, self.as_json = model, weights, preview, as_json

    def run(self, *values: Any, **settings: Any) -> None:
        from multiplane.engine import load
        from multiplane.io.registry import read

        check_outputs(self.output)
        before = read(self.document)
        started = time.perf_counter()
        act = getattr(load(self.model, self.weights), self.action)
        with progress_shown(self.action, self.preview) as progress:
            after: GeneratedDocument = act(before, *values, progress=progress, **settings)
        after.save(*self.output)
        seconds = time.perf_counter() - started
        if self.as_json:
            say_json({**summary_of(after, self.output), "seconds": round(seconds, 3)})
        else:
            show_summary(after, self.output, seconds)
