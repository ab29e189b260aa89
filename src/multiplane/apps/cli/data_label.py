"""`multiplane data label`: look at pictures one by one and decide about each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multiplane.apps.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiplane.data.browse import Item
    from multiplane.data.labels import LabelBook

Port = Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")]
OpenPage = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page in the browser, or only say where.")
]


def label(
    source: Annotated[
        Path, typer.Argument(help="A folder of pictures, a folder of shards, or one shard.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file of labels (.jsonl).")],
    question: Annotated[str, typer.Option(help="pick, mask or completion.")] = "pick",
    seed: Annotated[
        int | None, typer.Option(help="Show them in an order drawn by this seed; else by name.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Show only so many, the first of that order.")
    ] = None,
    port: Port = 0,
    open_page: OpenPage = True,
) -> None:
    """Label pictures on a page of this computer, by keyboard.

    Every decision is on disk before the next picture shows; run the same command to go on."""
    from multiplane.apps.picker.session import drawn
    from multiplane.data.browse import find_items
    from multiplane.data.labels import summary
    from multiplane.data.questions import question as known_question

    known_question(question)
    items = drawn(find_items(source), count, seed)
    book = run_picker(items, out, question, str(source), port, open_page)
    undecided = sum(book.label(item.key) is None for item in items)
    say(f"{len(items) - undecided} of {len(items)} decided: {summary(book).splitlines()[0]}")
    for line in summary(book).splitlines()[1:]:
        say(line)
    say(str(out))


def run_picker(
    items: Sequence[Item], out: Path, question: str, title: str, port: int, open_page: bool
) -> LabelBook:
    """Serve the page until it is finished; the decisions that stand in `out` afterwards."""
    import webbrowser

    from multiplane.apps.picker.server import serve
    from multiplane.apps.picker.session import Session
    from multiplane.data.labels import LabelLog

    def ready(url: str) -> None:
        say(f"{url}  (Finish on the page, or Ctrl-C here, ends it)")
        sys.stdout.flush()
        if open_page:
            webbrowser.open(url)

    with LabelLog(out, question) as log:
        serve(Session(items, log, title), port, ready)
        return log.book
