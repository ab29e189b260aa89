"""`multiplane data layer-photos`: photographs with captions into layered training data; and
`multiplane data photographs`: some of clear rights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from multiplane.apps.cli.data_pairs import counted, range_of
from multiplane.apps.cli.terminal import say

SHOWN = 40


def layer_photos(
    given: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A folder of pictures, or of webdataset tars.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the scene shards.")],
    captions: Annotated[
        Path | None,
        typer.Option(help="A table NAME<tab>CAPTION; else .txt or .json beside each picture."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="The first so many.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Longer side at most, in pixels.")] = 512,
    crop: Annotated[str, typer.Option(help="whole, or square: the middle.")] = "whole",
    matte: Annotated[str, typer.Option(help="isnet, u2net or u2netp.")] = "isnet",
    second: Annotated[
        str | None,
        typer.Option(help="Another network that must agree, or none. For isnet u2net if out."),
    ] = None,
    agreement: Annotated[float, typer.Option(help="By how much, as a soft IoU.")] = 0.9,
    area: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Share of the picture a mask may cover.")
    ] = "0.03:0.7",
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Bring mask edges to the picture's own.")
    ] = True,
    colours: Annotated[
        str, typer.Option(help="estimated, or copied: pixels where mask > 0.1, as in the paper.")
    ] = "estimated",
    complete: Annotated[str, typer.Option(help="migan, opencv or diffuse.")] = "migan",
    quality: Annotated[
        str | None,
        typer.Option(
            help="embedded: both classifiers decide. completion: that one alone, as if out where a "
            "second network agrees on the mask. Or a classifier folder, or none: no scores."
        ),
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Note the scores, leave nothing out for them.")
    ] = False,
    on: Annotated[str, typer.Option(help="pool: this machine. ray: RAY_ADDRESS. loop.")] = "pool",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core if out.")
    ] = None,
    per_shard: Annotated[int, typer.Option(min=1, help="Photographs a shard.")] = 256,
) -> None:
    """Take photographs apart: foreground, background, mask, image, caption, as Text2Layer did.

    Run the same command again to go on after a stop: finished records are kept."""
    from multiplane.core.request import RequestError
    from multiplane.data.kept_records import TooManyFailures
    from multiplane.data.layer_photos.build import PhotoJob, build_photos
    from multiplane.data.layer_photos.quality import COMPLETION, EMBEDDED
    from multiplane.data.layer_photos.sources import photo_sources
    from multiplane.data.layer_photos.steps import PhotoConfig

    if on not in ("pool", "ray", "loop"):
        raise RequestError(f"--on must be pool, ray or loop, got {on!r}")
    timings: dict[str, float] = {}
    second = second or ("u2net" if matte == "isnet" else "none")
    second = "" if second == "none" else second
    quality = quality or (COMPLETION if second else EMBEDDED)
    config = PhotoConfig(
        size=size,
        crop=crop,  # pyright: ignore[reportArgumentType]  # checked there, as those below
        matte=matte,
        second=second,
        agreement=agreement,
        area=range_of(area),
        refine=refine,
        colours=colours,  # pyright: ignore[reportArgumentType]
        complete=complete,  # pyright: ignore[reportArgumentType]
        quality="" if quality == "none" else quality,
        drop=not keep_all,
    )
    job = PhotoJob(
        config,
        given=given.name,
        where=on,  # pyright: ignore[reportArgumentType]
        workers=workers or _cores(),
        per_shard=per_shard,
    )
    with counted("photographs") as progress:
        sources = photo_sources(given, captions)
        try:
            manifest = build_photos(job, sources, out, count, progress, timings)
        except TooManyFailures as error:
            raise RequestError(f"{error}; run it again to go on") from error
    for pool, number in manifest["counts"].items():
        say(f"{number:6}  {pool}")
    skipped = manifest["skipped"]
    for each in skipped[:SHOWN]:
        say(f"left out {each['key']}: {each['reason']}")
    if len(skipped) > SHOWN:
        say(f"and {len(skipped) - SHOWN} more, each with its reason in the manifest")
    if timings:
        say("CPU seconds: " + ", ".join(f"{step} {spent:.1f}" for step, spent in timings.items()))
    say(str(out / "manifest.json"))


def photographs(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the photographs.")],
) -> None:
    """Write out photographs of clear rights with one thing in each, captions and credits beside.

    What `layer-photos` cuts out of them teaches the quality classifiers (docs/layer_photos.md)."""
    from multiplane.core.request import RequestError
    from multiplane.data.photographs import write_photographs
    from multiplane.weights.fetch import FetchError

    try:
        written = write_photographs(out)
    except (FetchError, OSError, ValueError) as error:
        raise RequestError(str(error)) from error
    say(f"{len(written)} photographs in {out}; who made them: {out / 'CREDITS.tsv'}")


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
