"""The family behind the engine: every pair it can do, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from known_scenes import ball_on_lawn, red_matte
from multiplane.core.pixels import to_float, to_u8
from multiplane.core.request import Control, LayerRequest, Plane, RequestError, Task
from multiplane.engine.entries import families
from multiplane.engine.generate import run_request
from multiplane.pipelines.cutout import CutoutFamily
from multiplane.pipelines.cutout.cutter import Cutter
from multiplane.pipelines.cutout.difference import difference_matte

WANTED = Plane(wanted=True)
PICTURE, ALPHA, FOREGROUND, BACKGROUND = ball_on_lawn((200, 150), ((100, 75),), 40, 8.0)


@pytest.fixture
def family() -> CutoutFamily:
    return CutoutFamily(Cutter(lambda name, threads: red_matte))


def opaque(colour: np.ndarray) -> np.ndarray:
    return to_u8(np.concatenate([colour, np.ones_like(colour[..., :1])], axis=2))


def request(**changes: Any) -> LayerRequest:
    options = {"complete": "diffuse", **changes.pop("options", {})}
    given = {"composite": Plane(pixels=opaque(PICTURE)), "model": "cutout", "options": options}
    return LayerRequest(**{**given, **changes})  # pyright: ignore[reportArgumentType]


def test_its_entry_says_what_it_does(family: CutoutFamily) -> None:
    assert families()["cutout"].tasks == family.tasks


def test_a_picture_is_taken_apart(family: CutoutFamily) -> None:
    seen: list[tuple[int, int]] = []
    outcome = run_request(
        family,
        request(foregrounds=(WANTED,), background=WANTED),
        lambda step, total, shown: seen.append((step, total)),
    )
    (front,), back = outcome.foregrounds, outcome.background
    assert back is not None
    assert outcome.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6
    assert outcome.residual is None
    assert np.abs(to_float(front)[..., 3] - ALPHA).mean() < 0.01
    edge = (ALPHA > 0.2) & (ALPHA < 0.8)
    assert np.abs(to_float(front)[edge][:, :3] - FOREGROUND[edge]).mean() < 0.06
    assert np.abs(to_float(back)[..., :3] - BACKGROUND).mean() < 0.01
    clear = front[..., 3] == 0
    np.testing.assert_array_equal(back[clear], opaque(PICTURE)[clear])
    np.testing.assert_array_equal(
        front[front[..., 3] == 255], opaque(PICTURE)[front[..., 3] == 255]
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(outcome.report["family"]["seconds"]) == {"matte", "edge", "colours", "background"}


def test_the_foreground_alone(family: CutoutFamily) -> None:
    cut = run_request(family, request(foregrounds=(WANTED,)))
    assert cut.background is None
    assert np.abs(to_float(cut.foregrounds[0])[..., 3] - ALPHA).mean() < 0.01


def test_behind_a_given_foreground(family: CutoutFamily) -> None:
    front = to_u8(np.concatenate([FOREGROUND, ALPHA[..., None]], axis=2))
    outcome = run_request(family, request(foregrounds=(Plane(pixels=front),), background=WANTED))
    np.testing.assert_array_equal(outcome.foregrounds[0], front)
    assert outcome.background is not None
    assert np.abs(to_float(outcome.background)[..., :3] - BACKGROUND).mean() < 0.01
    assert outcome.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6


def test_in_front_of_a_given_background(family: CutoutFamily) -> None:
    outcome = run_request(
        family, request(foregrounds=(WANTED,), background=Plane(pixels=opaque(BACKGROUND)))
    )
    front = to_float(outcome.foregrounds[0])
    assert np.abs(front[..., 3] - ALPHA).mean() < 0.02
    solid = ALPHA > 0.6
    assert np.abs(front[solid][:, :3] - FOREGROUND[solid]).mean() < 0.05
    assert outcome.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6


def test_a_difference_that_is_enclosed_is_object_too() -> None:
    background = np.full((60, 60, 3), 0.5, np.float32)
    picture = background.copy()
    picture[15:45, 15:45] = 0.9
    picture[25:35, 25:35] = 0.5  # an eye of the background's colour
    matte = difference_matte(picture, background)
    assert (matte[18:42, 18:42] > 0.9).all()
    assert (matte[:10] < 0.05).all()


def test_several_candidates_leave_their_scores(family: CutoutFamily) -> None:
    asked = request(foregrounds=(WANTED,), options={"candidates": 4})
    listed = run_request(family, asked).report["family"]["candidates"]
    assert len(listed) == 4
    assert sum(each["chosen"] for each in listed) == 1
    best = max(each["total"] for each in listed)
    (kept,) = (each for each in listed if each["chosen"])
    assert best - kept["total"] <= 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foregrounds": (Plane(wanted=True, prompt="the dog"),)}, "reads no words"),
        ({"options": {"matte": "u3net"}}, "matte must be one of isnet, u2net, u2netp"),
        ({"options": {"complete": "magic"}}, "complete must be one of migan, opencv, diffuse"),
        ({"options": {"candidates": 7}}, r"candidates must be 1\.\.6"),
        ({"options": {"colour": 1}}, "no options colour; there are boxes, candidates"),
        ({"options": {"points": [[1, 2]]}}, "points must be a list of"),
        ({"options": {"boxes": [["a", 2, 3, 4]]}}, "boxes must be a list of"),
        ({"options": {"points": [[1, 2, 1]], "candidates": 2}}, "give one of them"),
        (
            {"controls": (Control("foreground", "edges", np.zeros((150, 200), np.uint8)),)},
            "takes no controls",
        ),
    ],
)
def test_what_it_cannot_do_is_said(
    family: CutoutFamily, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        run_request(family, request(**{"foregrounds": (WANTED,), **changes}))


def test_it_makes_nothing_out_of_words(family: CutoutFamily) -> None:
    with pytest.raises(RequestError, match="cannot do '-> foreground'"):
        run_request(family, LayerRequest(foregrounds=(WANTED,), model="cutout"))
    assert Task.of("-> foreground") not in family.tasks


def test_it_takes_no_path_of_weights(tmp_path: Any) -> None:
    with pytest.raises(RequestError, match="takes no weights of one path"):
        CutoutFamily.load(tmp_path)
