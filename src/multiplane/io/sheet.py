"""Contact sheets: rows of pictures on a checkerboard, with captions. For demo, evaluation, docs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from multiplane.core.composite import over
from multiplane.core.document import Pixels
from multiplane.core.pixels import checkerboard, resize, to_float, to_u8

# A picture (H, W, 4) or a mask (H, W) of any dtype, with its caption; None leaves a gap.
Cell: TypeAlias = "tuple[NDArray[Any], str] | None"

PAPER, INK, EDGE = "#fbfbfa", "#26262a", "#d5d5d2"
_TITLE, _HEADING, _CAPTION = 22, 15, 12  # font sizes
_MARGIN, _GAP, _LINES = 20, 12, 2  # _LINES: of a caption at most


def contact_sheet(
    rows: Sequence[Sequence[Cell]],
    *,
    cell: int | None = None,
    title: str = "",
    headings: Sequence[str] | None = None,
) -> Pixels:
    """A sheet of `rows` of (pixels, caption), opaque (H, W, 4) uint8.

    cell: side of the square each picture is fitted into, its proportions kept; None takes the
    longest side among them, within 96..256. headings: a line above each row. Captions take two
    lines at most and end in an ellipsis where they are longer."""
    pictures = [entry[0] for row in rows for entry in row if entry is not None]
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    if headings is not None and len(headings) != len(rows):
        raise ValueError(f"{len(rows)} rows but {len(headings)} headings: give one a row")
    side = cell or min(256, max(96, *(max(picture.shape[:2]) for picture in pictures)))
    columns = max(len(row) for row in rows)
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    heights = [_row_height(row, side) for row in rows]
    top_of_rows = _MARGIN + (_line(_TITLE) + _GAP if title else 0)
    heading = _line(_HEADING) + 4 if headings is not None else 0
    height = top_of_rows + sum(h + heading + _GAP for h in heights) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN), _cut(title, width - 2 * _MARGIN, _TITLE), INK, _font(_TITLE))
    top = top_of_rows
    for index, row in enumerate(rows):
        if headings is not None:
            text = _cut(headings[index], width - 2 * _MARGIN, _HEADING)
            draw.text((_MARGIN, top), text, INK, _font(_HEADING))
            top += heading
        for column, entry in enumerate(row):
            if entry is not None:
                _draw_cell(draw, sheet, entry, (_MARGIN + column * (side + _GAP), top), side)
        top += heights[index] + _GAP
    opaque = sheet.convert("RGBA")
    return np.array(opaque)


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    entry: tuple[NDArray[Any], str],
    corner: tuple[int, int],
    side: int,
) -> None:
    shown = _on_checkerboard(entry[0], side)
    height, width = shown.shape[:2]
    left, top = corner[0] + (side - width) // 2, corner[1] + (side - height) // 2
    sheet.paste(Image.fromarray(shown), (left, top))
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=EDGE)
    for number, line in enumerate(_wrap(entry[1], side)):
        place = (corner[0] + side / 2, corner[1] + side + 5 + number * _line(_CAPTION))
        draw.text(place, line, INK, _font(_CAPTION), anchor="ma")


def _on_checkerboard(picture: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """(h, w, 3) fitted into `side`, on squares that stay the same size at every scale."""
    pixels = to_float(picture)
    if pixels.ndim == 2:
        grey = pixels[..., None]
        pixels = np.concatenate([grey, grey, grey, np.ones_like(grey)], axis=2)
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = resize(pixels, size, "area" if scale < 1 else "lanczos")
    board = checkerboard(size, square=8, light=1.0, dark=0.87)
    return np.ascontiguousarray(to_u8(over(fitted, board))[..., :3])


def _row_height(row: Sequence[Cell], side: int) -> int:
    lines = max((len(_wrap(entry[1], side)) for entry in row if entry is not None), default=0)
    return side + (5 + lines * _line(_CAPTION) if lines else 0)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _line(size: int) -> int:
    return round(size * 1.3)


# Pillow's own font, the same on every machine, has little beyond ASCII.
_SPELLED = {"→": "->", "←": "<-", "×": "x", "–": "-", "—": "-"}


@cache
def _drawable(letter: str) -> str:
    """The letter, or the nearest that the font has: spelled out, without accent, or "?"."""
    plain = unicodedata.normalize("NFKD", letter)[0]
    for candidate in (letter, _SPELLED.get(letter, plain)):
        if candidate.isspace() or _drawn(candidate) != _drawn("\uffff"):
            return candidate
    return "?"


def _drawn(text: str) -> bytes:
    picture = Image.new("L", (48, 24))
    ImageDraw.Draw(picture).text((0, 0), text, 255, _font(_CAPTION))
    return picture.tobytes()


def _wrap(text: str, width: int) -> list[str]:
    """`text` in at most _LINES lines of `width` pixels, the last one cut."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < _LINES - 1:
        taken = 1
        while taken < len(words) and _length(" ".join(words[: taken + 1]), _CAPTION) <= width:
            taken += 1
        lines.append(_cut(" ".join(words[:taken]), width, _CAPTION))
        words = words[taken:]
    return [*lines, _cut(" ".join(words), width, _CAPTION)] if words else lines


def _cut(text: str, width: int, size: int) -> str:
    """`text`, or as much of it as fits `width` pixels and an ellipsis."""
    text = "".join(map(_drawable, text))
    if _length(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _length(text[:middle].rstrip() + "…", size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)
