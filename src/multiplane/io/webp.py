"""Animated WebP: small previews for the web. Lossless where anything is seen, 8 bits.

Colour under alpha 0 is not kept: the animation encoder clears it. Times are whole milliseconds, so
the exact rate is kept in the XMP beside provenance. Written through PyAV, read by Pillow (FFmpeg
decodes no animated WebP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import WebPImagePlugin

from multiplane.core.clip import MAX_RATE
from multiplane.core.document import Pixels
from multiplane.io import video, xmp
from multiplane.io.atomic import replacing
from multiplane.io.errors import CapabilityError, bad_file, baked, decoding
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.moving import FORMAT, MovingPicture, Plan, Sink, counted, facts_of, facts_text

MAX_SIDE = 16383
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10  # in the flags of VP8X

_CODEC = video.Codec(
    encoder="libwebp_anim",
    container="webp",
    pixel_formats={"uint8": "bgra"},
    options={"lossless": "1", "compression_level": "2", "quality": "50"},  # effort, not loss
    container_options={"loop": "0"},
)


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 frames. Raises CapabilityError for a side above 16383."""
    if max(plan.size) > MAX_SIDE:
        raise CapabilityError(
            f"{path}: WebP is at most {MAX_SIDE} pixels a side and the clip is {plan.size[0]} x "
            f"{plan.size[1]}: resize it, or write .apng or .mkv"
        )
    with replacing(path) as temporary:
        with video.writing(temporary, plan, _CODEC) as sink:
            yield sink
        _append_xmp(temporary, plan.size, xmp.wrap(facts_text(plan)))


def _append_xmp(path: Path, size: tuple[int, int], packet: bytes) -> None:
    """Put an XMP chunk at the end of a WebP file, and say so in its header (WebP container
    specification); the encoder writes a single frame without that header."""
    with path.open("r+b") as file:
        head = file.read(30)
        if head[12:16] == b"VP8X":
            file.seek(20)
            file.write(bytes([head[20] | _HAS_XMP]))
        else:
            width, height = (struct.pack("<I", side - 1)[:3] for side in size)
            file.seek(12)
            picture = file.read()
            file.seek(12)
            flags = bytes([_HAS_XMP | _HAS_ALPHA, 0, 0, 0])
            file.write(_chunk(b"VP8X", flags + width + height) + picture)
        file.seek(0, 2)
        file.write(_chunk(b"XMP ", packet))
        end = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", end - 8))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def is_animated(path: Path) -> bool:
    """Whether a WebP file holds more than one picture, or a clip of one that is ours."""
    try:
        with WebPImagePlugin.WebPImageFile(path) as image:
            return image.n_frames > 1 or FORMAT.encode() in image.info.get("xmp", b"")
    except (OSError, SyntaxError, ValueError):
        return False


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> MovingPicture:
    """An animated WebP. One whose frames are shown for different times is played at their mean
    rate, with a BakedWarning. Raises FileFormatError when it is damaged or cut short."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with decoding(path, "WebP"), WebPImagePlugin.WebPImageFile(path) as image:
        budget = Budget(path, limits)
        budget.picture(image.size, 4, "the canvas")
        size, frames = image.size, image.n_frames
        packet = image.info.get("xmp")
    text = None
    if isinstance(packet, bytes):
        try:
            text = xmp.unwrap(packet)
        except ValueError as error:
            baked(f"{path}: its multiplane metadata is damaged and left out ({error})")
    facts = facts_of(text, path)
    if facts and facts["frames"] not in (None, frames):
        raise bad_file(path, f"says {facts['frames']} frames and holds {frames}")
    return MovingPicture(
        codec="webp",
        size=size,
        fps=Fraction(facts["fps"]) if facts else _rate(path),
        dtype=np.dtype(np.uint8),
        has_alpha=True,
        open=lambda start: counted(_decoded(path, start), start, frames, path),
        frames=frames,
        facts=facts,
    )


def _decoded(path: Path, start: int) -> Iterator[Pixels]:
    with decoding(path, "WebP"):
        image = WebPImagePlugin.WebPImageFile(path)
    with image:
        for number in range(start, image.n_frames):
            with decoding(path, f"frame {number} of the WebP"):
                image.seek(number)
                pixels = np.array(image.convert("RGBA"))
            yield pixels


def _rate(path: Path) -> Fraction:
    """Frames a second from the times of the frames, which are whole milliseconds."""
    with decoding(path, "WebP"), WebPImagePlugin.WebPImageFile(path) as image:
        durations: list[int] = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            durations.append(int(image.info.get("duration", 0)))
    total = sum(durations)
    if total <= 0:
        raise bad_file(path, "does not say how long its frames are shown")
    if max(durations) - min(durations) > 1:
        baked(
            f"{path}: its frames are shown for {min(durations)} to {max(durations)} ms; together "
            f"they play at {1000 * len(durations) / total:.3f} a second"
        )
    rate = Fraction(1000 * len(durations), total)
    slack = rate * rate / 1000 / len(durations)  # what a millisecond in all makes of it
    whole = Fraction(round(rate))
    return min(whole if whole and abs(rate - whole) <= slack else rate, Fraction(MAX_RATE))
