"""A PNG a frame, numbered: the exact master every program reads.

Named by a pattern: `frames/%04d.png`, or `####` for the number. Our first frame keeps rate, layer
and provenance in its text chunk. A folder of numbered PNGs is read as well; one of another program
does not say its rate.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import PngImagePlugin

from multiplane.core.clip import Rate, rate_of
from multiplane.core.document import Pixels
from multiplane.io import png
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.image import decode
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.moving import KEY, MovingPicture, Plan, Sink, facts_of, facts_text

ASSUMED_RATE = 24

_PLACE = re.compile(r"%0?(\d*)d|#+")
_NUMBERED = re.compile(r"(.*?)(\d+)\.png", re.IGNORECASE)


@dataclass(frozen=True)
class Pattern:
    """`prefix` + number of at least `digits` digits + `suffix`, in `folder`."""

    folder: Path
    prefix: str
    digits: int
    suffix: str

    @classmethod
    def of(cls, path: Path) -> Pattern | None:
        """The pattern a path spells, or None for a path without one."""
        found = _PLACE.findall(path.name)
        if len(found) != 1 or path.suffix.lower() != ".png":
            return None
        place = _PLACE.search(path.name)
        assert place is not None
        digits = int(place[1] or 1) if place[0].startswith("%") else len(place[0])
        name = path.name
        return cls(path.parent, name[: place.start()], digits, name[place.end() :])

    def path(self, number: int) -> Path:
        return self.folder / f"{self.prefix}{number:0{self.digits}d}{self.suffix}"

    def present(self) -> dict[int, Path]:
        """The files there are, by number, in order."""
        if not self.folder.is_dir():
            return {}
        name = re.compile(re.escape(self.prefix) + r"(\d+)" + re.escape(self.suffix))
        found = {
            int(match[1]): file
            for file in self.folder.iterdir()
            if (match := name.fullmatch(file.name)) and file.is_file()
        }
        return dict(sorted(found.items()))


def is_sequence(path: Path) -> bool:
    """Whether a path is a pattern, or a folder that holds numbered PNGs."""
    if Pattern.of(path) is not None:
        return True
    return path.is_dir() and any(_NUMBERED.fullmatch(file.name) for file in path.iterdir())


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 or uint16 frames, numbered from 0. path: a pattern.

    The files appear when all are written; an older sequence of that name is replaced."""
    pattern = Pattern.of(path)
    if pattern is None:
        raise ValueError(f"{path} has no place for the number: name it such as frames/%04d.png")
    folder = pattern.folder
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    beside = Pattern(temporary, pattern.prefix, pattern.digits, pattern.suffix)
    count = 0

    def add(pixels: Pixels) -> None:
        nonlocal count
        text = {KEY: facts_text(plan)} if count == 0 else None
        beside.path(count).write_bytes(png.encode(pixels, text=text))
        count += 1

    try:
        yield add
        stale = pattern.present()
        for number in range(count):
            beside.path(number).replace(pattern.path(number))
            stale.pop(number, None)
        for file in stale.values():
            file.unlink()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(path: Path, limits: Limits = DEFAULT_LIMITS, fps: Rate | None = None) -> MovingPicture:
    """A numbered sequence; path: a pattern, or a folder that holds one.

    fps: for a sequence that does not say its rate; without it 24 is taken, with a BakedWarning.
    Raises FileNotFoundError, and FileFormatError for a number that is missing and for frames of
    several sizes or depths."""
    pattern = Pattern.of(path) or _only_pattern(path)
    files = pattern.present()
    if not files:
        raise FileNotFoundError(f"{path} does not exist: no file has such a name")
    numbers = list(files)
    gap = next((n for n in range(numbers[0], numbers[-1]) if n not in files), None)
    if gap is not None:
        raise bad_file(pattern.path(gap), "is missing from its sequence", "render it again")
    paths = list(files.values())
    first = _pixels(paths[0], limits)
    facts = facts_of(_text(paths[0]), paths[0])
    if facts and facts["frames"] not in (None, len(paths)):
        raise bad_file(
            path, f"is a sequence of {facts['frames']} frames and {len(paths)} are there"
        )
    if not facts and fps is None:
        baked(f"{path}: a PNG sequence does not say its rate; {ASSUMED_RATE} frames a second taken")
    size = (first.shape[1], first.shape[0])

    def frames(start: int) -> Iterator[Pixels]:
        for file in paths[start:]:
            pixels = _pixels(file, limits)
            if pixels.shape != first.shape or pixels.dtype != first.dtype:
                raise bad_file(
                    file,
                    f"is {pixels.shape[1]} x {pixels.shape[0]} {pixels.dtype}, the first frame "
                    f"{size[0]} x {size[1]} {first.dtype}",
                    "give all frames one size and depth",
                )
            yield pixels

    rate = facts["fps"] if facts else ASSUMED_RATE
    return MovingPicture(
        codec="png",
        size=size,
        fps=Fraction(rate) if fps is None else rate_of(fps),
        dtype=np.dtype(first.dtype),
        has_alpha=True,
        open=frames,
        frames=len(paths),
        facts=facts,
    )


def _only_pattern(path: Path) -> Pattern:
    """The pattern of the numbered PNGs in a folder, when they are one sequence."""
    names = [file.name for file in path.iterdir()] if path.is_dir() else []
    matches = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    prefixes = sorted({match[1] for match in matches})
    if len(prefixes) > 1:
        raise bad_file(
            path,
            f"holds several sequences ({', '.join(repr(p) for p in prefixes[:6])})",
            f"name one: {path / prefixes[0]}%04d.png",
        )
    if not prefixes:
        raise FileNotFoundError(f"{path} does not exist, or holds no numbered PNGs")
    shortest = min(len(match[2]) for match in matches)
    return Pattern(path, prefixes[0], shortest, matches[0][0][-4:])


def _pixels(file: Path, limits: Limits) -> Pixels:
    return decode(file.read_bytes(), Budget(file, limits))


def _text(file: Path) -> str | None:
    with decoding(file, "PNG"), PngImagePlugin.PngImageFile(file) as image:
        return image.info.get(KEY)
