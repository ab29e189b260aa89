"""A request survives JSON, and what is not a request is refused."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import numpy as np
import pytest

from multiplane.core.request import Control, LayerRequest, Plane, RequestError


def full_request() -> LayerRequest:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    wide = np.full((5, 7, 4), 65535, np.uint16)
    keep = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    outline = rng.random((5, 7)).astype(np.float32)
    return LayerRequest(
        foregrounds=(
            Plane(wanted=True, prompt="a röd apple", pixels=pixels, keep=keep),
            Plane(wanted=True, prompt="a parrot 🦜", pixels=pixels, strength=0.25),
        ),
        background=Plane(pixels=wide),
        composite=Plane(wanted=True),
        size=(7, 5),
        seed=2**63 - 1,
        steps=20,
        guidance=3.5,
        model="tiny",
        controls=(Control("foreground", "edges", outline),),
        options={"sampler": "heun"},
    )


def test_round_trip_through_text() -> None:
    request = full_request()
    text = json.dumps(request.to_json(), sort_keys=True)
    back = LayerRequest.from_json(json.loads(text), request.pictures())
    assert json.dumps(back.to_json(), sort_keys=True) == text
    assert back.task == request.task
    assert back.seed == request.seed
    assert back.foregrounds[0].prompt == "a röd apple"
    for name, plane in request.planes().items():
        for part in ("pixels", "keep"):
            before, after = getattr(plane, part), getattr(back.planes()[name], part)
            assert (before is None) == (after is None)
            if before is not None:
                np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(back.controls[0].pixels, request.controls[0].pixels)


def test_prompts_alone_need_no_pictures() -> None:
    request = LayerRequest(foregrounds=(Plane(wanted=True, prompt="a cat"),), seed=4)
    back = LayerRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert back.to_json() == request.to_json()
    assert back.size is None


def test_pictures_are_named_by_their_bytes() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    written = LayerRequest(background=Plane(pixels=pixels)).to_json()["background"]["pixels"]
    expected = hashlib.sha256(b"|u1(2, 3, 4)" + bytes(range(24))).hexdigest()
    assert written == {"sha256": expected, "size": [3, 2], "dtype": "uint8"}


def test_missing_keys_take_their_defaults() -> None:
    back = LayerRequest.from_json({"foregrounds": [{"wanted": True, "prompt": "a cat"}]})
    assert back.to_json() == LayerRequest(foregrounds=(Plane(True, "a cat"),)).to_json()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sed": 3}, "request holds the unknown keys sed; known are background, composite"),
        ({"foregrounds": [{"promt": "x"}]}, "foregrounds[0] holds the unknown keys promt"),
        ({"format": 2}, "format 2; this version reads format 1"),
        ({"foregrounds": "a cat"}, "foregrounds must be list, got 'a cat'"),
        ({"background": []}, "background must be Mapping, got []"),
        ({"seed": "3"}, "seed must be int, got '3'"),
        ({"seed": True}, "seed must be int, got True"),
        ({"seed": None}, "seed must be int, got None"),
        ({"steps": 2.5}, "steps must be int, got 2.5"),
        ({"steps": 5000}, "steps must be 1..1000, got 5000"),
        ({"guidance": "high"}, "guidance must be int or float, got 'high'"),
        ({"size": [4]}, "size must be [width, height], got [4]"),
        ({"size": [4, "5"]}, "size must be int, got '5'"),
        ({"background": {"wanted": 1}}, "background.wanted must be bool, got 1"),
        ({"background": {"prompt": 5}}, "background.prompt must be str, got 5"),
        (
            {"background": {"pixels": {"sha256": "ab", "size": [1, 1], "dtype": "uint8"}}},
            "background.pixels is the picture with sha256 ab, which is not at hand",
        ),
        ({"background": {"pixels": "ab"}}, "background.pixels must be Mapping, got 'ab'"),
        ({"background": {"pixels": {}}}, "background.pixels.sha256 must be str, got None"),
        ({"controls": [{"plane": "foreground", "kind": "depth"}]}, "one of silhouette, edges"),
        ({"controls": [{"plane": "foreground", "kind": "edges"}]}, "controls[0].pixels is missing"),
        ({"options": [1]}, "options must be Mapping, got [1]"),
        (["not", "an", "object"], "request must be Mapping, got ['not', 'an', 'object']"),
    ],
)
def test_what_is_not_a_request_is_refused(data: Any, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        LayerRequest.from_json(data)


def test_a_mask_is_no_picture() -> None:
    mask = np.zeros((2, 2), np.uint8)
    pictures = LayerRequest(controls=(Control("foreground", "edges", mask),)).pictures()
    (key,) = pictures
    data = {"background": {"pixels": {"sha256": key, "size": [2, 2], "dtype": "uint8"}}}
    with pytest.raises(RequestError, match="must have 3 dimensions, or 4 for frames, got shape"):
        LayerRequest.from_json(data, pictures)
