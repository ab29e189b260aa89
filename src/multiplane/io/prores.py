"""ProRes 4444 in QuickTime: what editing programs take. Straight alpha, full colour resolution.

Lossy, though by no more than one step of 8 bits. The encoder works at 10 bits a channel with alpha
coded losslessly; decoders give 12 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multiplane.io import video
from multiplane.io.moving import Plan, Sink

CODEC = video.Codec(
    encoder="prores_ks",
    container="mov",
    pixel_formats={"uint8": "yuva444p10le", "uint16": "yuva444p10le"},
    options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    container_options={"movflags": "use_metadata_tags"},  # else the provenance is dropped
)


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 or uint16 frames."""
    with video.writing(path, plan, CODEC) as sink:
        yield sink
