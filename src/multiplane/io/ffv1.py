"""FFV1 in Matroska: the exact master. Every value comes back, colour under alpha 0 too, 8 or 16
bits a channel; every frame stands alone and carries checksums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multiplane.io import video
from multiplane.io.moving import Plan, Sink

CODEC = video.Codec(
    encoder="ffv1",
    container="matroska",
    pixel_formats={"uint8": "bgra", "uint16": "rgba64le"},
    options={"level": "3", "g": "1", "slicecrc": "1", "coder": "1"},
)


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 or uint16 frames."""
    with video.writing(path, plan, CODEC) as sink:
        yield sink
