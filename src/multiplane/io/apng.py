"""Animated PNG: lossless, 8 or 16 bits, played by every browser.

Written by this module: each frame is the part that changed since the last, so that all of it comes
back exactly, colour under alpha 0 too. Read with every way of disposing and blending that the
specification (PNG, third edition, section 11.3.6) has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from multiplane.core.clip import MAX_RATE
from multiplane.core.composite import over
from multiplane.core.document import Pixels
from multiplane.core.pixels import to_dtype
from multiplane.io import png
from multiplane.io.atomic import replacing
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.image import decode
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.moving import (
    KEY,
    MovingPicture,
    Plan,
    Sink,
    counted,
    facts_of,
    facts_text,
    in_depth,
)

_KEPT = (b"PLTE", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT")  # decoding needs these
_NONE, _BACKGROUND, _PREVIOUS = 0, 1, 2  # how a frame is disposed of
_SOURCE, _OVER = 0, 1  # how it is laid on the canvas


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 or uint16 frames."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = _Writer(file, plan)
        yield writer.add
        writer.finish()


class _Writer:
    def __init__(self, file: BinaryIO, plan: Plan):
        self.file = file
        width, height = plan.size
        header = struct.pack(">IIBBBBB", width, height, 8 * plan.dtype.itemsize, 6, 0, 0, 0)
        file.write(png.SIGNATURE + png.chunk(b"IHDR", header) + png.chunk(b"sRGB", b"\x01"))
        file.write(png.text_chunk(KEY, facts_text(plan)))
        self.control_at = file.tell()
        file.write(png.chunk(b"acTL", bytes(8)))
        delay = (1 / plan.fps).limit_denominator(65535)
        self.delay = struct.pack(">HH", min(delay.numerator, 65535), delay.denominator)
        self.count = self.sequence = 0
        self.before: Pixels | None = None

    def add(self, pixels: Pixels) -> None:
        left, top, right, bottom = _changed(self.before, pixels)
        place = struct.pack(">IIII", right - left, bottom - top, left, top)
        self._numbered(b"fcTL", place + self.delay + bytes([_NONE, _SOURCE]))
        data = png.image_data(np.ascontiguousarray(pixels[top:bottom, left:right]))
        if self.count == 0:
            self.file.write(png.chunk(b"IDAT", data))
        else:
            self._numbered(b"fdAT", data)
        self.before = pixels
        self.count += 1

    def _numbered(self, name: bytes, body: bytes) -> None:
        self.file.write(png.chunk(name, struct.pack(">I", self.sequence) + body))
        self.sequence += 1

    def finish(self) -> None:
        self.file.write(png.chunk(b"IEND", b""))
        self.file.seek(self.control_at)
        self.file.write(png.chunk(b"acTL", struct.pack(">II", self.count, 0)))  # played for ever


def _changed(before: Pixels | None, now: Pixels) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) that holds all that differs; one pixel where nothing does."""
    if before is None:
        return 0, 0, now.shape[1], now.shape[0]
    differs = (before != now).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def is_animated(path: Path) -> bool:
    """Whether a PNG says that it is an animation (an acTL chunk before the picture)."""
    try:
        with path.open("rb") as file:
            if file.read(8) != png.SIGNATURE:
                return False
            for name, _ in _chunks(file, path):
                if name in (b"acTL", b"IDAT"):
                    return name == b"acTL"
    except (OSError, ValueError):
        return False
    return False


@dataclass(frozen=True)
class _Frame:
    """Where one frame lies on the canvas, how it is laid there, and where its data are."""

    left: int
    top: int
    width: int
    height: int
    delay: Fraction
    dispose: int
    blend: int
    parts: list[tuple[int, int]] = field(default_factory=list)  # (offset, bytes) in the file


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> MovingPicture:
    """An animated PNG. One whose frames are shown for different times is played at their mean
    rate, with a BakedWarning. Raises FileFormatError when it is damaged or cut short."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as file, decoding(path, "APNG"):
        if file.read(8) != png.SIGNATURE:
            raise bad_file(path, "is no PNG inside", "give it its true suffix")
        index = _Index(file, path)
    size = (index.width, index.height)
    Budget(path, limits).picture(size, 4 * index.bits // 8, "the canvas")
    facts = facts_of(index.text, path)
    dtype = np.dtype(np.uint16 if index.bits == 16 else np.uint8)
    frames = index.frames
    fps = Fraction(facts["fps"]) if facts else _rate(path, frames)
    return MovingPicture(
        codec="apng",
        size=size,
        fps=fps,
        dtype=dtype,
        has_alpha=True,
        open=lambda start: counted(_drawn(path, index, dtype, start), start, len(frames), path),
        frames=len(frames),
        facts=facts,
    )


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, int]]:
    """(name, length) of every chunk, the file standing at its body."""
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise bad_file(path, "is cut short: a PNG without an end")
        length, name = struct.unpack(">I4s", head)
        at = file.tell()
        yield name, length
        file.seek(at + length + 4)
        if name == b"IEND":
            return


class _Index:
    """What lies where in the file, without its pixels."""

    def __init__(self, file: BinaryIO, path: Path):
        self.text: str | None = None
        self.kept: list[tuple[bytes, bytes]] = []
        self.frames: list[_Frame] = []
        declared = 0
        for name, length in _chunks(file, path):
            at = file.tell()
            if name in (b"IDAT", b"fdAT"):
                if self.frames:  # else a still for programs that know no animation
                    skipped = 4 if name == b"fdAT" else 0
                    self.frames[-1].parts.append((at + skipped, length - skipped))
                continue
            body = _body(file, name, length, path)
            if name == b"IHDR":
                self.header = body
                self.width, self.height, self.bits = struct.unpack(">IIB", body[:9])
            elif name == b"acTL":
                declared = struct.unpack(">I", body[:4])[0]
            elif name == b"fcTL":
                self.frames.append(self._frame(body, path))
            elif name == b"iTXt" and body.startswith(KEY.encode() + b"\0"):
                self.text = body[len(KEY) + 5 :].decode("utf-8", "replace")
            elif name in _KEPT:
                self.kept.append((name, body))
        if declared == 0:
            raise bad_file(path, "is a PNG of one picture, not an animation", "read it as a still")
        if declared != len(self.frames) or not all(frame.parts for frame in self.frames):
            raise bad_file(path, f"says {declared} frames and holds {len(self.frames)}")

    def _frame(self, body: bytes, path: Path) -> _Frame:
        _, width, height, left, top, num, den, dispose, blend = struct.unpack(">5I2H2B", body)
        inside = left + width <= self.width and top + height <= self.height
        if not (inside and width and height and dispose <= _PREVIOUS and blend <= _OVER):
            raise bad_file(path, f"frame {len(self.frames)} does not lie on the canvas")
        delay = Fraction(num or 1, den or 100)
        return _Frame(left, top, width, height, delay, dispose, blend)


def _body(file: BinaryIO, name: bytes, length: int, path: Path) -> bytes:
    if length > 1 << 28:
        raise bad_file(path, f"has a chunk {name!r} of {length:,} bytes")
    body, checksum = file.read(length), file.read(4)
    if struct.pack(">I", zlib.crc32(name + body)) != checksum:
        raise bad_file(path, f"its chunk {name.decode('latin-1')!r} is damaged")
    return body


def _rate(path: Path, frames: list[_Frame]) -> Fraction:
    delays = [frame.delay for frame in frames]
    rate = min(len(delays) / sum(delays, Fraction(0)), Fraction(MAX_RATE))
    if len(set(delays)) > 1:
        baked(
            f"{path}: its frames are shown for different times; together they play at "
            f"{float(rate):.3f} a second"
        )
    return rate


def _drawn(path: Path, index: _Index, dtype: np.dtype, start: int) -> Iterator[Pixels]:
    """The canvas after each frame, from number `start` on."""
    canvas = np.zeros((index.height, index.width, 4), dtype)
    with path.open("rb") as file:
        for number, frame in enumerate(index.frames):
            with decoding(path, f"frame {number}"):
                part = in_depth(_decoded(file, index, frame, path), dtype)
            window = (
                slice(frame.top, frame.top + frame.height),
                slice(frame.left, frame.left + frame.width),
            )
            before = canvas[window].copy() if frame.dispose == _PREVIOUS and number else None
            if frame.blend == _OVER:
                canvas[window] = to_dtype(over(part, canvas[window]), dtype)
            else:
                canvas[window] = part
            if number >= start:
                yield canvas.copy()
            if frame.dispose == _PREVIOUS and before is not None:
                canvas[window] = before
            elif frame.dispose != _NONE:
                canvas[window] = 0


def _decoded(file: BinaryIO, index: _Index, frame: _Frame, path: Path) -> Pixels:
    """The pixels of one frame alone: its data as a PNG of its own."""
    data = bytearray()
    for at, length in frame.parts:
        file.seek(at)
        data += file.read(length)
    header = struct.pack(">II", frame.width, frame.height) + index.header[8:]
    packed = png.SIGNATURE + png.chunk(b"IHDR", header)
    packed += b"".join(png.chunk(name, body) for name, body in index.kept)
    packed += png.chunk(b"IDAT", bytes(data)) + png.chunk(b"IEND", b"")
    return decode(packed, Budget(path), what="the frame")
