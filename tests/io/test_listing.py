"""What `describe` says of a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from io_documents import layer_of
from multiplane import io
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
from multiplane.io.listing import describe

HALF = np.zeros((4, 4, 4), np.uint8)
HALF[:2, :, 3] = 255
HALF[2, :, 3] = 51
MASK = Mask(np.zeros((2, 3), np.uint8), (1, 2), outside=1.0)
SCENE = LayerDocument(
    (8, 6),
    (
        Layer("half", HALF, offset=(-1, 2), opacity=0.5, role="foreground"),
        Group("g", (layer_of(8, 6, name="图层", mask=MASK, visible=False),), blend="normal"),
    ),
    provenance=Provenance("tiny", "0.1", 9, {"prompt": "x"}),
)


@pytest.mark.parametrize("name", ["scene", "scene.psd"])
def test_a_layered_file(name: str, tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / name)
    told = describe(tmp_path / name)
    assert json.loads(json.dumps(told)) == told
    assert (told["size"], told["space"], told["notes"]) == ([8, 6], "srgb", [])
    assert told["format"] == ("planes" if name == "scene" else "psd")
    assert told["bytes"] > 100
    half, group, inner = told["layers"]
    assert half == {
        "path": [0],
        "kind": "layer",
        "name": "half",
        "blend": "normal",
        "opacity": 0.5,
        "visible": True,
        "clip": False,
        "mask": None,
        "size": [4, 4],
        "offset": [-1, 2],
        "dtype": "uint8",
        "role": "foreground",
        "coverage": 0.55,  # (8 + 4 / 5) / 16
        "soft": 0.25,
        "sha256": SCENE.leaves()[0].content_hash,
    }
    assert (group["kind"], group["path"], group["name"]) == ("group", [1], "g")
    assert (inner["path"], inner["visible"]) == ([1, 0], False)
    assert inner["mask"] == {"size": [3, 2], "offset": [1, 2], "outside": 1.0, "enabled": True}
    assert told["provenance"]["seed"] == 9


def test_a_photo_and_what_reading_it_lost(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    told = describe(tmp_path / "a.gif")
    assert (told["format"], told["provenance"]) == ("gif", None)
    assert len(told["notes"]) == 1
    assert "only the first" in told["notes"][0]


def test_the_index_of_a_folder_counts_the_folder(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "scene")
    index = tmp_path / "scene" / "layers.json"
    assert describe(index)["bytes"] == describe(tmp_path / "scene")["bytes"]
