"""Between a request and a pipeline that makes planes by name, whichever pipeline it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from multiplane.core.config import from_table
from multiplane.core.pixels import Float, to_float
from multiplane.core.request import LayerRequest, MadePlanes, RequestError

Options = TypeVar("Options")


def options_of(cls: type[Options], options: Mapping[str, Any]) -> Options:
    """`LayerRequest.options` as the dataclass `cls`. Raises RequestError for an option there is
    not, one of another type, or a value out of its range."""
    try:
        return from_table(cls, options, "options")
    except ValueError as error:
        raise RequestError(str(error)) from error


def answer(request: LayerRequest, made: Mapping[str, Float], report: dict[str, Any]) -> MadePlanes:
    """The planes of a request with at most one foreground: given ones as they came, absent ones
    none, wanted ones of `made`, by name."""
    planes: dict[str, Float | None] = {}
    for name, plane in request.planes().items():
        if plane.state == "absent":
            planes[name] = None
        elif plane.state == "given":
            assert plane.pixels is not None
            planes[name] = to_float(plane.pixels)
        else:
            planes[name] = made[name]
    foreground = planes["foreground"] if request.foregrounds else None
    return MadePlanes(
        () if foreground is None else (foreground,),
        planes["background"],
        planes["composite"],
        report,
    )
