"""What the video formats share: containers opened, frames encoded and decoded, through PyAV.

Three things are done the same way everywhere, because each goes wrong silently otherwise. Frames
are converted on one thread: on several, swscale writes half values into alpha at the seams of its
slices when the width is no multiple of 16. YCbCr is BT.709, limited range, said in the file and
said again to the converter on reading. And VP8 and VP9 with alpha are decoded by libvpx
(`multiplane.io.vp9`), for the decoder that is picked by itself drops the alpha.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multiplane.core.document import Pixels
from multiplane.io.atomic import replacing
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.moving import KEY, MovingPicture, Plan, Sink, counted, facts_of, facts_text

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

SUFFIXES = (".mov", ".mkv", ".webm", ".mp4", ".m4v", ".avi")
BT709, LIMITED, FULL = 1, 1, 2  # as in H.273; FULL as libavutil counts ranges

# Every packet is a picture by itself, so that packets can be counted and entered anywhere.
_INTRA = frozenset({"prores", "ffv1", "png", "qtrle", "mjpeg", "rawvideo", "utvideo", "magicyuv"})
_HDR = (16, 18)  # transfer curves of H.273: PQ and HLG
_LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass(frozen=True)
class Codec:
    """How one format is encoded. pixel_formats: by dtype of the frames. tags: of the stream."""

    encoder: str
    container: str
    pixel_formats: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def load() -> Any:
    """PyAV. Raises ImportError with the command that installs it."""
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise ImportError(
            "video files need PyAV, which is not installed: pip install 'multiplane[video]'",
            name="av",
        ) from error


@contextmanager
def writing(path: Path, plan: Plan, codec: Codec) -> Iterator[Sink]:
    """A sink for frames (H, W, 4) of plan.dtype that become the video file `path`.

    Raises OSError for a disk that is full and the like, RuntimeError when the encoder gives up."""
    av = load()
    with replacing(path) as temporary:
        options = {"fflags": "bitexact", **codec.container_options}
        with av.open(str(temporary), "w", format=codec.container, options=options) as container:
            container.metadata[KEY] = facts_text(plan)
            encoder = _Encoder(av, container, plan, codec)
            yield encoder.add
            encoder.finish()


class _Encoder:
    def __init__(self, av: Any, container: Any, plan: Plan, codec: Codec):
        self.av, self.container, self.plan = av, container, plan
        self.pixel_format = codec.pixel_formats[plan.dtype.name]
        self.is_yuv = "yuv" in self.pixel_format
        self.reformatter = av.video.reformatter.VideoReformatter()
        self.stream = container.add_stream(codec.encoder, rate=plan.fps)
        self.stream.width, self.stream.height = plan.size
        self.stream.pix_fmt = self.pixel_format
        self.stream.options = dict(codec.options)
        for key, value in codec.tags.items():
            self.stream.metadata[key] = value
        self.context = self.stream.codec_context
        self.context.time_base = 1 / plan.fps
        if self.is_yuv:
            self.context.color_range = LIMITED
            self.context.colorspace = BT709
            self.context.color_primaries = BT709
            self.context.color_trc = BT709
        self.count = 0

    def add(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        if (width, height) != self.plan.size or pixels.dtype != self.plan.dtype:
            raise ValueError(f"planned {self.plan.size} {self.plan.dtype}, got {pixels.shape}")
        source = "rgba" if pixels.dtype == np.uint8 else "rgba64le"
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source)
        frame = _converted(self.reformatter, frame, self.pixel_format, to_yuv=self.is_yuv)
        frame.pts, frame.time_base = self.count, 1 / self.plan.fps
        self.count += 1
        for packet in self.stream.encode(frame):
            self.container.mux(packet)

    def finish(self) -> None:
        for packet in self.stream.encode():
            self.container.mux(packet)


def _converted(
    reformatter: VideoReformatter, frame: VideoFrame, pixel_format: str, to_yuv: bool
) -> VideoFrame:
    """`frame` as RGB in another layout, or as BT.709 limited range."""
    if frame.format.name == pixel_format:
        return frame
    if not to_yuv:
        return reformatter.reformat(frame, format=pixel_format, threads=1)
    return reformatter.reformat(
        frame, format=pixel_format, dst_colorspace=BT709, dst_color_range=LIMITED, threads=1
    )


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> MovingPicture:
    """The first video stream of a file. Its frames are decoded as they are asked for.

    Of a file of another program that holds pictures at uneven times every one is a frame, with a
    BakedWarning. Raises FileNotFoundError, and FileFormatError for what is no video, damaged, or
    past the limits; a file that is cut short may show only when its end is reached."""
    av = load()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with _opened(av, path) as (container, stream):
        facts = facts_of(_tag(container.metadata, KEY), path)
        size = _turned((stream.width, stream.height), _rotation(av, path, facts))
        Budget(path, limits).check_size(size, "the video")
        rate = Fraction(facts["fps"]) if facts else stream.average_rate or stream.base_rate
        if not rate:
            raise bad_file(path, "does not say how many frames a second it has")
        if not facts:
            _note_oddities(path, stream)
        has_alpha = _has_alpha(stream)
        depth = max((part.bits for part in stream.format.components), default=8)
        dtype = np.dtype(facts["dtype"] if facts else "uint16" if depth > 8 else "uint8")
        codec = stream.codec_context.codec.canonical_name
        is_intra = codec in _INTRA
        frames = facts.get("frames") or (stream.frames if is_intra and stream.frames else None)
    source = _Source(path, dtype, rate, has_alpha, bool(facts), can_seek=bool(facts) and is_intra)
    return MovingPicture(
        codec=codec,
        size=size,
        fps=Fraction(rate),
        dtype=dtype,
        has_alpha=has_alpha,
        open=lambda start: counted(source.frames(start), start, frames, path),
        frames=frames,
        facts=facts,
    )


@contextmanager
def _opened(av: Any, path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with decoding(path, "a video"):
        container = av.open(str(path))
    with container:
        if not container.streams.video:
            raise bad_file(path, "holds no pictures", "name a file with a video stream")
        yield container, container.streams.video[0]


def _tag(metadata: Mapping[str, str], key: str) -> str | None:
    """Matroska writes its keys in capitals."""
    return next((value for name, value in metadata.items() if name.lower() == key), None)


def _has_alpha(stream: VideoStream) -> bool:
    if stream.codec_context.codec.canonical_name in _LIBVPX:
        return _tag(stream.metadata, "alpha_mode") == "1"
    return any(part.is_alpha for part in stream.format.components)


def _note_oddities(path: Path, stream: VideoStream) -> None:
    average, base = stream.average_rate, stream.base_rate
    if average and base and abs(float(base / average) - 1.0) > 0.01:
        baked(
            f"{path}: its pictures come at uneven times; each is taken as one frame, and together "
            f"they play at {float(average):.3f} a second"
        )
    if stream.codec_context.color_trc in _HDR:
        baked(
            f"{path}: is HDR; its values are read as they are and look flat: grade it to SDR first"
        )
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        baked(f"{path}: its pixels are {shape} times as wide as high; they are read as square")


def _rotation(av: Any, path: Path, facts: Mapping[str, Any]) -> int:
    """How many degrees a camera says the picture has to be turned; known with the first frame."""
    if facts:
        return 0
    with _opened(av, path) as (container, stream):
        frame = None
        with decoding(path, "a video"):
            frame = next(container.decode(stream), None)
        return 0 if frame is None else round(getattr(frame, "rotation", 0))


def _turned(size: tuple[int, int], degrees: int) -> tuple[int, int]:
    return size if degrees % 180 == 0 else (size[1], size[0])


@dataclass(frozen=True)
class _Source:
    """Opens the frames of one file, from any of them on."""

    path: Path
    dtype: np.dtype[Any]
    rate: Fraction
    has_alpha: bool
    is_ours: bool
    can_seek: bool

    def frames(self, start: int) -> Iterator[Pixels]:
        av = load()
        with _opened(av, self.path) as (container, stream):
            tick = stream.time_base or Fraction(1, 1000)
            if start and self.can_seek:
                target = Fraction(start) / self.rate / tick
                with decoding(self.path, "a video"):
                    container.seek(max(0, round(target)), stream=stream)
            reformatter = av.video.reformatter.VideoReformatter()
            decoded = self._decoded(av, container, stream)
            number = 0
            while True:
                with decoding(self.path, "a video"):
                    frame = next(decoded, None)
                if frame is None:
                    return
                if self.can_seek and frame.pts is not None:
                    number = round(frame.pts * tick * self.rate)
                if number >= start:
                    yield self._pixels(frame, reformatter)
                number += 1

    def _decoded(self, av: Any, container: Any, stream: Any) -> Iterator[VideoFrame]:
        name = stream.codec_context.codec.canonical_name
        library = _LIBVPX.get(name) if self.has_alpha else None
        if library is not None:
            from multiplane.io.vp9 import decoded_with_alpha

            yield from decoded_with_alpha(av, container, stream, library)
            return
        if name == "ffv1" and self.is_ours:
            from multiplane.io.ffv1 import check

            for packet in container.demux(stream):
                if packet.size:
                    check(bytes(packet))
                yield from packet.decode()
            return
        yield from container.decode(stream)

    def _pixels(self, frame: VideoFrame, reformatter: VideoReformatter) -> Pixels:
        """(H, W, 4) straight sRGB pixels, upright."""
        layout = "rgba" if self.dtype == np.uint8 else "rgba64le"
        with decoding(self.path, "a video"):
            if frame.format.is_rgb:
                shown = reformatter.reformat(frame, format=layout, threads=1)
            else:
                shown = reformatter.reformat(
                    frame,
                    format=layout,
                    src_colorspace=_matrix(frame),
                    src_color_range=FULL if frame.color_range == FULL else LIMITED,
                    dst_color_range=FULL,
                    threads=1,
                )
            pixels = shown.to_ndarray()
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _matrix(frame: VideoFrame) -> int:
    """The frame's YCbCr matrix as swscale counts them; where the file does not say, BT.709 from
    720 lines on and BT.601 below, as players do."""
    if frame.colorspace in (1, 4, 5, 6, 7, 9):
        return int(frame.colorspace)
    return BT709 if frame.height >= 720 else 5
