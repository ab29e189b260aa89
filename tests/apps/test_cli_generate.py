"""`multiplane generate`, `add`, `inpaint`, `regenerate`: files, JSON, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage

from multiplane.apps.cli import options
from multiplane.core.request import RequestError
from multiplane.io.registry import read

Command = Callable[..., Any]
CAT = ("--model", "flat", "-f", "a cat", "-b", "a hill", "--seed", "5")


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """An opaque picture, 30 x 20."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "room.png"
    Image.fromarray(pixels, "RGB").save(path)
    return path


@pytest.fixture
def scene(command: Command, tmp_path: Path) -> Path:
    path = tmp_path / "scene.psd"
    assert command("generate", *CAT, "-o", path).code == 0
    return path


def test_several_outputs_each_in_the_format_of_its_suffix(command: Command, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.psd", "a.ora", "planes", "a.png")]
    outputs = [part for path in files for part in ("-o", path)]
    done = command("generate", *CAT, *outputs)
    assert done.code == 0, done.err
    assert [layer.name for layer in PSDImage.open(files[0])] == ["a hill", "a cat"]
    for path in files[:3]:
        document = read(path)
        assert [layer.name for layer in document.leaves()] == ["a hill", "a cat"]
        assert document.provenance is not None
        assert document.provenance.seed == 5
    assert Image.open(files[3]).size == (48, 32)
    for path in files:
        assert str(path) in done.out
    assert "seed 5" in done.out


def test_json_is_one_object_and_nothing_else(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.psd"
    found = command("generate", *CAT, "--json", "-o", path).json
    assert found["task"] == "-> foreground background composite"
    (picture,) = found["pictures"]
    assert (picture["seed"], picture["size"], picture["model"]) == (5, [48, 32], "flat")
    assert picture["files"] == [{"path": str(path), "bytes": path.stat().st_size}]
    layers = {layer["name"]: layer["sha256"] for layer in picture["layers"]}
    assert layers == {layer.name: layer.content_hash for layer in read(path).leaves()}
    assert picture["report"]["recomposition"]["maximum"] <= 1 / 255
    assert picture["seconds"] >= 0


def test_several_pictures_get_numbers_and_seeds(command: Command, tmp_path: Path) -> None:
    done = command("generate", *CAT, "--count", 3, "--json", "-o", tmp_path / "a.ora")
    pictures = done.json["pictures"]
    assert [picture["seed"] for picture in pictures] == [5, 6, 7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.ora", "a-2.ora", "a-3.ora"]


def test_files_are_given_with_an_at_sign(command: Command, tmp_path: Path, room: Path) -> None:
    path = tmp_path / "a.psd"
    done = command("generate", "--model", "flat", "-f", "a cat", "-b", f"@{room}", "-o", path)
    assert done.code == 0, done.err
    background = read(path).find("Background")
    assert background.size == (30, 20)
    np.testing.assert_array_equal(background.pixels[..., :3], np.asarray(Image.open(room)))


def test_wanted_without_a_prompt_and_left_out(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.psd"
    found = command(
        *("generate", "--model", "flat", "--want", "foreground", "--want", "background"),
        *("--without", "composite", "--json", "-o", path),
    )
    assert found.code == 2  # a row that no family does
    assert "'flat' cannot do '-> foreground background'" in found.error
    found = command(
        *("generate", "--model", "flat", "--want", "foreground", "--want", "background"),
        *("--json", "-o", path),
    )
    assert [layer["name"] for layer in found.json["pictures"][0]["layers"]] == [
        "Background",
        "Foreground",
    ]


def test_several_foregrounds(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.psd"
    command("generate", *CAT, "-f", "a dog", "-o", path)
    assert [layer.name for layer in read(path).leaves()] == ["a hill", "a cat", "a dog"]


def test_an_at_sign_can_begin_a_prompt(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.psd"
    done = command("generate", "--model", "flat", "-f", "@@home sign", "-o", path)
    assert done.code == 0, done.err
    assert read(path).leaves()[0].name == "@home sign"


def test_mask_strength_and_prompt(command: Command, tmp_path: Path, room: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 15:] = 255
    Image.fromarray(mask, "L").save(tmp_path / "mask.png")
    path = tmp_path / "a.ora"
    done = command(
        *("generate", "--model", "flat", "-c", f"@{room}", "--mask", f"@{tmp_path / 'mask.png'}"),
        *("--prompt", "a garden", "-o", path),
    )
    assert done.code == 0, done.err
    before, after = np.asarray(Image.open(room)), read(path).leaves()[0].pixels[..., :3]
    np.testing.assert_array_equal(after[:, :15], before[:, :15])
    assert (after[:, 15:] != before[:, 15:]).any()
    done = command(
        *("generate", "--model", "flat", "-c", f"@{room}", "--strength", "composite=0.4"),
        *("--json", "-o", path),
    )
    request = read(path).provenance
    assert request is not None
    assert request.request["composite"]["strength"] == 0.4


def test_silhouette_from_a_file(command: Command, tmp_path: Path) -> None:
    shape = np.zeros((32, 48), np.uint8)
    shape[3:9, 4:20] = 255
    Image.fromarray(shape, "L").save(tmp_path / "shape.png")
    path = tmp_path / "a.psd"
    done = command("generate", *CAT, "--silhouette", f"@{tmp_path / 'shape.png'}", "-o", path)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(read(path).find("a cat").pixels[..., 3], shape)


def test_the_preview_file_is_a_picture(command: Command, tmp_path: Path) -> None:
    preview = tmp_path / "preview.png"
    done = command("generate", *CAT, "--preview", preview, "-o", tmp_path / "a.psd")
    assert done.code == 0, done.err
    assert Image.open(preview).size == (48, 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.psd", "preview.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-f", "cat.png"), 2, "looks like a file name"),
        (("-f", "@missing.png"), 2, "there is no file 'missing.png'"),
        (("-f", ""), 2, "is empty"),
        ((), 2, "no plane is wanted"),
        (("-f", "a cat", "--size", "12by4"), 2, "size must be WIDTHxHEIGHT"),
        (("-f", "a cat", "--size", "0x4"), 2, "1..16384 pixels a side, got 0 x 4"),
        (("-f", "a cat", "--steps", "0"), 2, "steps must be 1..1000, got 0"),
        (("-f", "a cat", "--steps", "many"), 2, "--steps"),
        (("-f", "a cat", "--count", "0"), 2, "--count"),
        (("-f", "a cat", "--want", "sky"), 2, "--want takes foreground, background, composite"),
        (("-f", "a cat", "--without", "foreground"), 2, "contradicts"),
        (("-f", "a cat", "--model", "huge"), 2, "no family is called 'huge'"),
        (("-f", "a cat", "--model", "cut-only", "-b", "a hill"), 2, "families that can: flat"),
        (("-f", "a cat", "--weights", "nowhere"), 1, "no weights at nowhere"),
        (("-f", "a cat", "--preview", "p.xyz"), 2, "preview must be a picture file"),
        (("-f", "a cat", "--strength", "much"), 2, "expected a number, got 'much'"),
        (("-f", "a cat", "--colour", "red"), 2, "--colour"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("generate", "--model", "flat", "-o", "a.psd", *arguments)
    assert done.code == code
    assert message in done.error
    assert done.error.startswith("multiplane: ")
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_be_written_is_told_before_the_work(
    command: Command, tmp_path: Path
) -> None:
    done = command("generate", *CAT, "-o", tmp_path / "a.psd", "-o", tmp_path / "a.docx")
    assert done.code == 1
    assert ".docx is not a known format" in done.error
    assert list(tmp_path.iterdir()) == []


def test_two_given_pictures_of_different_sizes(
    command: Command, tmp_path: Path, room: Path
) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (31, 20)).save(other)
    done = command(
        *("generate", "--model", "flat", "-f", "a cat", "-b", f"@{room}", "-c", f"@{other}"),
        *("-o", tmp_path / "a.psd"),
    )
    assert done.code == 2
    assert "given background is 30 x 20, the given composite is 31 x 20" in done.error


def test_add_regenerate_inpaint_leave_the_other_layers(
    command: Command, tmp_path: Path, scene: Path
) -> None:
    before = {layer.name: layer.content_hash for layer in read(scene).leaves()}
    flat = ("--model", "flat", "--seed", "9", "--json")
    added = command("add", scene, "a parrot", *flat, "-o", tmp_path / "b.psd").json
    layers = {layer["name"]: layer["sha256"] for layer in added["layers"]}
    assert list(layers) == ["a hill", "a cat", "a parrot"]
    assert before.items() <= layers.items()

    again = command("regenerate", scene, "--layer", "a cat", *flat, "-o", tmp_path / "c.ora").json
    layers = {layer["name"]: layer["sha256"] for layer in again["layers"]}
    assert layers["a hill"] == before["a hill"]
    assert layers["a cat"] != before["a cat"]

    mask = np.zeros((32, 48), np.uint8)
    mask[:16] = 255
    Image.fromarray(mask, "L").save(tmp_path / "mask.png")
    painted = command(
        *("inpaint", scene, "-l", "a hill", "--mask", f"@{tmp_path / 'mask.png'}"),
        *("--prompt", "a lake", *flat, "-o", scene),  # onto the file it came from
    ).json
    layers = {layer["name"]: layer["sha256"] for layer in painted["layers"]}
    assert layers["a cat"] == before["a cat"]
    assert layers["a hill"] != before["a hill"]
    found = read(scene)
    assert found.provenance is not None
    (edit,) = found.provenance.report["edits"]
    assert (edit["action"], edit["layer"]) == ("inpaint", "a hill")


def test_acting_on_a_layer_that_is_not_there(command: Command, scene: Path) -> None:
    done = command("regenerate", scene, "-l", "a cow", "--model", "flat", "-o", scene)
    assert done.code == 2
    assert "no layer is called 'a cow'; the document holds 'a hill', 'a cat'" in done.error


def test_acting_on_a_file_that_is_not_there(command: Command, tmp_path: Path) -> None:
    done = command("add", tmp_path / "no.psd", "a cat", "--model", "flat", "-o", tmp_path / "a.psd")
    assert done.code == 1
    assert "no.psd does not exist" in done.error


def test_extras_are_read_as_what_they_look_like() -> None:
    found = options.extras_of(["passes=4", "hires=1.5", "use_offset=false", "scheduler=Euler a=b"])
    assert found == {"passes": 4, "hires": 1.5, "use_offset": False, "scheduler": "Euler a=b"}
    assert options.extras_of(None) is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["passes"], "NAME=VALUE"), (["a b=1"], "NAME=VALUE"), (["x=1", "x=2"], "said twice")],
)
def test_extras_that_cannot_be_read(texts: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        options.extras_of(texts)
