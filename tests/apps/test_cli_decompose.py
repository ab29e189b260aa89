"""`multiplane decompose` with the network that is in the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from known_scenes import ball_on_lawn
from multiplane.apps.cli.decompose import jobs_of
from multiplane.core.composite import composite_u8
from multiplane.core.pixels import to_u8
from multiplane.core.request import RequestError
from multiplane.engine import entries
from multiplane.io.registry import read

Command = Callable[..., Any]
HERE = ("--matte", "u2netp", "--complete", "diffuse")
CUTOUT = entries.families()["cutout"]


@pytest.fixture(autouse=True)
def with_cutout(command: Command) -> None:
    entries.register(CUTOUT)


def photo(path: Path, seed: int = 0) -> Path:
    picture, *_ = ball_on_lawn()
    noise = np.random.default_rng(seed).normal(0, 0.02, (*picture.shape[:2], 1))
    Image.fromarray(to_u8(np.clip(picture + noise, 0, 1))).save(path, quality=95)
    return path


def test_one_photograph(command: Command, tmp_path: Path) -> None:
    source = photo(tmp_path / "ball.jpg")
    done = command("decompose", source, "-o", tmp_path / "ball.psd", *HERE, "--json")
    assert done.code == 0
    assert [layer["name"] for layer in done.json["layers"]] == ["Background", "Red subject"]
    document = read(tmp_path / "ball.psd")
    shown = composite_u8(document)[..., :3].astype(int)
    assert np.abs(shown - np.asarray(Image.open(source))).max() <= 1
    assert document.provenance is not None
    assert document.provenance.model == "cutout"


def test_a_folder_with_a_broken_file_and_one_without_a_subject(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "a.jpg")
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff torn")
    Image.new("RGB", (60, 40), (90, 120, 90)).save(folder / "c.png")
    (folder / "notes.txt").write_text("not a picture")
    done = command("decompose", folder, "-o", tmp_path / "out", "--format", "ora", *HERE, "--json")
    assert done.code == 1
    assert [row["status"] for row in done.json["pictures"]] == ["done", "failed", "no subject"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.ora"]
    before = (tmp_path / "out" / "a.ora").read_bytes()
    again = command(
        "decompose", folder, "-o", tmp_path / "out", "--format", "ora", *HERE, "--resume"
    )
    assert again.code == 1
    assert "a.ora is already there" in again.out
    assert "3 photographs in" in again.out
    assert "1 skipped, 1 no subject, 1 failed" in again.out
    assert again.err.count("b.jpg") == 1
    assert (tmp_path / "out" / "a.ora").read_bytes() == before
    flat = command(
        *("decompose", folder / "c.png", "-o", tmp_path / "c.ora", *HERE, "--keep-flat", "--json")
    )
    assert flat.code == 0
    assert [layer["name"] for layer in flat.json["layers"]] == ["Background"]


def test_no_subject_is_one_sentence_and_no_file(command: Command, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), (90, 120, 90)).save(tmp_path / "plain.png")
    done = command("decompose", tmp_path / "plain.png", "-o", tmp_path / "plain.psd", *HERE)
    assert done.code == 1
    assert "no clear subject" in done.error
    assert not (tmp_path / "plain.psd").exists()


def test_cmyk_is_refused_clearly(command: Command, tmp_path: Path) -> None:
    Image.new("CMYK", (30, 20)).save(tmp_path / "print.jpg")
    done = command("decompose", tmp_path / "print.jpg", "-o", tmp_path / "print.psd", *HERE)
    assert done.code == 1
    assert "CMYK" in done.error
    assert "convert it to RGB" in done.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--point", "10"), "expected --point X,Y in pixels"),
        (("--box", "1,2,3,x"), "expected --box X0,Y0,X1,Y1"),
        (("--layers", "99"), "layers must be 1..16"),
        (("--matte", "rembg"), "matte must be one of"),
    ],
)
def test_wrong_options_are_usage_errors(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    source = photo(tmp_path / "ball.jpg")
    done = command("decompose", source, "-o", tmp_path / "ball.psd", *arguments)
    assert done.code == 2
    assert message in done.error


def test_targets_are_told_apart(tmp_path: Path) -> None:
    first = [photo(tmp_path / name) for name in ("a.jpg", "a.png", "b.png")]
    (tmp_path / "more").mkdir()
    photo(tmp_path / "more" / "a.jpg")
    jobs = jobs_of([*first, tmp_path / "more"], tmp_path / "out", "psd")
    assert [job.target.name for job in jobs] == ["a.jpg.psd", "a.png.psd", "b.psd", "a.jpg 2.psd"]
    assert len({job.target for job in jobs}) == 4
    with pytest.raises(RequestError, match="need a folder to go to"):
        jobs_of(first, tmp_path / "out.psd", "psd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="there are no pictures"):
        jobs_of([tmp_path / "empty"], tmp_path / "out", "psd")
    with pytest.raises(FileNotFoundError):
        jobs_of([tmp_path / "none.jpg"], tmp_path / "out", "psd")
