"""Clicks and boxes: what the two networks are fed, what is one object, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multiplane.core.request import RequestError
from multiplane.pipelines.cutout import promptable
from multiplane.pipelines.cutout.promptable import (
    DECODER,
    ENCODER,
    PromptableSegmenter,
    likeliest,
    prompts_of,
)

LOW = promptable.LOW_SIDE


class _Encoder:
    def __init__(self) -> None:
        self.fed: list[np.ndarray] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names == list(promptable.FEATURES)
        self.fed.append(feeds["image"])
        return [np.full((1, 1), index, np.float32) for index in range(3)]


class _Decoder:
    """Draws a disc about the middle of what it is asked for: of three masks the second one."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[list[float]], list[float]]] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names == ["masks", "iou_predictions"]
        assert [float(feeds[name][0, 0]) for name in promptable.FEATURES] == [0, 1, 2]
        assert feeds["mask_input"].shape == (1, 1, LOW, LOW)
        assert not feeds["has_mask_input"].any()
        coords, labels = feeds["point_coords"][0], feeds["point_labels"][0]
        self.asked.append((coords.tolist(), labels.tolist()))
        x, y = coords[labels != promptable.PADDING].mean(axis=0) * LOW / promptable.SIDE
        rows, columns = np.mgrid[:LOW, :LOW] + 0.5
        disc = np.where(np.hypot(columns - x, rows - y) < 20, 8.0, -8.0)
        masks = np.stack([-disc, disc, -disc])[None]
        return [masks.astype(np.float32), np.array([[0.1, 0.9, 0.5]], np.float32)]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> tuple[_Encoder, _Decoder]:
    made = (_Encoder(), _Decoder())

    def opened(model: Path, threads: int) -> Any:
        assert model.parent == Path("folder")
        return {ENCODER: made[0], DECODER: made[1]}[model.name]

    monkeypatch.setattr(promptable, "open_session", opened)
    return made


def picture(width: int = 80, height: int = 40, red: float = 0.5) -> np.ndarray:
    made = np.full((height, width, 3), 0.5, np.float32)
    made[..., 0] = red
    return made


def test_a_click_is_scaled_to_the_square_and_its_mask_back(
    networks: tuple[_Encoder, _Decoder],
) -> None:
    encoder, decoder = networks
    alpha = PromptableSegmenter(Path("folder")).segment(picture(), points=[(20, 30, 1)])
    assert decoder.asked == [([[20 * 1024 / 80, 30 * 1024 / 40], [0, 0]], [1, -1])]
    assert encoder.fed[0].shape == (1, 3, 1024, 1024)
    normalised = (0.5 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(encoder.fed[0][0, :, 5, 5], normalised, atol=1e-5)
    assert alpha.shape == (40, 80)
    assert alpha.dtype == np.float32
    rows, columns = np.nonzero(alpha > 0.5)
    assert columns.mean() == pytest.approx(19.5, abs=0.6)
    assert rows.mean() == pytest.approx(29.5, abs=0.6)
    assert alpha[0, -1] < 0.01


def test_the_encoder_runs_once_a_picture(networks: tuple[_Encoder, _Decoder]) -> None:
    encoder, decoder = networks
    segmenter = PromptableSegmenter(Path("folder"))
    for x in (10, 40, 70):
        segmenter.segment(picture(), points=[(x, 20, 1)])
    assert (len(encoder.fed), len(decoder.asked)) == (1, 3)
    segmenter.segment(picture(red=0.51), points=[(10, 20, 1)])
    assert len(encoder.fed) == 2


def test_each_box_is_an_object_and_all_of_them_are_meant(
    networks: tuple[_Encoder, _Decoder],
) -> None:
    boxes = [(10, 10, 20, 20), (60, 10, 70, 20)]
    alpha = PromptableSegmenter(Path("folder")).segment(picture(), boxes=boxes)
    assert [labels for _, labels in networks[1].asked] == [[2, 3], [2, 3]]
    assert alpha[15, 15] > 0.9
    assert alpha[15, 65] > 0.9
    assert alpha[15, 40] < 0.1


def test_points_go_with_the_box_they_lie_in() -> None:
    asked = prompts_of([(12, 12, 0), (50, 5, 1), (55, 5, 0)], [(10, 10, 20, 20)], (80, 40))
    assert [labels.tolist() for _, labels in asked] == [[2, 3, 0], [1, 0, -1]]
    assert asked[0][0].tolist() == [[10, 10], [20, 20], [12, 12]]
    assert asked[1][0].tolist() == [[50, 5], [55, 5], [0, 0]]


def test_a_box_is_cut_at_the_edge_of_the_picture() -> None:
    ((coords, _),) = prompts_of([], [(-5, -5, 200, 30)], (80, 40))
    assert coords.tolist() == [[0, 0], [80, 30]]


@pytest.mark.parametrize(
    ("points", "boxes", "said"),
    [
        ([], [], "no prompt: give a point"),
        ([(80, 5, 1)], [], "80,5 lies outside the picture of 80 x 40 pixels: x runs from 0 to 79"),
        ([(5, -1, 1)], [], "5,-1 lies outside"),
        ([(float("nan"), 5, 1)], [], "lies outside"),
        ([(5, 5, 2)], [], "labelled 1 .* or 0 .*, got 2"),
        ([(5, 5, 0)], [], "only points with label 0"),
        ([], [(10, 10, 10, 30)], "covers nothing"),
        ([], [(30, 10, 10, 30)], "left < right"),
        ([], [(90, 10, 120, 30)], "covers nothing of the picture of 80 x 40"),
    ],
)
def test_prompts_that_mean_nothing_are_refused_before_anything_runs(
    networks: tuple[_Encoder, _Decoder], points: Any, boxes: Any, said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        PromptableSegmenter(Path("folder")).segment(picture(), points, boxes)
    assert not networks[0].fed


def test_only_colour_pictures() -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        PromptableSegmenter(Path("folder")).segment(np.zeros((4, 4, 4), np.float32), [(1, 1, 1)])


def test_the_likeliest_mask_is_scored_by_its_stability_too() -> None:
    crisp = np.where(np.arange(100).reshape(10, 10) < 50, 9.0, -9.0)
    vague = np.linspace(-2, 2, 100).reshape(10, 10)
    empty = np.full((10, 10), -9.0)
    masks = np.stack([vague, crisp, empty]).astype(np.float32)
    np.testing.assert_array_equal(likeliest(masks, np.array([0.9, 0.8, 0.99])), masks[1])
    np.testing.assert_array_equal(likeliest(masks[1:], np.array([0.1, 0.9])), masks[1])
