"""`multiplane data layer-pairs`: layered training pictures made by a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.terminal import say

if TYPE_CHECKING:
    from multiplane.data.layer_pairs import Score


def layer_pairs(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the scene shards.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Lines of `foreground | whole picture | background`, or .jsonl; our lists if out."
        ),
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option(help="Take the concepts of our lists from the captions of these shards."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many; all of the file if out.")
    ] = None,
    model: options.Model = "tiny",
    weights: options.Weights = None,
    seed: Annotated[int, typer.Option(help="Same seed, same pairs.")] = 0,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The family's own if out.")
    ] = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    erode: Annotated[
        int, typer.Option(min=0, help="Pixels around the object to paint anew; 8 is for 1024 px.")
    ] = 8,
    road: Annotated[
        str,
        typer.Option(
            help="inpaint: paint the whole around the foreground, then over it, as the paper does. "
            "planes: have the family make background and whole in one request."
        ),
    ] = "inpaint",
    scale: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Size of the object's plane on the canvas.")
    ] = "1:1",
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODULE:FUNCTION[>=NUMBER]",
            help="Note a figure of every pair, and leave out those below NUMBER.",
        ),
    ] = None,
    per_shard: Annotated[int, typer.Option(min=1, help="Records a shard.")] = 256,
) -> None:
    """Make foreground, whole picture and background from prompt triples, as LayerDiffuse did.

    Run the same command again to go on after a stop: finished records are kept."""
    from multiplane.core.request import RequestError
    from multiplane.data.layer_pairs import PairConfig
    from multiplane.data.pair_shards import PairJob, build_pairs
    from multiplane.data.prompt_lists import read_prompts
    from multiplane.engine import load

    if prompts is None and count is None:
        raise RequestError("our lists have no end: say how many with --count")
    if prompts is not None and assets is not None:
        raise RequestError("--assets is for our lists; leave it or --prompts out")
    config = PairConfig(
        size=options.size_of(size),
        steps=steps,
        guidance=guidance,
        erode=erode,
        road=road,  # pyright: ignore[reportArgumentType]  # checked there
        scale=range_of(scale),
    )
    lines = _from_lists(assets, seed) if prompts is None else read_prompts(prompts)
    job = PairJob(
        family=load(model, weights).family,
        config=config,
        seed=seed,
        weights=str(weights or ""),
        prompts=str(prompts or f"lists of {assets or 'this package'}"),
        scores=tuple(score_of(text) for text in score or []),
    )
    with counted("layer pairs") as progress:
        manifest = build_pairs(job, lines, out, count, per_shard, progress)
    for pool, number in manifest["counts"].items():
        say(f"{number:6}  {pool}")
    for skipped in manifest["skipped"]:
        say(f"skipped {skipped['key']}: {skipped['reason']}")
    say(str(out / "manifest.json"))


def _from_lists(assets: Path | None, seed: int) -> Iterator[Any]:
    from multiplane.data import prompt_lists

    concepts = (
        prompt_lists.shipped_concepts() if assets is None else prompt_lists.shard_concepts(assets)
    )
    return prompt_lists.template_prompts(concepts, prompt_lists.training_places(), seed)


def range_of(text: str) -> tuple[float, float]:
    """(low, high) of "LOW:HIGH", or of one number. Raises RequestError for anything else."""
    low, colon, high = text.partition(":")
    return options.number_of(low), options.number_of(high if colon else low)


def score_of(text: str) -> Score:
    """The score of `NAME=MODULE:FUNCTION[>=NUMBER]`. Raises RequestError."""
    import importlib

    from multiplane.core.request import RequestError
    from multiplane.data.layer_pairs import Score

    match = re.fullmatch(r"([\w-]+)=([\w.]+):(\w+)(?:>=(.+))?", text)
    if match is None:
        raise RequestError(f"a score reads NAME=MODULE:FUNCTION[>=NUMBER], got {text!r}")
    name, module, function, least = match.groups()
    try:
        judge = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"the score {name!r} cannot be loaded: {error}") from error
    return Score(name, judge, None if least is None else options.number_of(least))


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A callback (done, of how many, what is at hand) that draws a bar on standard error."""
    from multiplane.apps.cli.terminal import progress_shown

    with progress_shown(what, None) as progress:
        yield lambda done, total, name: progress(done, total, None)
