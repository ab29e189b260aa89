"""`multiplane decompose` of a clip, with the network that is in the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from footage_scene import shot
from multiplane.core.composite import composite_u8
from multiplane.io.clips import read_clip

Command = Callable[..., Any]
QUICK = ("--complete", "diffuse")


def test_a_clip_becomes_a_folder_of_layers(command: Command, tmp_path: Path) -> None:
    scene = shot(4, (96, 72), radius=16.0)
    source = scene.written(tmp_path / "shot.mkv")
    done = command("decompose", source, "-o", tmp_path / "layers", *QUICK, "--json")
    assert done.code == 0, done.err
    assert [layer["name"] for layer in done.json["layers"]] == ["Background", "Red subject"]
    assert (done.json["frames"], done.json["fps"]) == (4, "12")
    assert done.json["delivered"]["maximum"] <= 1.02 / 255
    clip = read_clip(tmp_path / "layers")
    overlap = []
    for document, frame, alpha in zip(clip, scene.frames, scene.alpha, strict=True):
        assert np.abs(composite_u8(document).astype(int) - frame).max() <= 1
        found, true = document.leaves()[1].pixels[..., 3] > 127, alpha > 0.5
        overlap.append((found & true).sum() / (found | true).sum())
    assert np.mean(overlap) > 0.85
    again = command("decompose", source, "-o", tmp_path / "layers", *QUICK, "--resume")
    assert "already there" in again.out


def test_options_of_stills_and_of_clips_are_told_apart(command: Command, tmp_path: Path) -> None:
    source = shot(2, (48, 40)).written(tmp_path / "shot.mkv")
    done = command("decompose", source, "-o", tmp_path / "layers", "--layers", "2")
    assert done.code == 2
    assert "--layers: for photographs" in done.error
    Image.new("RGB", (40, 30)).save(tmp_path / "still.png")
    done = command("decompose", tmp_path / "still.png", "-o", tmp_path / "a.psd", "--every", "2")
    assert done.code == 2
    assert "--every: for clips" in done.error
    done = command("decompose", source, "-o", tmp_path / "out.psd")
    assert done.code == 2
    assert "folder of layers" in done.error
