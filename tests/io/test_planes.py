"""The planes folder: what lies in it, edits from outside, writing over, and names that lead out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from io_documents import assert_same, layer_of
from multiplane import io
from multiplane.core.composite import composite_u8
from multiplane.core.document import Group, LayerDocument, Mask
from multiplane.io import atomic, planes

APPLE = layer_of(6, 5, seed=1, name="A red apple!", role="foreground")
VALLEY = layer_of(6, 5, seed=2, name="谷", role="background")
SCENE = LayerDocument((6, 5), (VALLEY, Group("props", (APPLE,))))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_names_tell_what_lies_where(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "scene")
    assert sorted(files(tmp_path / "scene")) == [
        "00-谷.png",
        "02-a-red-apple.png",
        "composite.png",
        "layers.json",
    ]
    with Image.open(tmp_path / "scene" / "composite.png") as shown:
        np.testing.assert_array_equal(np.asarray(shown), composite_u8(SCENE))


def test_a_layer_edited_in_another_program_is_read_as_edited(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "scene")
    Image.new("RGB", (9, 9), (10, 20, 30)).save(tmp_path / "scene" / "00-谷.png")
    layer = io.read(tmp_path / "scene").find("谷")
    assert layer.size == (9, 9)
    assert (layer.pixels == [10, 20, 30, 255]).all()


def test_the_index_may_be_named_too(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "scene.planes")
    assert_same(SCENE, io.read(tmp_path / "scene.planes" / "layers.json"))


def test_changing_one_layer_leaves_the_files_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    io.write(SCENE, folder)
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}
    changed = LayerDocument((6, 5), (VALLEY, replace(APPLE, pixels=layer_of(6, 5, seed=9).pixels)))
    io.write(changed, folder)
    assert_same(changed, io.read(folder))
    assert (folder / "00-谷.png").stat().st_mtime_ns == before["00-谷.png"]
    assert sorted(files(folder)) == [
        "00-谷.png",
        "01-a-red-apple.png",
        "composite.png",
        "layers.json",
    ]


def test_writing_over_keeps_what_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    io.write(SCENE, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "01-a-red-apple.png").write_bytes(b"mine too")  # a name the next document would take
    smaller = LayerDocument((6, 5), (VALLEY, APPLE))
    io.write(smaller, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "01-a-red-apple.png").read_bytes() == b"mine too"
    assert_same(smaller, io.read(folder))


@pytest.mark.parametrize("index", [None, "{}", "not json", '{"format": "another program"}'])
def test_a_folder_of_something_else_is_not_written_into(index: str | None, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    if index is not None:
        (tmp_path / "layers.json").write_text(index)
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match="no planes folder"):
        io.write(SCENE, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("fails_at", range(4))
def test_a_write_that_fails_leaves_the_old_document(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scene"
    io.write(SCENE, folder)
    before = files(folder)
    count = 0

    def failing(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > fails_at:
            raise OSError("No space left on device")
        atomic.write_bytes(path, data)

    monkeypatch.setattr(planes, "write_bytes", failing)
    other = LayerDocument((6, 5), (layer_of(6, 5, seed=5, name="谷"), layer_of(3, 3), VALLEY))
    with pytest.raises(OSError, match="No space"):
        io.write(other, folder)
    after = files(folder)
    after["composite.png"] = before["composite.png"]  # derived: may be ahead of the layers
    assert after == before
    assert_same(SCENE, io.read(folder))
    with pytest.raises(OSError, match="No space"):
        io.write(other, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def edited_index(folder: Path, change: Any) -> Path:
    io.write(SCENE, folder)
    index = json.loads((folder / "layers.json").read_text())
    change(index)
    (folder / "layers.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "sub/x.png", "..\\x.png", "C:x.png", "..", ""]
)
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2)).save(tmp_path / "secret.png")
    folder = edited_index(tmp_path / "scene", lambda i: i["layers"][0].update(file=name))
    with pytest.raises(io.FileFormatError, match="not in the folder itself"):
        io.read(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i.pop("size"),
        lambda i: i.update(size=[0, 5]),
        lambda i: i.update(size=[6, "5"]),
        lambda i: i.update(size=[60_000, 5]),
        lambda i: i.update(layers={}),
        lambda i: i.update(layers=[3]),
        lambda i: i.update(space="cmyk"),
        lambda i: i.update(provenance=[]),
        lambda i: i["layers"][0].update(opacity=2),
        lambda i: i["layers"][0].update(opacity=float("nan")),
        lambda i: i["layers"][0].update(opacity="1"),
        lambda i: i["layers"][0].update(blend="glitter"),
        lambda i: i["layers"][0].update(blend="pass-through"),
        lambda i: i["layers"][0].update(visible=1),
        lambda i: i["layers"][0].update(role="king"),
        lambda i: i["layers"][0].update(offset=[10**30, 0]),
        lambda i: i["layers"][0].update(offset=[0.5, 0]),
        lambda i: i["layers"][0].update(file="absent.png"),
        lambda i: i["layers"][0].update(mask={"file": "00-谷.png"}),
        lambda i: i["layers"][1].update(type="groop"),
        lambda i: i["layers"].extend(i["layers"] * 3000),
    ],
)
def test_an_index_that_lies_is_one_clear_error(change: Any, tmp_path: Path) -> None:
    folder = edited_index(tmp_path / "scene", change)
    with pytest.raises(io.FileFormatError, match=r"layers\.json: "):
        io.read(folder)


def test_a_later_version_is_named(tmp_path: Path) -> None:
    folder = edited_index(tmp_path / "scene", lambda i: i.update(version=2))
    with pytest.raises(io.FileFormatError, match="version 2; this release reads"):
        io.read(folder)


def test_groups_nested_past_the_limit_are_refused(tmp_path: Path) -> None:
    group = Group("g", ())
    for _ in range(70):
        group = Group("g", (group,))
    io.write(LayerDocument((2, 2), (group,)), tmp_path / "deep")
    with pytest.raises(io.FileFormatError, match="nests groups"):
        io.read(tmp_path / "deep")


def test_a_folder_without_an_index_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(io.FileFormatError, match=r"holds no layers\.json"):
        io.read(tmp_path)


def test_masks_may_be_replaced_by_any_picture(tmp_path: Path) -> None:
    mask = Mask(np.full((5, 6), 200, np.uint8))
    io.write(LayerDocument((6, 5), (replace(APPLE, mask=mask),)), tmp_path / "scene")
    Image.new("RGB", (6, 5), (90, 90, 90)).save(tmp_path / "scene" / "00-a-red-apple.mask.png")
    back = io.read(tmp_path / "scene").leaves()[0].mask
    assert back is not None
    assert (back.pixels == 90).all()


def test_a_float_plane_of_another_shape_is_refused(tmp_path: Path) -> None:
    layer = replace(APPLE, pixels=np.zeros((2, 2, 4), np.float32))
    io.write(LayerDocument((2, 2), (layer,)), tmp_path / "scene")
    file = tmp_path / "scene" / "00-a-red-apple.npy"
    for array in (np.zeros((2, 2)), np.zeros((2, 2, 4)), np.array([{}], dtype=object)):
        np.save(file, array, allow_pickle=True)
        with pytest.raises(io.FileFormatError, match="red-apple"):
            io.read(tmp_path / "scene")
