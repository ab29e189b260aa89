"""VP9 in WebM with alpha: what browsers play. Lossy, 8 bits, colour at half resolution.

The alpha is a second VP9 stream beside the colour (in BlockAdditional of each block), the track
says `alpha_mode` 1. It is read with libvpx: the decoder FFmpeg picks by itself ignores the second
stream and hands out opaque pictures without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.document import Pixels
from multiplane.io import video
from multiplane.io.moving import Plan, Sink

CRF = 10


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of uint8 frames. Colour under clear pixels is not kept: it becomes that of the visible
    pixels next to it, so that nothing foreign bleeds over the edge."""
    codec = video.Codec(
        encoder="libvpx-vp9",
        container="webm",
        pixel_formats={"uint8": "yuva420p"},
        options={
            "crf": str(CRF if plan.crf is None else plan.crf),
            "b": "0",
            "auto-alt-ref": "0",  # the alpha stream cannot hold hidden frames
            "row-mt": "1",
            "cpu-used": "4",
        },
        tags={"alpha_mode": "1"},
    )
    with video.writing(path, plan, codec) as sink:
        yield lambda pixels: sink(bled(pixels))


def bled(pixels: Pixels, rings: int = 4) -> Pixels:
    """(H, W, 4) with colour spread `rings` pixels from visible pixels into clear ones, and the mean
    visible colour beyond; alpha as it is."""
    clear = pixels[..., 3] == 0
    if not clear.any() or clear.all():
        return pixels
    result = np.array(pixels)
    colour = result[..., :3]
    colour[clear] = colour[~clear].mean(axis=0).round().astype(pixels.dtype)
    known = ~clear
    for _ in range(rings):
        grown = known.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            beside = _shifted(known, axis, step) & ~grown
            colour[beside] = _shifted(colour, axis, step)[beside]
            grown |= beside
        known = grown
    return result


def _shifted(array: np.ndarray, axis: int, step: int) -> np.ndarray:
    """`array` moved by one along an axis; what comes in at the border is zero."""
    moved = np.zeros_like(array)
    to, source = [slice(None)] * array.ndim, [slice(None)] * array.ndim
    to[axis] = slice(1, None) if step > 0 else slice(None, -1)
    source[axis] = slice(None, -1) if step > 0 else slice(1, None)
    moved[tuple(to)] = array[tuple(source)]
    return moved


def decoded_with_alpha(av: Any, container: Any, stream: Any, library: str) -> Iterator[Any]:
    """The frames of a VP8 or VP9 stream with its alpha. library: "libvpx" or "libvpx-vp9"."""
    decoder = av.CodecContext.create(library, "r")
    if stream.codec_context.extradata:
        decoder.extradata = stream.codec_context.extradata
    for packet in container.demux(stream):
        if packet.size:
            yield from decoder.decode(packet)
    yield from decoder.decode(None)
