"""`LayerRequest`: planes, the task table, ranges, `resolve`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from multiplane.core.request import (
    TASK_TABLE,
    Control,
    LayerRequest,
    Plane,
    RequestError,
    Task,
)

WANTED = Plane(wanted=True)


def picture(width: int = 8, height: int = 6, alpha: int = 255) -> np.ndarray:
    pixels = np.full((height, width, 4), 40, np.uint8)
    pixels[..., 3] = alpha
    return pixels


def coverage(width: int = 8, height: int = 6) -> np.ndarray:
    return np.full((height, width), 255, np.uint8)


GIVEN = Plane(pixels=picture())


def in_row(foreground: Plane | None, background: Plane, composite: Plane) -> LayerRequest:
    foregrounds = () if foreground is None else (foreground,)
    return LayerRequest(foregrounds=foregrounds, background=background, composite=composite)


@pytest.mark.parametrize(
    ("request_", "row"),
    [
        (in_row(WANTED, Plane(), Plane()), 0),
        (in_row(WANTED, WANTED, WANTED), 1),
        (in_row(GIVEN, WANTED, WANTED), 2),
        (in_row(WANTED, GIVEN, WANTED), 3),
        (in_row(WANTED, WANTED, GIVEN), 4),
        (in_row(GIVEN, WANTED, GIVEN), 5),
        (in_row(WANTED, GIVEN, GIVEN), 6),
        (in_row(None, Plane(), WANTED), 7),
    ],
)
def test_the_task_follows_from_the_planes(request_: LayerRequest, row: int) -> None:
    assert request_.task == TASK_TABLE[row]
    assert Task.of(str(request_.task)) == request_.task


def test_the_table_has_eight_different_rows_and_none_names_a_plane_twice() -> None:
    assert len(set(TASK_TABLE)) == 8
    for task in TASK_TABLE:
        assert task.wanted
        assert not task.given & task.wanted


@pytest.mark.parametrize(
    ("plane", "state"),
    [
        (Plane(), "absent"),
        (Plane(wanted=True), "wanted"),
        (Plane(wanted=True, prompt="a hill"), "wanted"),
        (Plane(pixels=picture()), "given"),
        (Plane(pixels=picture(), keep=coverage()), "wanted"),
        (Plane(pixels=picture(), strength=0.5), "wanted"),
    ],
)
def test_plane_states(plane: Plane, state: str) -> None:
    assert plane.state == state


def test_plane_names_count_foregrounds_from_the_background_up() -> None:
    request = LayerRequest(foregrounds=(WANTED, GIVEN, WANTED), background=WANTED)
    assert list(request.planes()) == [
        "foreground",
        "foreground:1",
        "foreground:2",
        "background",
        "composite",
    ]
    assert request.task == Task(frozenset({"foreground"}), frozenset({"foreground", "background"}))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Plane(wanted=True, prompt="x" * 2001), "2001 characters; at most 2000"),
        (lambda: Plane(keep=coverage()), "give a picture"),
        (lambda: Plane(strength=0.5), "give a picture"),
        (
            lambda: Plane(pixels=picture(8, 6), keep=coverage(7, 6)),
            "keep mask is 7 x 6, its picture 8 x 6",
        ),
        (lambda: Plane(pixels=picture(), strength=1.5), "strength must be 0..1, got 1.5"),
        (lambda: LayerRequest(seed=-1), "seed must be 0..9223372036854775807, got -1"),
        (lambda: LayerRequest(seed=2**63), "seed must be 0"),
        (lambda: LayerRequest(seed=1.5), "seed must be a whole number, got 1.5"),  # type: ignore[arg-type]
        (lambda: LayerRequest(frames=0), "frames must be at least 1, got 0"),
        (lambda: LayerRequest(steps=0), "steps must be 1..1000, got 0"),
        (lambda: LayerRequest(steps=1001), "steps must be 1..1000, got 1001"),
        (lambda: LayerRequest(guidance=-0.1), "guidance must be 0.0..100.0, got -0.1"),
        (lambda: LayerRequest(guidance=float("nan")), "guidance must be 0.0..100.0, got nan"),
        (lambda: LayerRequest(size=(0, 5)), "got 0 x 5"),
        (lambda: LayerRequest(size=(5, 16385)), "1..16384 pixels a side, got 5 x 16385"),
    ],
)
def test_values_out_of_range_are_refused_with_value_and_range(build: Any, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        build()


def test_the_ends_of_every_range_are_allowed() -> None:
    for steps in (1, 1000):
        assert LayerRequest(steps=steps).steps == steps
    for seed in (0, 2**63 - 1):
        assert LayerRequest(seed=seed).seed == seed
    for guidance in (0.0, 100.0):
        assert LayerRequest(guidance=guidance).guidance == guidance
    assert Plane(wanted=True, prompt="x" * 2000).state == "wanted"


def test_resolve_takes_the_native_size_when_nothing_says_another() -> None:
    assert LayerRequest(foregrounds=(WANTED,)).resolve((128, 96)).size == (128, 96)


def test_resolve_follows_the_pictures() -> None:
    asked = LayerRequest(foregrounds=(WANTED,), background=GIVEN, composite=WANTED)
    assert asked.resolve((128, 128)).size == (8, 6)
    control = Control("foreground", "silhouette", coverage(9, 5))
    alone = LayerRequest(foregrounds=(WANTED,), controls=(control,))
    assert alone.resolve((128, 128)).size == (9, 5)


def test_resolve_keeps_an_asked_size() -> None:
    asked = LayerRequest(foregrounds=(WANTED,), size=(50, 40))
    assert asked.resolve((128, 128)).size == (50, 40)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (LayerRequest(), "no plane is wanted"),
        (in_row(GIVEN, GIVEN, Plane()), "no plane is wanted"),
        (
            in_row(WANTED, GIVEN, Plane(pixels=picture(10, 6))),
            "the given background is 8 x 6, the given composite is 10 x 6",
        ),
        (
            LayerRequest(foregrounds=(WANTED,), background=GIVEN, size=(64, 64)),
            "the asked size is 64 x 64, the given background is 8 x 6",
        ),
        (
            LayerRequest(
                foregrounds=(WANTED,),
                background=GIVEN,
                controls=(Control("foreground", "edges", coverage(6, 8)),),
            ),
            "the given background is 8 x 6, the edges of foreground is 6 x 8",
        ),
        (
            LayerRequest(
                foregrounds=(WANTED,),
                background=GIVEN,
                controls=(Control("background", "edges", coverage()),),
            ),
            "steers 'background', which is not a wanted plane; wanted are foreground",
        ),
        (
            LayerRequest(foregrounds=(WANTED,), background=Plane(pixels=picture(alpha=51))),
            "the given background is see-through (alpha goes down to 0.20)",
        ),
    ],
)
def test_resolve_refuses_planes_that_contradict(request_: LayerRequest, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        request_.resolve((128, 128))
    with pytest.raises(RequestError, match=re.escape(message)):
        request_.check()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_opaque_background_of_any_depth_is_taken(dtype: Any) -> None:
    full = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    pixels = np.full((6, 8, 4), full, dtype)
    request = LayerRequest(foregrounds=(WANTED,), background=Plane(pixels=pixels))
    assert request.resolve((4, 4)).size == (8, 6)
