"""Footage into a layered clip: a clean plate, and what is in front of it, frame by frame.

The clip is read three times, a few frames at a time. The first sweep looks: the mattes, and how the
camera moved. The second makes the mattes agree in time and gathers the clean plates. The third cuts
each frame against its plate and makes its layers add up to it. What is found waits in a folder
beside the output, so a run that was killed goes on; then the layers are written, read back, and
compared with the footage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.composite import composite
from multiplane.core.document import Layer, LayerDocument, Provenance
from multiplane.core.family import Progress
from multiplane.core.pixels import Float, to_float
from multiplane.core.recompose import Difference
from multiplane.core.request import RequestError
from multiplane.engine.footage_store import FORM, Workplace, fingerprint
from multiplane.engine.footage_sweeps import Sweeps, source_frames
from multiplane.io.clip_folder import LAYER_CODECS, is_clip_folder
from multiplane.io.clip_formats import CLIP_FORMATS
from multiplane.io.clips import is_clip, read_clip, write_clip
from multiplane.pipelines.cutout.candidates import NoSubject
from multiplane.pipelines.cutout.footage.looks import Looks
from multiplane.pipelines.cutout.footage.settings import FootageSettings
from multiplane.pipelines.cutout.words import colour_word
from multiplane.weights.fetch import FetchError

__all__ = ["Footage", "FootageSettings", "NoSubject", "decompose_footage"]

EXACT = 1.02 / 255  # how far an exact master may be from the footage; the rest is float rounding
_SHARES = {"look": 0, "gather": 1, "cut": 2, "write": 3, "check": 4}
_WITHOUT_DOWNLOAD = (
    "Without any download: matte='u2netp' and complete='diffuse' (on the command line: "
    "--matte u2netp --complete diffuse)"
)


@dataclass(frozen=True, eq=False)
class Footage:
    """Footage taken apart. clip: the layers as they were written, read back. error: how far what
    they show is from the footage, over all frames. report: what was found, as in the provenance.
    seconds: by sweep."""

    path: Path
    clip: LayerClip
    error: Difference
    report: dict[str, Any]
    seconds: dict[str, float]


def decompose_footage(
    source: str | Path,
    output: str | Path,
    *,
    codec: str = "ffv1",
    crf: int | None = None,
    looks: Looks | None = None,
    progress: Progress | None = None,
    **asked: Any,
) -> Footage:
    """Take a clip apart into a layers folder: the background, clean, and what stands before it.

    source: a video, an animated picture or a PNG sequence, opaque. output: a folder. codec: of the
    layers, as `write_clip` takes it; "ffv1" and "png" show every source frame again to within
    1/255 (checked by reading them back), the lossy ones as near as `error` says. asked: the fields
    of `FootageSettings`.

    A run that was killed goes on where it was when it is started again alike, with the same bytes.

    Raises RequestError for a still, a see-through clip and options that contradict themselves,
    NoSubject when nothing stands out in most frames, FetchError when a network cannot be had,
    FileExistsError for a folder with something else in it, BlockingIOError when another run makes
    the same folder, and what reading the clip raises."""
    source, output = Path(source), Path(output)
    try:
        settings = FootageSettings(**asked)
    except TypeError as error:
        names = ", ".join(asdict(FootageSettings()))
        raise TypeError(f"{error}; decompose_footage takes {names}") from None
    _check_output(output, codec)
    clip = _opened(source)
    job = {"source": fingerprint(source), "settings": asdict(settings)}
    place = Workplace(output, job)
    keep = True
    try:
        tell = _Telling(clip.frames, progress)
        sweeps = Sweeps(clip, settings, looks or Looks(settings), place, tell)
        sweeps.run()
        report = _report(sweeps)
        made = _clip(sweeps, report, source)
        seconds = dict(sweeps.seconds)
        started = time.perf_counter()
        write_clip(made, output, codec=codec, crf=crf, progress=tell.part("write"))
        seconds["write"] = round(time.perf_counter() - started, 3)
        written = read_clip(output)
        error = _compared(clip, written, tell)
        if CLIP_FORMATS[codec].colour == "exact" and error.maximum > EXACT:
            raise ValueError(
                f"{output}: the layers are {error.maximum * 255:.2f}/255 from the footage, which "
                "an exact master must not be; the footage changed while it was read, or the disk "
                "is damaged"
            )
        keep = False
    except FetchError as error:
        raise FetchError(f"{error}. {_WITHOUT_DOWNLOAD}") from error
    except ValueError:  # the clip or what was asked for: going on would end here again
        keep = False
        raise
    finally:
        place.close(keep)
    return Footage(output, written, error, report, seconds)


def _check_output(output: Path, codec: str) -> None:
    """What can be told before hours of work."""
    if codec not in LAYER_CODECS:
        raise RequestError(f"codec must be one of {', '.join(LAYER_CODECS)}, got {codec!r}")
    if output.suffix and not output.is_dir():
        raise RequestError(
            f"footage is taken apart into a folder of layers, got {output}: name it without a "
            "suffix (multiplane convert makes other files of it)"
        )
    if output.is_file():
        raise FileExistsError(f"{output} is a file: name a folder")
    if output.is_dir() and any(output.iterdir()) and not is_clip_folder(output):
        raise FileExistsError(
            f"{output} holds files that this would not replace: choose another name, or empty it"
        )


def _opened(source: Path) -> LayerClip:
    if not is_clip(source):
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist")
        raise RequestError(
            f"{source} is no clip: a still picture is taken apart by multiplane.decompose(picture)"
        )
    clip = read_clip(source)
    if clip.frames == 1:
        raise RequestError(f"{source} has a single frame: take it apart as a picture")
    return clip


class _Telling:
    """One progress of five parts, a step a frame each. Calling it is what `Sweeps` does."""

    def __init__(self, frames: int | None, progress: Progress | None) -> None:
        self._frames, self._progress = frames, progress

    def __call__(self, name: str, done: int, shown: Float | None) -> None:
        if name == "look":
            self._frames = max(self._frames or 0, done)
        if self._progress is not None and self._frames:
            step = _SHARES[name] * self._frames + done
            self._progress(step, len(_SHARES) * self._frames, shown)

    def part(self, name: str) -> Progress:
        return lambda step, total, shown: self(name, step, None)


def _report(sweeps: Sweeps) -> dict[str, Any]:
    """What was found, as plain JSON; the same whether the run was killed in between or not."""
    rows = [sweeps.place.load_figures(number) for number in range(sweeps.frames)]
    hidden = sum(row["hidden"] for row in rows)
    return {
        "task": "composite -> foreground background",
        "frames": sweeps.frames,
        "looked": sweeps.looked,
        "without a clear subject": sweeps.missed,
        "plates": len(sweeps.keys.keys),
        "hidden share": hidden / (sweeps.frames * sweeps.size[0] * sweeps.size[1]),
        "gathered": sum(row["gathered"] for row in rows) / hidden if hidden else None,
        "completed for one frame": int(sum(row["completed alone"] for row in rows)),
        "disagreement": {
            "mean": sum(row["disagreement"] for row in rows) / len(rows),
            "maximum": max(row["disagreement maximum"] for row in rows),
        },
        "complete": sweeps.settings.complete,
        "matte": "prompted" if sweeps.settings.prompted else sweeps.settings.matte,
    }


def _clip(sweeps: Sweeps, report: dict[str, Any], source: Path) -> LayerClip:
    """The layers of all frames, read from the working folder as they are asked for."""
    place, size = sweeps.place, sweeps.size
    provenance = Provenance(
        model="cutout",
        version=str(FORM),
        request={
            "task": "composite -> foreground background",
            "source": source.name,
            "model": "cutout",
            "options": asdict(sweeps.settings),
        },
        report=report,
    )
    subject = _name(sweeps)

    def opened(start: int) -> Iterator[LayerDocument]:
        for number in range(start, sweeps.frames):
            planes = place.load_planes(number)
            yield LayerDocument(
                size,
                (
                    Layer("Background", planes.background, role="background"),
                    Layer(subject, planes.foreground, role="foreground"),
                ),
            )

    names = ("Background", subject)
    return LayerClip(size, sweeps.clip.fps, names, opened, sweeps.frames, provenance)


def _name(sweeps: Sweeps) -> str:
    """ "Brown subject", by the frame that shows most of it."""
    areas = [sweeps.place.load_figures(number)["area"] for number in range(sweeps.frames)]
    pixels = to_float(sweeps.place.load_planes(int(np.argmax(areas))).foreground)
    return f"{colour_word(pixels[..., :3], pixels[..., 3]).capitalize()} subject"


def _compared(source: LayerClip, made: LayerClip, tell: _Telling) -> Difference:
    """How far the layers as written are from the footage."""
    count, total, squares, maximum = 0, 0.0, 0.0, 0.0
    pairs = zip(source_frames(source), made, strict=True)
    for number, (pixels, document) in enumerate(pairs, start=1):
        apart = np.abs(composite(document)[..., :3] - to_float(pixels)[..., :3])
        count += apart.size
        total += float(apart.sum(dtype=np.float64))
        squares += float(np.square(apart).sum(dtype=np.float64))
        maximum = max(maximum, float(apart.max()))
        tell("check", number, None)
    psnr = None if squares == 0.0 else -10.0 * math.log10(squares / count)
    return Difference(psnr, total / count, maximum)
