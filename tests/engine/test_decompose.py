"""Photographs into documents: they add up, keep their depth, and say when there is no subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import multiplane
from known_scenes import ball_on_lawn, red_matte
from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Group, LayerDocument
from multiplane.core.pixels import to_float, to_u8, to_u16
from multiplane.core.request import RequestError
from multiplane.engine import Model
from multiplane.engine.decompose import NoSubject, decompose
from multiplane.io.registry import read
from multiplane.pipelines.cutout import CutoutFamily
from multiplane.pipelines.cutout.cutter import Cutter
from multiplane.weights.fetch import FetchError

PICTURE, ALPHA, FOREGROUND, BACKGROUND = ball_on_lawn((200, 150), ((100, 75),), 40, 8.0)
TWO, *_ = ball_on_lawn((300, 160), ((80, 80), (210, 80)), 45, 6.0)


class BoxCutter(Cutter):
    """Its promptable segmenter takes what is red inside the boxes, or around the points."""

    def _segmenter(self, threads: int) -> Any:
        return self

    def segment(self, picture: np.ndarray, points: Any, boxes: Any) -> np.ndarray:
        rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
        inside = np.zeros(picture.shape[:2], bool)
        for left, top, right, bottom in boxes:
            inside |= (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
        if not boxes:
            for x, y, label in points:
                inside |= (np.hypot(columns - x, rows - y) < 60) & (label == 1)
        return np.where(inside, red_matte(picture), 0.0).astype(np.float32)


@pytest.fixture
def model() -> Model:
    return Model(CutoutFamily(BoxCutter(lambda name, threads: red_matte)))


def taken_apart(picture: Any, model: Model, **asked: Any) -> LayerDocument:
    return decompose(picture, model=model, **{"complete": "diffuse", **asked})


def apart(document: LayerDocument, picture: np.ndarray) -> float:
    """The largest difference of what a document shows to a picture, in 1/255."""
    shown = composite_u8(document).astype(int)[..., : picture.shape[2]]
    return float(np.abs(shown - to_u8(picture)).max())


def test_a_photograph_becomes_a_background_and_a_subject(model: Model) -> None:
    document = taken_apart(PICTURE, model)
    assert document.size == (200, 150)
    assert [layer.name for layer in document.leaves()] == ["Background", "Red subject"]
    assert [layer.role for layer in document.leaves()] == ["background", "foreground"]
    assert apart(document, PICTURE) <= 1
    provenance = document.provenance
    assert provenance is not None
    assert (provenance.model, provenance.request["model"]) == ("cutout", "cutout")
    assert provenance.report["recomposition"]["maximum"] <= 1 / 255 + 1e-6
    assert provenance.report["parts"][0]["family"]["complete"] == "diffuse"
    back = to_float(document.find("Background").pixels)[..., :3]
    assert np.abs(back - BACKGROUND).mean() < 0.01


def test_sixteen_bits_stay(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    noisy = np.clip(PICTURE + rng.normal(0, 0.002, PICTURE.shape), 0, 1).astype(np.float32)
    deep = np.dstack([to_u16(noisy), np.full(ALPHA.shape, 65535, np.uint16)])
    document = taken_apart(deep, model)
    background, subject = document.leaves()
    assert background.pixels.dtype == subject.pixels.dtype == np.uint16
    clear, solid = subject.pixels[..., 3] == 0, subject.pixels[..., 3] == 65535
    np.testing.assert_array_equal(background.pixels[clear], deep[clear])
    np.testing.assert_array_equal(subject.pixels[solid], deep[solid])
    assert np.abs(composite(document)[..., :3] - to_float(deep)[..., :3]).max() < 3 / 65535
    multiplane.write(document, tmp_path / "deep.psd")
    again = read(tmp_path / "deep.psd").find("Background")
    np.testing.assert_array_equal(again.pixels[clear], deep[clear])


def test_a_see_through_picture_keeps_its_alpha(model: Model) -> None:
    given = np.concatenate([to_u8(PICTURE), np.full((150, 200, 1), 255, np.uint8)], axis=2)
    given[:, :30, 3] = 0
    given[:, :30, :3] = (255, 0, 0)  # hidden red is no subject
    given[:, 30:40, 3] = 120
    document = taken_apart(given, model)
    (group,) = document.layers
    assert isinstance(group, Group)
    shown = composite_u8(document).astype(int)
    np.testing.assert_array_equal(shown[..., 3], given[..., 3])
    assert np.abs(shown - given)[given[..., 3] > 0].max() <= 1
    assert document.leaves()[1].pixels[:, :30, 3].max() == 0


def test_the_second_peel_takes_what_is_left(model: Model) -> None:
    picture = TWO.copy()

    def left_first(seen: np.ndarray) -> np.ndarray:
        red = red_matte(seen)
        half = red.copy()
        half[:, 150:] = 0.0
        return half if (half > 0.5).any() else red

    peeling = Model(CutoutFamily(Cutter(lambda name, threads: left_first)))
    document = taken_apart(picture, peeling, layers=4)
    names = [layer.name for layer in document.leaves()]
    assert names == ["Background", "Red object, right", "Red object, left"]
    assert apart(document, picture) <= 1
    assert document.provenance is not None
    parts = document.provenance.report["parts"]
    assert len(parts) == 3
    assert "no clear subject" in parts[2]["no_subject"]


def test_unconnected_objects_are_split_into_a_group(model: Model) -> None:
    document = taken_apart(TWO, model, split=True)
    _, group = document.layers
    assert isinstance(group, Group)
    assert group.name == "Objects"
    assert {layer.name for layer in group.layers} == {"Red object, left", "Red object, right"}
    assert apart(document, TWO) <= 1
    left, right = (document.find(f"Red object, {side}").pixels for side in ("left", "right"))
    assert left[:, 160:, 3].max() == right[:, :130, 3].max() == 0


def test_boxes_and_points_say_what_goes_on_which_layer(model: Model) -> None:
    boxes = [(20, 20, 140, 140), (150, 20, 280, 140)]
    document = taken_apart(TWO, model, boxes=boxes)
    assert [layer.name for layer in document.leaves()][1:] == [
        "Red object, left",
        "Red object, right",
    ]
    assert apart(document, TWO) <= 1
    one = taken_apart(TWO, model, points=[(210, 80, 1)])
    assert [layer.name for layer in one.leaves()] == ["Background", "Red subject"]
    assert apart(one, TWO) <= 1
    assert one.find("Red subject").pixels[:, :130, 3].max() == 0


def test_no_clear_subject_is_an_answer(model: Model) -> None:
    with pytest.raises(NoSubject, match="no clear subject: nothing stands out"):
        taken_apart(BACKGROUND, model)
    document = taken_apart(BACKGROUND, model, keep_flat=True)
    assert [layer.name for layer in document.leaves()] == ["Background"]
    np.testing.assert_array_equal(composite_u8(document)[..., :3], to_u8(BACKGROUND))
    assert document.provenance is not None
    assert "no clear subject" in document.provenance.report["parts"][0]["no_subject"]


def test_files_stand_upright(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a quarter clockwise to show it
    Image.fromarray(to_u8(np.rot90(PICTURE).copy())).save(path, exif=exif)
    document = taken_apart(str(path), model)
    assert document.size == (200, 150)
    assert apart(document, PICTURE) <= 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": 0}, r"layers must be 1\.\.16"),
        ({"layers": 2, "points": [(1, 1, 1)]}, "leave out layers"),
        ({"matte": "rembg"}, "matte must be one of"),
    ],
)
def test_what_contradicts_itself_is_refused(
    model: Model, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        taken_apart(PICTURE, model, **asked)


def test_unknown_words_and_clear_pictures_are_refused(model: Model) -> None:
    with pytest.raises(TypeError, match="decompose takes layers, split"):
        decompose(PICTURE, model=model, depth=2)
    with pytest.raises(RequestError, match="clear throughout"):
        taken_apart(np.zeros((8, 8, 4), np.uint8), model)


def test_out_of_reach_names_what_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path))
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    with pytest.raises(FetchError, match="--matte u2netp --complete diffuse"):
        decompose(PICTURE)
    document = decompose(PICTURE, matte="u2netp", complete="diffuse", threads=1)
    assert apart(document, PICTURE) <= 1
    found = to_float(document.leaves()[1].pixels)[..., 3]
    assert np.abs(found - ALPHA).mean() < 0.02
