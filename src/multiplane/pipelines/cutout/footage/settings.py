"""What taking footage apart is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from multiplane.core.request import RequestError
from multiplane.pipelines.cutout.complete import COMPLETIONS
from multiplane.pipelines.cutout.matte import NETWORKS
from multiplane.pipelines.cutout.promptable import Box, Point
from multiplane.pipelines.cutout.settings import DEFAULT_COMPLETION

Camera = Literal["auto", "still"]
CAMERAS: tuple[str, ...] = get_args(Camera)
MOTION = "motion"  # the matte of whatever differs from the clean plate; no network
DEFAULT_FOOTAGE_MATTE = "u2netp"
MAX_EVERY = 12


@dataclass(frozen=True)
class FootageSettings:
    """matte: a network of `NETWORKS`, or "motion": whatever moves in front of what stays. complete:
    what fills the plate where no frame shows it. refine: bring the edge to the frame's own. every:
    the network looks at each n-th frame, motion carries its mattes to those between. steady: mattes
    are made to agree with their neighbours in time. camera: "auto" aligns the frames, "still"
    trusts that nothing has to be. points, boxes: in pixels of the first frame, as for a still; the
    object is followed from there. threads: of the networks, 0 for every core."""

    matte: str = DEFAULT_FOOTAGE_MATTE
    complete: str = DEFAULT_COMPLETION
    refine: bool = True
    every: int = 1
    steady: bool = True
    camera: str = "auto"
    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    threads: int = 0

    def __post_init__(self) -> None:
        choices = (
            ("matte", (*NETWORKS, MOTION)),
            ("complete", COMPLETIONS),
            ("camera", CAMERAS),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise RequestError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if not 1 <= self.every <= MAX_EVERY:
            raise RequestError(f"every must be 1..{MAX_EVERY}, got {self.every}")
        object.__setattr__(self, "points", tuple(tuple(point) for point in self.points))
        object.__setattr__(self, "boxes", tuple(tuple(box) for box in self.boxes))
        if self.matte == MOTION and self.prompted:
            raise RequestError(
                "the matte 'motion' takes whatever moves: leave out points and boxes, or name a "
                "network as the matte"
            )
        if self.matte == MOTION and self.every > 1:
            raise RequestError("the matte 'motion' needs no network: leave out every")

    @property
    def prompted(self) -> bool:
        """Whether points or boxes say what to cut."""
        return bool(self.points or self.boxes)
