"""FFV1 in Matroska: the exact master. Every value comes back, colour under alpha 0 too, 8 or 16
bits a channel; every frame stands alone and carries checksums."""

from __future__ import annotations

import zlib
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

_TRAILER = 8  # of a slice: its size in 3 bytes, a status, a CRC-32 in 4 (RFC 9043, section 4.9)
_BITS_TURNED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def check(packet: bytes) -> None:
    """Raises ValueError for a frame of which a slice does not match its checksum.

    libavcodec finds such slices too, and puts the picture before in their place without an error.
    The CRC (polynomial 0x04C11DB7, most significant bit first, from 0) over a slice and its own
    checksum is 0; with the bits of every byte turned round it is the one of zlib."""
    end = len(packet)
    while end > 0:
        size = int.from_bytes(packet[max(0, end - _TRAILER) : end - _TRAILER + 3], "big")
        start = end - _TRAILER - size
        if start < 0:
            raise ValueError("a frame is cut short")
        turned = packet[start:end].translate(_BITS_TURNED)
        if zlib.crc32(turned, 0xFFFFFFFF) != 0xFFFFFFFF:
            raise ValueError("a frame does not match its checksum")
        end = start


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 or uint16 frames."""
    with video.writing(path, plan, CODEC) as sink:
        yield sink
