"""What a caller hands in becomes the request that was meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multiplane.core.request import Plane, RequestError, Task
from multiplane.engine.planes import UNSAID, build_request, check_prompt, plane


def picture(width: int = 6, height: int = 4, alpha: int = 255) -> np.ndarray:
    pixels = np.arange(width * height * 4, dtype=np.uint8).reshape(height, width, 4)
    pixels[..., 3] = alpha
    return pixels


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "room.png"
    Image.fromarray(picture(), "RGBA").save(path)
    return path


# (foreground, background, composite) -> the row it stands for. P: a picture.
P = picture()
ROWS = [
    (("a cat", UNSAID, UNSAID), "-> foreground"),
    ((UNSAID, UNSAID, "a garden"), "-> composite"),
    (("a cat", "a hill", UNSAID), "-> foreground background composite"),
    (("a cat", "a hill", None), "-> foreground background"),
    (("a cat", "a hill", False), "-> foreground background"),
    (("a cat", "a hill", "a cat on a hill"), "-> foreground background composite"),
    ((P, "a hill", UNSAID), "foreground -> background composite"),
    (("a cat", P, UNSAID), "background -> foreground composite"),
    ((True, P, UNSAID), "background -> foreground composite"),
    (("the dog", UNSAID, P), "composite -> foreground background"),
    ((UNSAID, "a room", P), "composite -> foreground background"),
    ((P, True, P), "foreground composite -> background"),
    ((P, UNSAID, P), "foreground composite ->"),
    (("a cat", P, P), "background composite -> foreground"),
    (("a cat", None, P), "composite -> foreground"),
    ((P, P, True), "foreground background -> composite"),
]


@pytest.mark.parametrize(("planes", "row"), ROWS)
def test_the_unsaid_planes_are_completed_to_a_row(planes: tuple[Any, ...], row: str) -> None:
    assert build_request("flat", *planes).task == Task.of(row)


def test_a_list_of_foregrounds_keeps_its_order() -> None:
    request = build_request("flat", ["a cat", P, True, None, "a dog"], "a hill")
    found = [(each.state, each.prompt) for each in request.foregrounds]
    assert found == [("wanted", "a cat"), ("given", ""), ("wanted", ""), ("wanted", "a dog")]


def test_a_str_is_a_prompt_and_a_path_a_file(png: Path) -> None:
    request = build_request("flat", "a cat", png)
    np.testing.assert_array_equal(request.background.pixels, picture())
    assert request.foregrounds[0].prompt == "a cat"


def test_settings_reach_the_request() -> None:
    request = build_request(
        "flat",
        "a cat",
        settings={
            "size": (40, 30),
            "seed": 9,
            "steps": 4,
            "guidance": 2.5,
            "options": {"sampler": "heun"},
        },
    )
    assert (request.size, request.seed, request.steps, request.guidance) == ((40, 30), 9, 4, 2.5)
    assert request.options == {"sampler": "heun"}
    assert request.model == "flat"


def test_unsaid_seeds_are_drawn_and_differ() -> None:
    seeds = {build_request("flat", "a cat").seed for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_unknown_settings_are_an_error_that_lists_the_known() -> None:
    with pytest.raises(TypeError, match=r"unknown settings sead; there are edges, fps, frames"):
        build_request("flat", "a cat", settings={"sead": 3})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "is empty"),
        ("  \n ", "is empty"),
        ("a\x00cat", r"control characters ('\x00')"),
        ("a \x1b[31mred cat", r"control characters ('\x1b')"),
        ("a\u202ecat", r"control characters ('\u202e')"),
        ("a\ud800cat", r"control characters ('\ud800')"),
        ("cat.png", "looks like a file name"),
        ("pictures of/my cat.JPEG", "looks like a file name"),
        ("layers.psd", "pass a pathlib.Path"),
        ("x" * 2001, "2001 characters; at most 2000"),
    ],
)
def test_absurd_prompts_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        build_request("flat", prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red apple",
        "50.5 apples",
        "Мышь, 猫 and 🦜",
        "e.g. a cat",
        "x" * 2000,
        "a / b",
        "👨\u200d👩\u200d👧",
    ],
)
def test_ordinary_prompts_are_taken(prompt: str) -> None:
    assert build_request("flat", prompt).foregrounds[0].prompt == prompt


def test_prompts_are_stripped_and_their_line_breaks_become_spaces() -> None:
    assert check_prompt("  a red\n\tapple ") == "a red apple"


def test_a_prompt_that_is_a_file_here_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("apple").write_bytes(b"x")
    Path("cat").mkdir()
    (Path("cat") / "planes").mkdir()
    for prompt in ("apple", "cat/planes"):
        with pytest.raises(RequestError, match="looks like a file name"):
            check_prompt(prompt)
    assert check_prompt("cat") == "cat"  # a folder of that name says nothing about a word


def test_a_mask_says_where_to_paint_and_keep_is_its_opposite() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 255
    mask[0, 0] = 100
    request = build_request("flat", background=P, settings={"mask": mask, "prompt": "a window"})
    assert request.background.state == "wanted"
    assert request.background.prompt == "a window"
    np.testing.assert_array_equal(request.background.keep, 255 - mask)
    assert request.task == Task.of("-> background")


def test_changes_come_before_the_planes_are_completed() -> None:
    mask = np.ones((4, 6), bool)
    settings: Any = {"mask": {"foreground": mask}}
    request = build_request("flat", P, P, settings=settings)
    assert request.task == Task.of("background -> foreground composite")


def test_strength_by_plane_name() -> None:
    request = build_request("flat", P, P, settings={"strength": {"background": 0.5}})
    assert request.background.strength == 0.5
    assert request.foregrounds[0].state == "given"
    second = build_request("flat", [P, P], P, settings={"strength": {"foreground:1": 0.25}})
    assert [each.strength for each in second.foregrounds] == [None, 0.25]


@pytest.mark.parametrize(
    ("planes", "settings", "message"),
    [
        (("a cat",), {"mask": P}, "no plane has one: say which plane is meant"),
        ((P, P), {"strength": 0.5}, "foreground and background has one: say which"),
        (("a cat", P), {"mask": {"foreground": P}}, "'foreground', which has no picture"),
        ((P, "a hill"), {"prompt": "a cat"}, "given and never changed: add a mask"),
        ((P,), {"strength": 2.0}, "strength must be 0..1, got 2.0"),
        ((P,), {"mask": picture(5, 4)}, "keep mask is 5 x 4, its picture 6 x 4"),
    ],
)
def test_masks_and_strengths_that_speak_of_nothing(
    planes: tuple[Any, ...], settings: Any, message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        build_request("flat", *planes, settings=settings)


def test_a_plane_with_a_picture_and_words() -> None:
    one = plane(P, "a red cat", strength=0.4)
    assert (one.state, one.prompt, one.strength) == ("wanted", "a red cat", 0.4)
    assert plane(P).state == "given"
    with pytest.raises(RequestError, match="never changed"):
        plane(P, "a red cat")


def test_controls_take_coverage_and_a_plane() -> None:
    shape = picture()
    shape[..., 3] = 0
    shape[1:3, 2:4, 3] = 255
    request = build_request(
        "flat", "a cat", "a hill", settings={"silhouette": shape, "edges": {"background": P}}
    )
    by_kind = {control.kind: control for control in request.controls}
    assert by_kind["silhouette"].plane == "foreground"
    np.testing.assert_array_equal(by_kind["silhouette"].pixels, shape[..., 3])
    assert by_kind["edges"].plane == "background"


def test_a_sketch_of_black_lines_on_white_is_noticed() -> None:
    sketch = np.full((4, 6), 255, np.uint8)
    sketch[2] = 0
    with pytest.raises(RequestError, match=r"edge sketch of foreground is more than half white"):
        build_request("flat", "a cat", settings={"edges": sketch})
    assert build_request("flat", "a cat", settings={"edges": 255 - sketch}).controls


def test_planes_made_by_hand_are_checked_too() -> None:
    with pytest.raises(RequestError, match="looks like a file name"):
        build_request("flat", Plane(wanted=True, prompt="cat.png"))


def test_names_longer_than_a_file_may_have_are_prompts() -> None:
    long = "a " * 400 + "cat"
    assert len(long) > 255
    assert check_prompt(long) == long
