"""The options several commands share, and how their values read.

A text value is a prompt, `@FILE` the picture in that file; `PLANE=VALUE` says which plane is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from multiplane.core.request import PLANE_KINDS, RequestError

T = TypeVar("T")

_PLANE = re.compile(r"(foreground(?::\d+)?|background|composite)=(.*)", re.DOTALL)
_SIZE = re.compile(r"(\d+)(?:[xX×](\d+))?")

Output = Annotated[
    list[Path],
    typer.Option(
        "--output",
        "-o",
        help="File to write; the suffix says the format (.psd, .ora, .png, none: a folder of "
        "planes; of a clip .mov, .mkv, .webm, .apng, .webp, frames/%04d.png, none: a folder of "
        "layers). May be given several times.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Family of models; `multiplane models` lists them.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Weights to use in place of the family's own.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Same seed, same picture. Drawn when left out.")
]
Steps = Annotated[
    int | None, typer.Option("--steps", help="Sampling steps, 1 to 1000. The family's own if out.")
]
Guidance = Annotated[
    float | None, typer.Option("--guidance", help="How closely to follow the prompts, 0 to 100.")
]
Silhouette = Annotated[
    list[str] | None,
    typer.Option(
        "--silhouette",
        metavar="[PLANE=]@FILE",
        help="Shape the foreground shall have: white (or opaque) where it is.",
    ),
]
Edges = Annotated[
    list[str] | None,
    typer.Option(
        "--edges", metavar="[PLANE=]@FILE", help="Line sketch to follow: white lines on black."
    ),
]
Extras = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="What one family takes beyond the rest, such as negative_prompt=blurry.",
    ),
]
Preview = Annotated[
    Path | None, typer.Option("--preview", help="Picture file to keep showing the work so far.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]


def file_of(text: str) -> Path:
    """The path in `@FILE` or `FILE`, a sequence such as frames/%04d.png among them. Raises
    RequestError when nothing is there."""
    from multiplane.io.png_sequence import Pattern

    path = Path(text.removeprefix("@"))
    pattern = Pattern.of(path)
    if not path.exists() and not (pattern is not None and pattern.present()):
        raise RequestError(f"there is no file {str(path)!r}: check the name after the @")
    return path


def plane_value(text: str) -> str | Path:
    """`@FILE` as a path, anything else as a prompt; `@@` begins a prompt that begins with @."""
    if text.startswith("@@"):
        return text[1:]
    return file_of(text) if text.startswith("@") else text


def addressed(texts: list[str] | None, read: Callable[[str], T]) -> T | dict[str, T] | None:
    """`[PLANE=]VALUE` options: None for none, one bare value, or a mapping from plane to value."""
    if not texts:
        return None
    found: dict[str, T] = {}
    for text in texts:
        match = _PLANE.fullmatch(text)
        if match is None:
            if len(texts) > 1:
                raise RequestError(
                    f"{text[:60]!r} does not say its plane, and there are {len(texts)} such "
                    f"options: write PLANE=..., where PLANE is {', '.join(PLANE_KINDS)}"
                )
            return read(text)
        found[match[1]] = read(match[2])
    return found


def number_of(text: str) -> float:
    """A number. Raises RequestError for anything else."""
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"expected a number, got {text!r}") from None


def extras_of(texts: list[str] | None) -> dict[str, Any] | None:
    """`NAME=VALUE` options: numbers, true and false as such, anything else as text.

    Raises RequestError for one without a name, or a name said twice."""
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError(f"--option takes NAME=VALUE, got {text[:60]!r}")
        if name in found:
            raise RequestError(f"--option {name} is said twice")
        found[name] = _value(value)
    return found or None


def _value(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


def size_of(text: str | None) -> tuple[int, int] | None:
    """(width, height) of "WxH", or of "W" for a square. Raises RequestError for anything else."""
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise RequestError(f"size must be WIDTHxHEIGHT such as 128x128, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def only_given(**settings: Any) -> dict[str, Any]:
    """The settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}
