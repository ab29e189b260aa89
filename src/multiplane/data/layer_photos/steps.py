"""One photograph on its way: load, matte, foreground, background, score, write.

Each step takes a record and gives the next one; nothing else is read or changed, so the same steps
run in a plain loop, in a pool of processes and on many machines. The road is that of Text2Layer
(Zhang et al. 2023, section III): a salient matte m, the foreground, the hole dilated and completed,
two classifiers. Where it differs: the paper copies the picture's pixels wherever m > 0.1, which
leaves the old background in every soft edge; here the colours of object and background are
estimated there. `colours="copied"` is the paper's way.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from multiplane.core.pixels import Float, resize_channels, to_float, to_u8
from multiplane.data.layer_photos.quality import EMBEDDED, QualityFilter, QualityScores
from multiplane.data.layer_photos.sources import PhotoSource
from multiplane.data.pictures import disagreement, png
from multiplane.data.shards import BrokenSource, Member
from multiplane.io.errors import FileFormatError
from multiplane.io.image import decode
from multiplane.io.limits import Budget, Limits
from multiplane.pipelines.cutout.candidates import NoSubject, check_subject, iou
from multiplane.pipelines.cutout.complete import COMPLETIONS, Completion, complete_background
from multiplane.pipelines.cutout.foreground import estimate_foreground
from multiplane.pipelines.cutout.matte import NETWORKS
from multiplane.pipelines.cutout.plate import clean_plate
from multiplane.pipelines.cutout.refine import refine_alpha

PHOTO_FORM = 1  # raise it when the same photograph and config give other bytes
COPIED_FROM = 0.1  # of the mask: where the paper copies pixels
HAZE = 0.04  # a network's matte is nowhere quite 0: below this it is
LIMITS = Limits(side=20_000, pixels=60_000_000, file_bytes=256 << 20)
Matte = Callable[[Float], Float]


@dataclass(frozen=True)
class PhotoConfig:
    """How photographs become layers.

    size: the longer side, larger ones are scaled down; the paper works at 512. crop: "square" takes
    the middle first, as a 512 x 512 set needs. least_side: of a photograph, in pixels. matte:
    "isnet", "u2net" or "u2netp". second: another network that must agree, "" for none; agreement:
    by how much (soft IoU). area: (least, most) share of the picture the mask may cover. refine:
    bring the mask's edge to the picture's own. colours: "estimated", or "copied" as in the paper.
    complete: "migan", "opencv" or "diffuse". quality: as `QualityFilter.load` takes it, "" for no
    scores. drop: leave out what a classifier calls bad; else it is only noted."""

    size: int = 512
    crop: Literal["whole", "square"] = "whole"
    least_side: int = 64
    matte: str = "isnet"
    second: str = ""
    agreement: float = 0.9
    area: tuple[float, float] = (0.03, 0.7)
    refine: bool = True
    colours: Literal["estimated", "copied"] = "estimated"
    complete: Completion = "migan"
    quality: str = EMBEDDED
    drop: bool = True

    def __post_init__(self) -> None:
        if self.size < 64 or self.least_side < 16:
            raise ValueError(f"size must be 64 or more, least_side 16 or more: {self}")
        allowed = {
            "matte": (self.matte, tuple(NETWORKS)),
            "second": (self.second, ("", *(name for name in NETWORKS if name != self.matte))),
            "complete": (self.complete, COMPLETIONS),
            "colours": (self.colours, ("estimated", "copied")),
            "crop": (self.crop, ("whole", "square")),
        }
        for name, (value, names) in allowed.items():
            if value not in names:
                raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")
        if not 0 <= self.area[0] < self.area[1] <= 1 or not 0 <= self.agreement <= 1:
            raise ValueError(f"area must be a range within 0..1, agreement 0..1: {self}")


@dataclass(frozen=True, eq=False)
class PhotoRecord:
    """What is known of a photograph so far. picture: (H, W, 3) sRGB 0..1. mask: (H, W) 0..1.
    foreground, background: (H, W, 3). figures: area and agreement of the mask."""

    source: PhotoSource
    picture: Float
    mask: Float | None = None
    foreground: Float | None = None
    background: Float | None = None
    scores: QualityScores | None = None
    figures: dict[str, float] = field(default_factory=dict)


def load(source: PhotoSource, config: PhotoConfig) -> PhotoRecord:
    """Raises BrokenSource for whatever is no opaque picture of a usable size with a caption."""
    if source.fault:
        raise BrokenSource(source.fault)
    try:
        if source.size == 0:
            raise BrokenSource("an empty file")
        with Path(source.path).open("rb") as file:
            file.seek(source.offset)
            data = file.read(source.size)
        pixels = decode(data, Budget(Path(source.path), LIMITS, len(data)))
    except (FileFormatError, OSError) as error:
        said = str(error).removeprefix(f"{source.path}: ").split(";")[0]
        raise BrokenSource(said) from error
    if int(pixels[..., 3].min()) != np.iinfo(pixels.dtype).max:
        raise BrokenSource("it is transparent already: photographs are opaque")
    if min(pixels.shape[:2]) < config.least_side:
        height, width = pixels.shape[:2]
        raise BrokenSource(f"too small: {width} x {height} pixels")
    return PhotoRecord(source, _fitted(to_float(pixels[..., :3]), config))


def _fitted(picture: Float, config: PhotoConfig) -> Float:
    if config.crop == "square":
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        picture = picture[top : top + side, left : left + side]
    height, width = picture.shape[:2]
    scale = config.size / max(height, width)
    if scale < 1.0:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = resize_channels(picture, size, "lanczos")
    return to_float(to_u8(picture))  # what is stored is what every step sees


def cut(
    record: PhotoRecord, config: PhotoConfig, network: Matte, second: Matte | None = None
) -> PhotoRecord:
    """The mask. Raises BrokenSource when nothing stands out, its area is out of range, or the
    second network sees something else."""
    mask = network(record.picture)
    try:
        check_subject(mask)
    except NoSubject as error:
        raise BrokenSource(str(error).split(";")[0]) from error
    figures = {"area": round(float((mask > 0.5).mean()), 4)}
    low, high = config.area
    if not low <= figures["area"] <= high:
        raise BrokenSource(
            f"the mask covers {figures['area']:.1%}, allowed are {low:.0%} to {high:.0%}"
        )
    if second is not None:
        figures["agreement"] = round(iou(mask, second(record.picture)), 4)
        if figures["agreement"] < config.agreement:
            raise BrokenSource(
                f"{config.matte} and {config.second} agree by {figures['agreement']:.2f} only"
            )
    mask = refine_alpha(record.picture, mask) if config.refine else np.where(mask < HAZE, 0.0, mask)
    return replace(record, mask=_stored(mask), figures=figures)


def take_foreground(record: PhotoRecord, config: PhotoConfig) -> PhotoRecord:
    """The object's colours; with "estimated", also the background's that shine through its edge."""
    mask = _there(record.mask)
    if config.colours == "copied":
        shown = (mask > COPIED_FROM)[..., None]
        return replace(record, foreground=np.where(shown, record.picture, np.float32(0.0)))
    foreground, behind = estimate_foreground(record.picture, mask)
    return replace(record, foreground=foreground, background=behind)


def fill_background(record: PhotoRecord, config: PhotoConfig) -> PhotoRecord:
    """The picture without the object: its hole dilated and completed.

    Raises BrokenSource when nothing is left to go by."""
    mask = _there(record.mask)
    try:
        if config.colours == "copied":
            filled = complete_background(
                record.picture, mask > COPIED_FROM, config.complete, threads=1
            )
        else:
            behind = _there(record.background)
            filled = clean_plate(record.picture, mask, behind, config.complete, threads=1)
    except ValueError as error:
        raise BrokenSource(str(error)) from error
    return replace(record, background=filled)


def judge(record: PhotoRecord, config: PhotoConfig, quality: QualityFilter) -> PhotoRecord:
    """The classifiers' scores. Raises BrokenSource when one says bad and the config drops those."""
    background = _there(record.background)
    scores = quality.score(record.picture, _there(record.mask), background)
    if config.drop and not scores.kept:
        raise BrokenSource(scores.reason)
    return replace(record, scores=scores)


def write(record: PhotoRecord, config: PhotoConfig, key: str) -> list[Member]:
    """The members of its sample, as scene shards have them; the mask is the foreground's alpha."""
    mask = _there(record.mask)
    foreground = to_u8(np.dstack([_there(record.foreground), mask]))
    background, picture = to_u8(_there(record.background)), to_u8(record.picture)
    words: dict[str, Any] = {
        "key": key,
        "kind": "scene",
        "split": "train",
        "caption": record.source.caption,
        "source": record.source.name,
        "size": picture.shape[1::-1],
        "figures": record.figures,
        "disagreement": disagreement(foreground, background, picture),
        "made": {"matte": config.matte, "complete": config.complete, "colours": config.colours},
    }
    if record.scores is not None:
        words["scores"] = record.scores.report()
        words["kept"] = record.scores.kept
        if record.scores.reason:
            words["reason"] = record.scores.reason
    return [
        ("json", json.dumps(words, ensure_ascii=False).encode()),
        ("composite.png", png(picture)),
        ("background.png", png(background)),
        ("foreground.png", png(foreground)),
    ]


def read_layers(members: dict[str, bytes]) -> tuple[Float, Float, Float]:
    """(picture, mask, background) of a sample's members, as the classifiers read them."""
    planes = [
        to_float(np.asarray(Image.open(io.BytesIO(members[name]))))
        for name in ("composite.png", "foreground.png", "background.png")
    ]
    return planes[0][..., :3], planes[1][..., 3], planes[2][..., :3]


def _stored(mask: Float) -> Float:
    """The mask in the 8 bits it is stored in."""
    return to_float(to_u8(mask))


def _there(plane: Float | None) -> Float:
    if plane is None:
        raise RuntimeError("a step was left out: load, cut, take_foreground, fill_background, ...")
    return plane
