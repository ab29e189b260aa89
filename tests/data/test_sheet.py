"""Contact sheets and the data commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from made_pictures import picture_folders, write_recipe
from multiplane.apps.cli.data import app
from multiplane.data.sheet import CELL, TEXT, shard_sheet

runner = CliRunner()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sheet")
    picture_folders(root, objects=9, scenes=3)
    recipe = write_recipe(root)
    done = runner.invoke(app, ["build", str(recipe), "-o", str(root / "out")])
    assert done.exit_code == 0, done.output
    return root / "out" / "assets"


def test_sheet_shows_every_sample(shards: Path) -> None:
    sheet = np.asarray(shard_sheet(shards, 12, columns=4))
    assert sheet.shape == (3 * (CELL + TEXT), 4 * CELL, 3)
    for row in range(3):
        for column in range(4):
            top, left = row * (CELL + TEXT), column * CELL
            picture = sheet[top : top + CELL, left : left + CELL]
            text = sheet[top + CELL : top + CELL + TEXT, left : left + CELL]
            assert picture.std() > 5
            assert text.min() < 100  # there are letters


def test_sheet_selects_and_repeats(shards: Path) -> None:
    one, other = (shard_sheet(shards, 3, kind="background") for _ in range(2))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    with pytest.raises(ValueError, match="it holds"):
        shard_sheet(shards, 3, style="3d")


def test_commands(shards: Path, tmp_path: Path) -> None:
    done = runner.invoke(app, ["sheet", str(shards), "-o", str(tmp_path / "s.png"), "--count", "4"])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width == 4 * CELL
    done = runner.invoke(app, ["sources"])
    assert done.exit_code == 0
    assert "MIT" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nothing", "-o", "x"], "no data recipe is called 'nothing'"),
        (["sheet", "nowhere", "-o", "x.png"], "no manifest.json in nowhere"),
        (["fetch", "nothing"], "no source is called 'nothing'"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    done = runner.invoke(app, arguments)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output
