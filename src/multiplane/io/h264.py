"""H.264 in MP4: the flat delivery that plays everywhere. No alpha: frames must be opaque."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multiplane.core.document import Pixels
from multiplane.io import video
from multiplane.io.errors import CapabilityError
from multiplane.io.moving import Plan, Sink

CRF = 18


@contextmanager
def writing(path: Path, plan: Plan) -> Iterator[Sink]:
    """A sink of opaque uint8 frames of even width and height.

    Raises CapabilityError for other sizes and for see-through frames."""
    width, height = plan.size
    if width % 2 or height % 2:
        raise CapabilityError(
            f"{path}: H.264 takes even sizes and the clip is {width} x {height}: crop or resize it "
            "to an even size, or write .mov, .mkv or .webm"
        )
    codec = video.Codec(
        encoder="libx264",
        container="mp4",
        pixel_formats={"uint8": "yuv420p"},
        options={"crf": str(CRF if plan.crf is None else plan.crf), "preset": "medium"},
        container_options={"movflags": "use_metadata_tags+faststart"},
    )
    with video.writing(path, plan, codec) as sink:

        def opaque(pixels: Pixels) -> None:
            if pixels[..., 3].min() < 255:
                raise CapabilityError(
                    f"{path}: MP4 holds no alpha and the clip is see-through: lay it over a colour "
                    "(on the command line: --over), or write .mov, .mkv or .webm"
                )
            sink(pixels)

        yield opaque
