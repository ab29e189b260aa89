"""What the family `cutout` takes in a request's `options`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from multiplane.core.request import RequestError
from multiplane.pipelines.cutout.candidates import MAX_CANDIDATES
from multiplane.pipelines.cutout.complete import COMPLETIONS
from multiplane.pipelines.cutout.matte import NETWORKS
from multiplane.pipelines.cutout.promptable import Box, Point

DEFAULT_MATTE = "isnet"
DEFAULT_COMPLETION = "migan"


@dataclass(frozen=True)
class CutoutSettings:
    """matte: the network. complete: what fills the background. refine: bring the edge to the
    photograph's own. candidates: ways to cut that are tried and scored. points: (x, y, 1) on the
    object, (x, y, 0) off it; boxes: (left, top, right, bottom) around it; in pixels of the picture.
    threads: of the networks, 0 for every core."""

    matte: str = DEFAULT_MATTE
    complete: str = DEFAULT_COMPLETION
    refine: bool = True
    candidates: int = 1
    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    threads: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("matte", tuple(NETWORKS)), ("complete", COMPLETIONS)):
            if getattr(self, name) not in allowed:
                raise RequestError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.refine, bool):
            raise RequestError(f"refine must be true or false, got {self.refine!r}")
        for name, most in (("candidates", MAX_CANDIDATES), ("threads", 256)):
            value, least = getattr(self, name), 0 if name == "threads" else 1
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise RequestError(f"{name} must be {least}..{most}, got {value!r}")
        if self.prompted and self.candidates > 1:
            raise RequestError(
                "points and boxes say what to cut, candidates try several: give one of them"
            )

    @property
    def prompted(self) -> bool:
        """Whether the request says itself what to cut."""
        return bool(self.points or self.boxes)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CutoutSettings:
        """The settings in a request's options, which may have come from JSON.

        Raises RequestError for unknown names and values that do not fit."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise RequestError(
                f"cutout has no options {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
        values = dict(options)
        values["points"] = _rows(options.get("points", ()), 3, "points", "[x, y, 1 or 0]")
        values["boxes"] = _rows(options.get("boxes", ()), 4, "boxes", "[left, top, right, bottom]")
        return cls(**values)


def _rows(value: Any, length: int, name: str, form: str) -> tuple[Any, ...]:
    try:
        rows = tuple(tuple(row) for row in value)
        for row in rows:
            if len(row) != length or any(isinstance(each, bool | str) for each in row):
                raise TypeError
            _ = [float(each) for each in row]
    except (TypeError, ValueError):
        raise RequestError(f"{name} must be a list of {form}, got {value!r:.80}") from None
    return rows
