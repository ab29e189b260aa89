"""`multiplane inspect` and `convert`: files alone, no model runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from multiplane.apps.cli.options import AsJson
from multiplane.apps.cli.terminal import bytes_of, say, say_json, text_of_bytes
from multiplane.core.request import RequestError

WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # what convert takes for weights


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File or planes folder.")],
    as_json: AsJson = False,
) -> None:
    """Say what is in a file: its layers, and who made it. --json adds the whole request."""
    from multiplane.io.listing import describe

    found = describe(file)
    if as_json:
        say_json(found)
        return
    width, height = found["size"]
    say(f"{found['file']}: {found['format']}, {width} x {height}, {text_of_bytes(found['bytes'])}")
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
        Path, typer.Argument(metavar="IN", help="File or planes folder; or a file of weights.")
    ],
    target: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="File to write, by its suffix.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="The same, as an option.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a layered file in another format, or a LayerDiffuse file as a standard LoRA. What the
    format cannot hold is said."""
    if (target is None) == (out is None):
        raise RequestError("convert takes one file to write: multiplane convert IN -o OUT")
    written = _convert(source, target or out or Path(), as_json)
    if as_json:
        files = [{"path": str(path), "bytes": bytes_of(path)} for path in written]
        say_json(files[0] if len(files) == 1 else {"files": files})
    else:
        for path in written:
            say(f"{path}  ({text_of_bytes(bytes_of(path))})")


def _convert(source: Path, target: Path, quiet: bool) -> tuple[Path, ...]:
    """The files that were written, by what the name of `source` says it is."""
    if source.suffix.lower() not in WEIGHTS:
        from multiplane.io.registry import check_writable, read, write

        check_writable(target)
        write(read(source), target)
        return (target,)
    from multiplane.weights.layerdiffuse.converting import convert_weights

    done = convert_weights(source, target)
    if not quiet:
        for note in done.notes:
            say(f"note: {note}")
    return done.files
