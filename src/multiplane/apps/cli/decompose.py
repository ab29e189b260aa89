"""`multiplane decompose`: photographs in, layered files out; one, or a folder of them. A clip goes
to `multiplane.apps.cli.decompose_clip`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.decompose_clip import (
    CLIP_ONLY,
    STILL_ONLY,
    check_only,
    decompose_clip,
    is_footage,
)
from multiplane.apps.cli.generate import check_outputs
from multiplane.apps.cli.terminal import (
    plain_text,
    progress_shown,
    say,
    say_json,
    show_summary,
    summary_of,
)
from multiplane.core.request import RequestError

if TYPE_CHECKING:
    from multiplane.engine import GeneratedDocument, Model

FAILED = 1


@dataclass(frozen=True)
class Job:
    """One photograph and the file its layers go to."""

    source: Path
    target: Path


def decompose(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO...", help="Photographs, folders of them, or one clip."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, by its suffix (.psd, .ora, .png); a folder for several photos "
            "and for a clip.",
        ),
    ],
    layers: Annotated[
        int, typer.Option(help="Peel this often: what stands out, then what is left, and so on.")
    ] = 1,
    split: Annotated[
        bool, typer.Option("--split", help="Unconnected objects become layers of their own.")
    ] = False,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A pixel of what to cut. May be given several times."),
    ] = None,
    avoid: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="X,Y", help="A pixel that does not belong to it."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1", help="A box around something to cut; each is its own layer."
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="Cut in this many ways and keep the one that scores best, 1 to 6.")
    ] = 1,
    matte: Annotated[
        str | None,
        typer.Option(
            help="Network that finds the subject: isnet (best; for photographs), u2net, or u2netp "
            "(in the package; for clips). Of a clip also motion: whatever moves, no network."
        ),
    ] = None,
    complete: Annotated[
        str,
        typer.Option(
            help="What fills the background: migan (a network), opencv, or diffuse (no download)."
        ),
    ] = "migan",
    refine: Annotated[
        bool, typer.Option(help="Bring the edge to the photograph's own: hair, fur.")
    ] = True,
    keep_flat: Annotated[
        bool,
        typer.Option("--keep-flat", help="Without a clear subject write the picture as one layer."),
    ] = False,
    suffix: Annotated[
        str, typer.Option("--format", help="Suffix of the files written for several photos.")
    ] = ".psd",
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave photos whose file is already there.")
    ] = False,
    every: Annotated[
        int, typer.Option(help="Clips: the network looks at each n-th frame, 1 to 12.")
    ] = 1,
    steady: Annotated[bool, typer.Option(help="Clips: mattes agree with their neighbours.")] = True,
    camera: Annotated[
        str, typer.Option(help="Clips: auto aligns the frames, still takes them as they lie.")
    ] = "auto",
    codec: Annotated[
        str, typer.Option(help="Clips: of the layers; ffv1, png, prores, vp9, apng or webp.")
    ] = "ffv1",
    crf: Annotated[
        int | None, typer.Option(help="Clips: quality of vp9, smaller is better.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Take photographs, or a clip, apart into layers.

    multiplane decompose photo.jpg -o photo.psd

    multiplane decompose clip.mp4 -o layers/

    multiplane decompose photo.jpg -o photo.psd --box 40,60,300,400 --box 320,80,500,410

    multiplane decompose holiday/ -o layered/ --candidates 3 --resume

    Without a download: --matte u2netp --complete diffuse. Exit code 1 when nothing stands out, or
    when one of several photographs failed.
    """
    shared = {
        "points": [
            *((*numbers_of(text, 2, "--point X,Y"), 1) for text in point or ()),
            *((*numbers_of(text, 2, "--not X,Y"), 0) for text in avoid or ()),
        ],
        "boxes": [numbers_of(text, 4, "--box X0,Y0,X1,Y1") for text in box or ()],
        "complete": complete,
        "refine": refine,
        **({} if matte is None else {"matte": matte}),
    }
    stills = {"layers": layers, "split": split, "candidates": candidates, "keep_flat": keep_flat}
    clips = {"every": every, "camera": camera, "codec": codec, "crf": crf, "steady": steady}
    if len(photos) == 1 and is_footage(photos[0]):
        check_only(stills, STILL_ONLY, "for photographs, and this is a clip")
        decompose_clip(photos[0], output, {**shared, **clips}, resume, as_json)
        return
    check_only(clips, CLIP_ONLY, "for clips, and this is none")
    asked = {**shared, **stills}
    jobs = jobs_of(photos, output, suffix)
    check_outputs([job.target for job in jobs])
    if len(jobs) == 1 and not is_batch(photos, output):
        _one(jobs[0], asked, resume, as_json)
    else:
        _several(jobs, asked, resume, as_json)


def numbers_of(text: str, count: int, form: str) -> tuple[float, ...]:
    """`count` numbers with commas between them. Raises RequestError for anything else."""
    parts = text.split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise RequestError(f"expected {form} in pixels from the top left, got {text!r}")
    return numbers


def is_batch(photos: Sequence[Path], output: Path) -> bool:
    """Whether `output` is a folder of files, not the file of one photograph."""
    return len(photos) > 1 or photos[0].is_dir() or output.is_dir()


def jobs_of(photos: Sequence[Path], output: Path, suffix: str) -> list[Job]:
    """Every photograph with its target, in a fixed order. Raises RequestError for none at all, and
    FileNotFoundError for a name that is not there."""
    from multiplane.io.image import FLAT_SUFFIXES

    sources: list[Path] = []
    for photo in photos:
        if photo.is_dir():
            inside = sorted(each for each in photo.iterdir() if each.is_file())
            sources += [each for each in inside if each.suffix.lower() in FLAT_SUFFIXES]
        elif photo.exists():
            sources.append(photo)
        else:
            raise FileNotFoundError(f"{photo} does not exist")
    sources = list(dict.fromkeys(sources))
    if not sources:
        raise RequestError(f"there are no pictures ({', '.join(FLAT_SUFFIXES)}) in {photos[0]}")
    if not is_batch(photos, output):
        return [Job(sources[0], output)]
    if output.suffix and not output.is_dir():
        raise RequestError(f"{len(sources)} photographs need a folder to go to, got {output}")
    suffix = suffix if suffix.startswith(".") else f".{suffix}"
    stems = [source.stem for source in sources]
    return [
        Job(source, output / f"{source.stem if stems.count(source.stem) == 1 else name}{suffix}")
        for source, name in zip(sources, _unique(sources), strict=True)
    ]


def _unique(sources: Sequence[Path]) -> list[str]:
    """File names with their suffix; "a.jpg 2" for a second one of that name."""
    from multiplane.engine.naming import free_name

    names: list[str] = []
    for source in sources:
        names.append(free_name(source.name, names))
    return names


def _one(job: Job, asked: dict[str, Any], resume: bool, as_json: bool) -> None:
    if resume and job.target.exists():
        said = {"files": [{"path": str(job.target)}], "skipped": True}
        say_json(said) if as_json else say(f"{job.target} is already there")
        return
    started = time.perf_counter()
    document = _made(job, asked, None, "decompose")
    seconds = time.perf_counter() - started
    if as_json:
        say_json({**summary_of(document, [job.target]), "seconds": round(seconds, 3)})
    else:
        show_summary(document, [job.target], seconds)


def _made(job: Job, asked: dict[str, Any], model: Model | None, what: str) -> GeneratedDocument:
    from multiplane.engine.decompose import decompose as take_apart

    with progress_shown(what, None) as progress:
        document = take_apart(job.source, model=model, progress=progress, **asked)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    document.save(job.target)
    return document


def _several(jobs: Sequence[Job], asked: dict[str, Any], resume: bool, as_json: bool) -> None:
    """One after the other; a photograph that fails costs itself only.

    Raises at the first whatever would hit every one of them: wrong options, a missing package."""
    from multiplane.engine import load
    from multiplane.engine.decompose import Decomposition, NoSubject

    Decomposition(**asked)
    model = load("cutout")
    pictures: list[dict[str, Any]] = []
    began = time.perf_counter()
    for number, job in enumerate(jobs, start=1):
        row: dict[str, Any] = {"source": str(job.source), "path": str(job.target)}
        started = time.perf_counter()
        try:
            if resume and job.target.exists():
                row["status"] = "skipped"
            else:
                document = _made(job, asked, model, f"decompose {number} of {len(jobs)}")
                row.update(summary_of(document, [job.target]), status="done")
        except NoSubject as reason:
            row.update(status="no subject", error=str(reason))
        except (OSError, ValueError, MemoryError) as error:
            row.update(status="failed", error=str(error))
        row["seconds"] = round(time.perf_counter() - started, 3)
        pictures.append(row)
        if not as_json:
            _say_row(row)
    counts = dict.fromkeys(("done", "skipped", "no subject", "failed"), 0)
    for row in pictures:
        counts[row["status"]] += 1
    seconds = round(time.perf_counter() - began, 3)
    if as_json:
        say_json({"seconds": seconds, "counts": counts, "pictures": pictures})
    else:
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        say(f"{len(jobs)} photographs in {seconds:.1f} s: {told}")
    if counts["failed"] or counts["no subject"]:
        raise typer.Exit(FAILED)


def _say_row(row: dict[str, Any]) -> None:
    if row["status"] == "done":
        layers = ", ".join(layer["name"] for layer in row["layers"])
        say(f"{row['path']}  ({layers}; {row['seconds']:.1f} s)")
    elif row["status"] == "skipped":
        say(f"{row['path']} is already there")
    else:
        error: str = row["error"]
        if not error.startswith(row["source"]):
            error = f"{row['source']}: {error}"
        sys.stderr.write(f"multiplane: {plain_text(error)}\n")
