"""A sheet shows every picture it is given, where it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.evaluation.sheets import PAPER, Cell, SheetRow, grid, save_sheet, shown, table


def _plain(color: tuple[float, float, float, float], height: int = 10, width: int = 10):
    return np.full((height, width, 4), color, np.float32)


def _count(sheet: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == color).all(axis=-1).sum())


def test_every_cell_is_there_at_full_size() -> None:
    red, green = _plain((1, 0, 0, 1)), _plain((0, 1, 0, 1))
    sheet = grid([Cell(red), Cell(green), Cell(None), Cell(red)], "Three", columns=2, side=40)
    assert _count(sheet, (255, 0, 0)) == 2 * 40 * 40
    assert _count(sheet, (0, 255, 0)) == 40 * 40


def test_rows_stand_below_each_other_with_their_labels() -> None:
    rows = [
        SheetRow("given", [Cell(_plain((1, 0, 0, 1)), "one"), Cell(_plain((0, 0, 1, 1)), "two")]),
        SheetRow("made", [Cell(_plain((0, 1, 0, 1)), "a caption too long for a single line")]),
    ]
    pixels = np.asarray(table(rows, "Title", "A note.", side=48))
    red, blue, green = (
        np.argwhere((pixels == color).all(axis=-1))
        for color in ((255, 0, 0), (0, 0, 255), (0, 255, 0))
    )
    assert red[:, 0].min() == blue[:, 0].min()
    assert red[:, 1].max() < blue[:, 1].min()
    assert green[:, 0].min() > red[:, 0].max()
    assert green[:, 1].min() == red[:, 1].min()
    left_of_cells = pixels[red[0, 0] : red[-1, 0], : red[:, 1].min()]
    assert (left_of_cells != PAPER).any()  # the label


def test_transparency_shows_the_board_and_shapes_keep_their_proportion() -> None:
    clear = shown(_plain((1, 0, 0, 0)), 48)
    assert len(np.unique(np.asarray(clear))) == 2  # two greys, no red
    assert shown(_plain((1, 0, 0, 1), height=10, width=20), 48).size == (48, 24)
    assert np.asarray(shown(np.full((4, 4), 0.5, np.float32), 8)).mean() == pytest.approx(
        128, abs=1
    )


def test_captions_stay_under_their_picture() -> None:
    cells = [Cell(_plain((1, 0, 0, 1)), "wide words mmmm mmmm mmmm mmmm mmmm"), Cell(None)]
    pixels = np.asarray(table([SheetRow("", cells)], "Title", side=60))
    red = np.argwhere((pixels == (255, 0, 0)).all(axis=-1))
    below = pixels[red[:, 0].max() + 2 :, red[:, 1].max() + 3 :]
    assert (below == PAPER).all()
    assert (pixels[red[:, 0].max() + 2 :] != PAPER).any()


def test_an_empty_sheet_is_refused_and_a_sheet_is_saved_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        grid([], "Nothing")
    path = save_sheet(grid([Cell(_plain((1, 0, 0, 1)))], "One"), tmp_path / "deep" / "sheet.png")
    assert Image.open(path).format == "PNG"
    assert [each.name for each in path.parent.iterdir()] == ["sheet.png"]
