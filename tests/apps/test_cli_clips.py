"""Clips on the command line: `generate --frames`, `convert`, `inspect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multiplane
from flat_family import color_of
from moving_family import MOVING
from moving_scene import layered, single, stack
from multiplane.core.composite import composite_u8
from multiplane.core.document import Layer, LayerDocument

Command = Callable[..., Any]


@pytest.fixture
def moving(command: Command) -> Command:
    multiplane.register(MOVING)
    return command


def test_generate_writes_a_clip(moving: Command, tmp_path: Path) -> None:
    layers, film = tmp_path / "layers", tmp_path / "film.mov"
    done = moving(
        *("generate", "-f", "a cat", "-b", "a hill", "--frames", 5, "--model", "moving"),
        *("--seed", 3, "--fps", 12, "--size", "48x32", "-o", layers, "-o", film, "--json"),
    )
    assert done.code == 0, done.err
    (made,) = done.json["pictures"]
    assert (made["frames"], made["fps"], made["size"]) == (5, "12", [48, 32])
    clip = multiplane.read_clip(layers)
    assert clip.names == ("a hill", "a cat")
    assert (clip.frames, clip.fps) == (5, 12)
    assert clip.provenance is not None
    assert clip.provenance.seed == 3
    solid = stack(clip, "a cat")[0]
    near = solid[solid[..., 3] == 255][0, :3].astype(float)
    assert np.abs(near - color_of("a cat") * 255).max() <= 26
    flat = stack(multiplane.read_clip(film))
    shown = np.stack([composite_u8(document) for document in clip])
    assert np.abs(flat.astype(int) - shown.astype(int)).max() <= 2


def test_generate_extends_what_is_given(moving: Command, tmp_path: Path) -> None:
    given = single(3, (48, 32))
    multiplane.write_clip(given, tmp_path / "seq" / "%04d.png")
    multiplane.write_clip(given, tmp_path / "in.mkv")
    for name in ("in.mkv", "seq/%04d.png", "seq"):
        done = moving(
            *("generate", "-f", f"@{tmp_path / name}", "-b", "a hill", "--frames", 4),
            *("-m", "moving", "-o", tmp_path / "out", "--seed", 1),
        )
        assert done.code == 0, done.err
        back = multiplane.read_clip(tmp_path / "out")
        assert (back.frames, back.fps) == (4, given.fps)
        np.testing.assert_array_equal(stack(back, "Foreground")[:3], stack(given))
    assert "4 frames at 23.976 a second" in done.out


def test_families_of_stills_refuse(moving: Command, tmp_path: Path) -> None:
    done = moving("generate", "-f", "a cat", "-m", "flat", "--frames", 5, "-o", tmp_path / "a.mov")
    assert done.code == 2
    assert done.error.endswith(
        "'flat' makes stills: frames must be 1, got 5; families that make clips: moving"
    )
    done = moving(
        "generate", "-f", "a cat", "-m", "moving", "--frames", 5, "-o", tmp_path / "a.psd"
    )
    assert done.code == 1
    assert ".psd is no format that clips are written in" in done.error
    assert list(tmp_path.iterdir()) == []


def test_models_say_who_makes_clips(moving: Command) -> None:
    made = {each["name"]: each["clips"] for each in moving("models", "--json").json["models"]}
    assert made["moving"]
    assert not made["flat"]
    assert "makes stills and clips; given -> wanted:" in moving("models").out


def test_convert_and_inspect(command: Command, tmp_path: Path) -> None:
    multiplane.write_clip(layered(4), tmp_path / "layers")
    done = command("convert", tmp_path / "layers", "-o", tmp_path / "a.mkv")
    assert done.code == 0
    assert "now merged into one moving picture (a folder keeps them)" in done.err
    done = command("convert", tmp_path / "a.mkv", tmp_path / "b.apng", "--fps", "30")
    assert done.code == 0, done.err
    expected = np.stack([composite_u8(document) for document in layered(4)])
    back = multiplane.read_clip(tmp_path / "b.apng")
    np.testing.assert_array_equal(stack(back), expected)
    assert back.fps == 30
    found = command("inspect", tmp_path / "layers", "--json").json
    assert (found["format"], found["codec"], found["fps"], found["frames"]) == (
        *("layers", "ffv1", "24"),
        4,
    )
    assert [row["name"] for row in found["layers"]] == ["ground", "disc"]
    lines = command("inspect", tmp_path / "a.mkv").out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'a.mkv'}: mkv (ffv1), 64 x 48, ")
    assert lines[1] == "4 frames at 24 a second, 0.17 s"


def test_convert_flattens_over_a_colour(command: Command, tmp_path: Path) -> None:
    multiplane.write_clip(single(3), tmp_path / "in.mkv")
    done = command("convert", tmp_path / "in.mkv", "-o", tmp_path / "a.apng", "--over", "#204060")
    assert done.code == 0, done.err
    flat = stack(multiplane.read_clip(tmp_path / "a.apng")).astype(float)
    true = stack(single(3)).astype(float)
    alpha = true[..., 3:] / 255
    expected = true[..., :3] * alpha + np.array([0x20, 0x40, 0x60]) * (1 - alpha)
    assert np.abs(flat[..., :3] - expected).max() <= 0.51
    assert (flat[..., 3] == 255).all()
    done = command("convert", tmp_path / "in.mkv", "-o", tmp_path / "a.mp4")
    assert done.code == 1
    assert "lay it over a colour" in done.error
    assert command("convert", tmp_path / "in.mkv", tmp_path / "a.mp4", "--over", "white").code == 0
    done = command("convert", tmp_path / "in.mkv", tmp_path / "b.mp4", "--over", "bleu")
    assert done.code == 2
    assert "takes a colour" in done.error


def test_convert_takes_one_frame_out(command: Command, tmp_path: Path) -> None:
    multiplane.write_clip(layered(4), tmp_path / "layers")
    done = command("convert", tmp_path / "layers", "-o", tmp_path / "a.psd", "--frame", 2)
    assert done.code == 0, done.err
    still = multiplane.read(tmp_path / "a.psd")
    for name in ("ground", "disc"):
        np.testing.assert_array_equal(still.find(name).pixels, layered(4)[2].find(name).pixels)
    done = command("convert", tmp_path / "layers", "-o", tmp_path / "b.psd")
    assert done.code == 2
    assert "say which frame with --frame N" in done.error


def test_options_that_do_not_belong(command: Command, tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    multiplane.write(LayerDocument((4, 4), (Layer("a", pixels),)), tmp_path / "a.png")
    done = command("convert", tmp_path / "a.png", tmp_path / "b.psd", "--fps", 24)
    assert done.code == 2
    assert "--fps is for clips" in done.error
    done = command("convert", tmp_path / "w.safetensors", tmp_path / "b", "--over", "white")
    assert done.code == 2
    assert "is a file of weights" in done.error
    multiplane.write_clip(single(2), tmp_path / "in.mkv")
    done = command("convert", tmp_path / "in.mkv", tmp_path / "b.mkv", "--fps", "quick")
    assert done.code == 1
    assert "frames a second must be a number" in done.error


def test_a_still_is_flattened_too(command: Command, tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    multiplane.write(LayerDocument((4, 4), (Layer("a", pixels),)), tmp_path / "a.png")
    assert command("convert", tmp_path / "a.png", tmp_path / "b.png", "--over", "red").code == 0
    (layer,) = multiplane.read(tmp_path / "b.png").leaves()
    assert (layer.pixels == (255, 0, 0, 255)).all()
