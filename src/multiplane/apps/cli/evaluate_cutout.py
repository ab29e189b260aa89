"""`multiplane evaluate cutout`: how well photographs are taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.evaluate import Out, Threads, bars, named_out
from multiplane.apps.cli.terminal import say, say_json

GROUPS = ("photo", "3d")


def cutout(
    out: Out = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", help="photo or 3d; both when left out."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many scenes a group.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Another recipe of scenes (TOML) than the one that ships.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Measure finished scenes again.")] = False,
    threads: Threads = 0,
    as_json: options.AsJson = False,
) -> None:
    """Take scenes with exact truth apart, beside plain U2-Net with OpenCV's inpainting.

    100 photographic cut-outs at their native size on landscapes, 50 renders with soft edges, drawn
    by seed. Each finished scene is a file of its own: a stopped run goes on where it was.

    multiplane data fetch cutout-scenes cutout judges

    multiplane evaluate cutout -o out
    """
    from multiplane.core.config import read_config
    from multiplane.evaluation.bench import Judges
    from multiplane.evaluation.cutout import CutoutRun, lines_of
    from multiplane.evaluation.cutout_methods import Contest
    from multiplane.evaluation.cutout_scenes import CutoutRecipe, shipped_recipe
    from multiplane.evaluation.cutout_sheets import write_sheets
    from multiplane.weights.fetch import FetchError

    folder = named_out(out)
    wanted = tuple(group or GROUPS)
    unknown = sorted(set(wanted) - set(GROUPS))
    if unknown:
        raise typer.BadParameter(f"no group is called {unknown[0]!r}; there are photo and 3d")
    scenes = shipped_recipe() if recipe is None else read_config(CutoutRecipe, recipe)
    try:
        with bars() as report:
            contest = Contest(Judges(threads))
            run = CutoutRun(scenes, contest, folder, limit, wanted, fresh, report)
            found = run.run()
            sheets = write_sheets(run, found)
    except FetchError as error:
        raise OSError(
            f"{error}; `multiplane data fetch cutout-scenes cutout judges` gets everything"
        ) from error
    if as_json:
        say_json(found)
        return
    for line in lines_of(found):
        say(line)
    for path in sheets:
        say(f"  {path}")
