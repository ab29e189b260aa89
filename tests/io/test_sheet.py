"""Contact sheets: places and sizes, and that every cell shows its own picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multiplane.io.sheet import contact_sheet


def solid(color: tuple[float, ...], width: int = 100, height: int = 100) -> np.ndarray:
    return np.full((height, width, 4), color, np.float32)


RED, BLUE, CLEAR = solid((1, 0, 0, 1)), solid((0, 0, 1, 1)), solid((0, 1, 0, 0))


def test_cells_show_their_pictures_in_place() -> None:
    sheet = contact_sheet([[(RED, "red"), (BLUE, "blue")], [None, (CLEAR, "clear")]], cell=100)
    assert sheet.dtype == np.uint8
    assert (sheet[..., 3] == 255).all()
    assert sheet.shape[1] == 20 + 100 + 12 + 100 + 20
    assert (sheet[21:119, 21:119, :3] == [255, 0, 0]).all()
    assert (sheet[21:119, 133:231, :3] == [0, 0, 255]).all()
    below = sheet[140:, 133:231, :3].reshape(-1, 3)
    shades = {tuple(color) for color in below.tolist()}
    assert {(255, 255, 255), (222, 222, 222)} <= shades  # the checkerboard, no trace of green
    assert not (below[:, 1].astype(int) > below[:, 0].astype(int) + 10).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_depths_and_masks_look_alike(dtype: Any) -> None:
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = (solid((1, 1, 1, 1)) * full).astype(dtype)
    rows = [[(picture, "a"), (picture[..., 0], "a")]]
    sheet = contact_sheet(rows, cell=100)
    np.testing.assert_array_equal(sheet[20:140, 20:120], sheet[20:140, 132:232])


def test_pictures_keep_their_proportions() -> None:
    wide = contact_sheet([[(solid((1, 0, 0, 1), 200, 50), "")]], cell=100)
    is_red = (wide[..., :3] == [255, 0, 0]).all(axis=2)
    rows, columns = np.nonzero(is_red)
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (100, 25)
    assert abs(rows.mean() - (20 + 49.5)) <= 0.5  # centred


def test_the_cell_follows_the_pictures() -> None:
    def width(side: int) -> int:
        return contact_sheet([[(solid((1, 0, 0, 1), side, side), "")]]).shape[1] - 40

    assert (width(128), width(32), width(600)) == (128, 96, 256)


def ink(sheet: np.ndarray, top: int, bottom: int) -> int:
    return int((sheet[top:bottom, :, :3].max(axis=2) < 120).sum())


def test_captions_headings_and_title_are_drawn_and_kept_inside() -> None:
    plain = contact_sheet([[(solid((1, 1, 1, 1)), "")]], cell=100)
    captioned = contact_sheet([[(solid((1, 1, 1, 1)), "an apple")]], cell=100)
    assert ink(plain, 0, 9999) == 0
    assert captioned.shape[0] > plain.shape[0]
    assert ink(captioned, 121, 9999) > 20
    titled = contact_sheet([[(RED, "")]], cell=100, title="Title", headings=["row one"])
    assert ink(titled, 0, 70) > 60
    long = contact_sheet([[(RED, "word " * 400)]], cell=100)
    two_lines = contact_sheet([[(RED, "word " * 7)]], cell=100)
    assert long.shape == two_lines.shape
    # Nothing reaches the margins.
    assert (long[130:, :14, :3] == long[0, 0, :3]).all()
    assert (long[130:, -14:, :3] == long[0, 0, :3]).all()


def test_letters_the_font_lacks_are_spelled_out() -> None:
    def sheet(caption: str) -> np.ndarray:
        return contact_sheet([[(RED, caption)]], cell=100)

    np.testing.assert_array_equal(sheet("café → naïve"), sheet("cafe -> naive"))
    np.testing.assert_array_equal(sheet("苹果"), sheet("??"))


def test_what_is_no_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([[None]])
    with pytest.raises(ValueError, match="1 rows but 2 headings"):
        contact_sheet([[(RED, "")]], headings=["a", "b"])
