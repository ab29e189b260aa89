"""`multiplane inspect`, `convert`, `models`, help and version: no model runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import multiplane
from multiplane.apps.cli.main import app
from multiplane.core.document import Group, Layer, LayerDocument, Mask
from multiplane.io.registry import read, write

Command = Callable[..., Any]


@pytest.fixture
def document() -> LayerDocument:
    under = np.full((6, 8, 4), 255, np.uint8)
    above = np.zeros((3, 4, 4), np.uint8)
    above[1:, 1:] = (200, 40, 20, 255)
    mask = Mask(np.full((6, 8), 255, np.uint8))
    top = Layer("apple", above, (2, 1), opacity=0.5, blend="multiply", role="foreground", mask=mask)
    return LayerDocument(
        (8, 6),
        (Layer("sky", under, role="background"), Group("fruit", (top,), visible=False)),
    )


def test_inspect_lists_the_layers_topmost_first(
    command: Command, tmp_path: Path, document: LayerDocument
) -> None:
    path = tmp_path / "a.psd"
    write(document, path)
    done = command("inspect", path)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{path}: psd, 8 x 6, ")
    named = [line.strip() for line in lines[1:]]
    assert named[0] == (
        "apple (foreground): 4 x 3 at 2, 1, covers 50%, multiply, opacity 50%, mask"
    )
    assert named[1] == "fruit/, hidden"
    assert named[2] == "sky (background): 8 x 6 at 0, 0, covers 100%"


def test_names_from_a_file_cannot_steer_the_terminal(command: Command, tmp_path: Path) -> None:
    pixels = np.full((2, 2, 4), 255, np.uint8)
    write(LayerDocument((2, 2), (Layer("\x1b[2Jred\x07", pixels),)), tmp_path / "planes")
    done = command("inspect", tmp_path / "planes")
    assert r"\x1b[2Jred\x07: 2 x 2" in done.out
    assert "\x1b" not in done.out


def test_inspect_says_who_made_it(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.ora"
    command("generate", "--model", "flat", "-f", "a cat", "--seed", "3", "-o", path)
    assert "made by flat 1, seed 3: -> foreground" in command("inspect", path).out
    found = command("inspect", path, "--json").json
    assert found["provenance"]["request"]["foregrounds"][0]["prompt"] == "a cat"


def test_inspect_as_json(command: Command, tmp_path: Path, document: LayerDocument) -> None:
    path = tmp_path / "a.ora"
    write(LayerDocument(document.size, document.layers[:1]), path)
    found = command("inspect", path, "--json").json
    assert found["size"] == [8, 6]
    (row,) = found["layers"]
    assert row["name"] == "sky"
    assert row["sha256"] == document.leaves()[0].content_hash


def test_inspect_of_what_is_no_picture(command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.psd"
    broken.write_bytes(b"8BPS\0\1 and no more")
    done = command("inspect", broken)
    assert done.code == 1
    assert "broken.psd" in done.error
    done = command("inspect", tmp_path / "absent.psd")
    assert done.code == 1
    assert "absent.psd does not exist" in done.error


@pytest.mark.parametrize("suffix", [".psd", ".ora", ""])
def test_convert_keeps_every_layer(command: Command, tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    made = LayerDocument((8, 6), (Layer("a", pixels), Layer("b", pixels[::-1], opacity=0.5)))
    source, target = tmp_path / "planes", tmp_path / f"b{suffix}"
    write(made, source)
    done = command("convert", source, target, "--json")
    assert done.json["path"] == str(target)
    found = read(target)
    assert [layer.content_hash for layer in found.leaves()] == [
        layer.content_hash for layer in made.leaves()
    ]


def test_convert_says_what_it_baked(
    command: Command, tmp_path: Path, document: LayerDocument
) -> None:
    source, target = tmp_path / "a.psd", tmp_path / "a.png"
    write(document, source)
    done = command("convert", source, target)
    assert done.code == 0
    assert done.error.startswith("multiplane: ")
    assert "layers" in done.error
    assert Image.open(target).size == (8, 6)


def test_models_lists_families_and_their_rows(command: Command) -> None:
    done = command("models")
    assert "cut-only: single flat shapes, for tests" in done.out
    found = {entry["name"]: entry for entry in command("models", "--json").json["models"]}
    assert found["cut-only"]["tasks"] == ["-> foreground"]
    assert found["flat"]["install"] == "pip install 'flat'"
    assert len(found["flat"]["tasks"]) == 8


def test_help_names_every_command(command: Command) -> None:
    found = CliRunner().invoke(app, ["--help"])
    assert found.exit_code == 0
    for name in (
        *("generate", "add", "inpaint", "regenerate", "inspect", "convert", "models"),
        *("data", "evaluate"),
    ):
        assert name in found.output
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
    done = command()
    assert done.code == 0  # nothing asked: the help
    assert "generate" in done.out


def test_version(command: Command) -> None:
    assert command("--version").out.strip() == multiplane.__version__


def test_an_unknown_command(command: Command) -> None:
    done = command("paint")
    assert done.code == 2
    assert "paint" in done.error


def test_a_reader_that_stops_early_is_no_error_to_tell(tmp_path: Path) -> None:
    pixels = np.full((1, 1, 4), 255, np.uint8)
    layers = tuple(Layer("a layer with a long name " * 8, pixels) for _ in range(800))
    write(LayerDocument((1, 1), layers), tmp_path / "many.ora")
    program = Path(sys.executable).with_name("multiplane")
    process = subprocess.Popen(
        [str(program), "inspect", str(tmp_path / "many.ora")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)
    process.stderr.close()


def test_the_installed_command_speaks_json() -> None:
    program = Path(sys.executable).with_name("multiplane")
    done = subprocess.run(
        [str(program), "models", "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "tiny" in [entry["name"] for entry in json.loads(done.stdout)["models"]]
    assert done.stderr == ""


def test_convert_writes_a_lora(command: Command, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    key = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight::lora::"
    save_file(
        {f"{key}0": torch.ones(8, 2), f"{key}1": torch.ones(2, 8)}, tmp_path / "a.safetensors"
    )
    target = tmp_path / "b.safetensors"
    done = command("convert", tmp_path / "a.safetensors", "-o", target)
    assert done.code == 0, done.err
    assert str(target) in done.out
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    assert set(load_file(target)) == {f"{module}.lora_A.weight", f"{module}.lora_B.weight"}


def test_convert_takes_one_target(command: Command, tmp_path: Path) -> None:
    for arguments in ((), (tmp_path / "a.psd", "-o", tmp_path / "b.psd")):
        done = command("convert", tmp_path / "x.png", *arguments)
        assert done.code == 2
        assert "one file to write" in done.err
