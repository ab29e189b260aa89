"""The ways of taking a photograph apart that are compared: ours, and plain networks with OpenCV.

A method is a matte and what follows it; a step that does nothing is left out. Each step's processor
seconds are counted, so that figures taken on a busy machine are still figures of the method. The
networks' mattes are kept by content, so `network_seconds` takes their time apart, on a few
pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, to_float, to_u8
from multiplane.evaluation.bench import Judges
from multiplane.evaluation.judges import SalientSegmenter, Segmenter
from multiplane.pipelines.cutout.complete import complete_background
from multiplane.pipelines.cutout.foreground import estimate_foreground
from multiplane.pipelines.cutout.refine import refine_alpha

Hole = NDArray[np.bool_]
Completion = Callable[[Float, Hole], Float]
INPAINT_RADIUS = 3.0  # of OpenCV's methods, as its examples have it


@dataclass(frozen=True)
class Method:
    """network: whose matte it is. matte: (H, W, 3) -> (H, W). refine: (picture, matte) -> alpha,
    None for the matte as it comes. colours: (picture, alpha) -> foreground (H, W, 3), None for the
    picture's own. completion: the name of what fills the hole, None where nothing does."""

    name: str
    network: str
    matte: Callable[[Float], Float]
    refine: Callable[[Float, Float], Float] | None = None
    colours: Callable[[Float, Float], Float] | None = None
    completion: str | None = None

    def __call__(self, picture: Float) -> TakenApart:
        """picture: (H, W, 3) sRGB 0..1."""
        clock = Clock()
        alpha = self.matte(picture)
        if self.refine is not None:
            with clock.stage("edge"):
                alpha = self.refine(picture, alpha)
        colours = picture
        if self.colours is not None:
            with clock.stage("colours"):
                colours = self.colours(picture, alpha)
        return TakenApart(alpha, colours, clock.seconds)


@dataclass(frozen=True, eq=False)
class TakenApart:
    """alpha: (H, W). colours: (H, W, 3). seconds: of the processor, a step after the matte."""

    alpha: Float
    colours: Float
    seconds: dict[str, float]


@dataclass
class Clock:
    """Adds up processor seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def opencv_completion(name: Literal["telea", "ns"]) -> Completion:
    """OpenCV's inpainting: Telea 2004 ("telea") or Navier-Stokes, Bertalmio 2001 ("ns")."""

    def complete(picture: Float, hole: Hole) -> Float:
        import cv2

        kind = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}[name]
        mask = np.ascontiguousarray(hole, np.uint8) * 255
        filled = cv2.inpaint(to_u8(picture), mask, INPAINT_RADIUS, kind)
        return np.where(hole[..., None], to_float(np.asarray(filled, np.uint8)), picture)

    return complete


def family_completion(method: Literal["migan", "diffuse"], threads: int) -> Completion:
    """A completion of the family `cutout`, in the hole as it is given."""

    def complete(picture: Float, hole: Hole) -> Float:
        return complete_background(picture, hole, method, grow=0, threads=threads)

    return complete


def estimated_colours(picture: Float, alpha: Float) -> Float:
    """Foreground colours as the family `cutout` estimates them."""
    return estimate_foreground(picture, alpha)[0]


@dataclass(frozen=True, eq=False)
class Contest:
    """Everything that takes part. judges: the two networks, whose mattes are kept by content."""

    judges: Judges

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        isnet, u2net = self.judges.judge.cut, self.judges.cutter.cut
        return (
            Method("multiplane", "isnet", isnet, refine_alpha, estimated_colours, "migan"),
            Method("isnet alone", "isnet", isnet),
            Method("u2net, refined", "u2net", u2net, refine_alpha),
            Method("u2net + opencv", "u2net", u2net, completion="telea"),
        )

    @cached_property
    def completions(self) -> dict[str, Completion]:
        """By name. All fill the same hole, that of the true alpha: what is compared is the
        filling, not once more the matte."""
        return {
            "migan": family_completion("migan", self.judges.threads),
            "diffuse": family_completion("diffuse", self.judges.threads),
            "telea": opencv_completion("telea"),
            "ns": opencv_completion("ns"),
        }

    @property
    def networks(self) -> dict[str, str]:
        """name -> version, for the report."""
        used: tuple[Segmenter, ...] = (self.judges.judge, self.judges.cutter)
        return {network.name: network.version for network in used}

    def network_seconds(self, pictures: Sequence[Float]) -> dict[str, list[float]]:
        """name -> processor seconds of each picture's matte, cut anew by a network that has run
        once before."""
        found: dict[str, list[float]] = {}
        for name in self.networks:
            network = SalientSegmenter.load(name, self.judges.threads)
            network.cut(pictures[0])
            for picture in pictures:
                clock = Clock()
                with clock.stage(name):
                    network.cut(picture)
                found.setdefault(name, []).append(clock.seconds[name])
        return found
