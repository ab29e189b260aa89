"""`multiplane evaluate compare`: two finished evaluations in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multiplane.apps.cli.terminal import say


def compare(
    old: Annotated[Path, typer.Argument(help="Folder of the first evaluation.")],
    new: Annotated[Path, typer.Argument(help="Folder of the second one.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Markdown file for the table; shown when left out."),
    ] = None,
) -> None:
    """One table of two evaluations, say of old weights and of new: every figure, its change, and
    whether that is for the better.

    Both must have been run with the same seed, limit and data. A figure that only one of them has
    stands with a dash.

    multiplane evaluate --weights OLD --shards shards -o old

    multiplane evaluate --shards shards -o new

    multiplane evaluate compare old new -o table.md
    """
    from multiplane.evaluation.comparison import compare as compared
    from multiplane.evaluation.comparison import markdown, read_report, tally
    from multiplane.io.atomic import write_bytes

    reports = read_report(old), read_report(new)
    table = markdown(*reports)
    if out is None:
        for line in table.splitlines():
            say(line)
    else:
        write_bytes(out, f"{table}\n".encode())
        say(f"{out}: {tally(compared(*reports))}")
