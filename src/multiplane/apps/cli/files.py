"""`multiplane inspect` and `convert`: files alone, no model runs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from multiplane.apps.cli.converting import Conversion
from multiplane.apps.cli.options import AsJson
from multiplane.apps.cli.terminal import bytes_of, say, say_json, text_of_bytes
from multiplane.core.request import RequestError

WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # what convert takes for weights


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File, planes folder, or clip of any kind.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what is in a file: its layers (of a clip: those of its first frame), and who made it.
    --json adds the whole request."""
    from multiplane.io.listing import describe

    found = describe(file)
    if as_json:
        say_json(found)
        return
    width, height = found["size"]
    kind = found["format"] if "codec" not in found else f"{found['format']} ({found['codec']})"
    say(f"{found['file']}: {kind}, {width} x {height}, {text_of_bytes(found['bytes'])}")
    if "fps" in found:
        say(_length_of(found))
    for row in reversed(found["layers"]):  # as painters read them, topmost first
        say(_line_of(row))
    provenance = found["provenance"]
    if provenance is not None:
        by = " ".join(part for part in (provenance["model"], provenance["version"]) if part)
        task = provenance["report"].get("task")
        doing = f": {task}" if isinstance(task, str) else ""
        say(f"made by {by or 'an unknown model'}, seed {provenance['seed']}{doing}")
    for note in found["notes"]:
        say(f"note: {note}")


def _length_of(found: dict[str, Any]) -> str:
    """How long a clip is, for a reader."""
    rate = f"{float(Fraction(found['fps'])):.3f}".rstrip("0").rstrip(".")
    if found["frames"] is None:
        return f"{rate} frames a second, of unknown length"
    return f"{found['frames']} frames at {rate} a second, {found['seconds']:.2f} s"


def _line_of(row: dict[str, Any]) -> str:
    """One layer or group: name, role, place, and what is not as usual."""
    indent = "  " * len(row["path"])
    if row["kind"] == "group":
        return f"{indent}{row['name']}/{_unusual(row, 'pass-through')}"
    (width, height), (x, y) = row["size"], row["offset"]
    role = f" ({row['role']})" if row["role"] else ""
    place = f"{width} x {height} at {x}, {y}, covers {row['coverage']:.0%}"
    return f"{indent}{row['name']}{role}: {place}{_unusual(row, 'normal')}"


def _unusual(row: dict[str, Any], usual_blend: str) -> str:
    facts = [
        row["blend"] if row["blend"] != usual_blend else "",
        f"opacity {row['opacity']:.0%}" if row["opacity"] < 1 else "",
        "" if row["visible"] else "hidden",
        "clipped" if row["clip"] else "",
        "mask" if row["mask"] else "",
    ]
    return "".join(f", {fact}" for fact in facts if fact)


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="File or folder, still or clip; or a file of weights."),
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="File to write, by its suffix. Clips: .mov (ProRes 4444), .mkv (FFV1), .webm (VP9 "
            "with alpha), .apng, .webp, .mp4 (flat), frames/%04d.png, or a folder of layers.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="The same, as an option.")
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(metavar="COLOUR", help="Flatten over this colour, such as white or #204060."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(metavar="N", help="Of a clip, this frame alone (from 0), a still.")
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Play a clip at this rate: 24, 24000/1001, 29.97."),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help="Of the layers in a folder: ffv1 (if out), png, prores, vp9, apng, webp."
        ),
    ] = None,
    crf: Annotated[
        int | None, typer.Option(min=0, max=63, help="Quality of VP9 and H.264; smaller is better.")
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What a LayerFlow checkpoint was released as."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a layered file or clip in another format, a LayerDiffuse file as a standard LoRA, or a
    LayerFlow checkpoint as a folder for diffusers. What the format cannot hold is said.

    A clip of several layers becomes one moving picture, except in a folder, which holds each layer
    as a file of its own."""
    if (target is None) == (out is None):
        raise RequestError("convert takes one file to write: multiplane convert IN -o OUT")
    wanted = Conversion(over, frame, fps, codec, crf)
    written = _convert(source, target or out or Path(), wanted, release, as_json)
    if as_json:
        files = [{"path": str(path), "bytes": bytes_of(path)} for path in written]
        say_json(files[0] if len(files) == 1 else {"files": files})
    else:
        for path in written:
            say(f"{path}  ({text_of_bytes(bytes_of(path))})")


def _convert(
    source: Path, target: Path, wanted: Conversion, release: str | None, quiet: bool
) -> tuple[Path, ...]:
    """The files that were written, by what the name of `source` says it is."""
    from multiplane.weights.layerflow.released import is_checkpoint

    layered_video = release is not None or is_checkpoint(source)
    if not layered_video and source.suffix.lower() not in WEIGHTS:
        wanted.run(source, target)
        return (target,)
    if wanted != Conversion():
        raise RequestError(
            f"{source} is a file of weights: --over, --frame, --fps, --codec and --crf are for "
            "pictures and clips"
        )
    if layered_video:
        from multiplane.weights.layerflow.converting import convert_checkpoint

        done = convert_checkpoint(source, target, release)
    else:
        from multiplane.weights.layerdiffuse.converting import convert_weights

        done = convert_weights(source, target)
    if not quiet:
        for note in done.notes:
            say(f"note: {note}")
    return done.files
