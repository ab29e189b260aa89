"""Sheets of pictures: a title, one line of cells a row, a caption under each cell.

Sheets show every picture of a part in its own order; nothing is picked.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from multiplane.core.pixels import checkerboard, to_float, to_u8
from multiplane.io.atomic import replacing

PAPER, INK, FAINT, BAD = (250, 249, 246), (34, 34, 38), (118, 118, 124), (176, 52, 40)
GAP, MARGIN = 8, 24
TITLE, NOTE, CAPTION = 20, 12, 11
LIGHT, DARK = 0.93, 0.83  # of the checkerboard


def evenly(total: int, count: int) -> list[int]:
    """At most `count` of `total` places, spread evenly from the first to the last."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture: (H, W, 4) or (H, W, 3) of any depth, or (H, W) coverage shown as grey; None
    leaves the place empty. bad: the caption is set in red."""

    picture: NDArray[Any] | None
    caption: str = ""
    bad: bool = False


@dataclass(frozen=True)
class SheetRow:
    """A line of cells with a label at its left."""

    label: str
    cells: Sequence[Cell]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def shown(picture: NDArray[Any], side: int) -> Image.Image:
    """The picture within side x side pixels on a checkerboard, opaque."""
    values = to_float(picture)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.shape[2] == 3:
        values = np.concatenate([values, np.ones_like(values[..., :1])], axis=2)
    from multiplane.core.pixels import resize

    scale = side / max(values.shape[:2])
    width, height = (max(1, round(length * scale)) for length in values.shape[1::-1])
    small = resize(values, (width, height), "area" if scale < 1 else "lanczos")
    board = checkerboard((width, height), max(4, side // 12), LIGHT, DARK)
    alpha = small[..., 3:]
    return Image.fromarray(to_u8(small[..., :3] * alpha + board[..., :3] * (1 - alpha)))


def grid(
    cells: Sequence[Cell], title: str, note: str = "", columns: int = 8, side: int = 128
) -> Image.Image:
    """Cells in reading order, `columns` a line."""
    lines = [
        SheetRow("", list(cells[start : start + columns]))
        for start in range(0, len(cells), columns)
    ]
    return table(lines, title, note, side)


def table(rows: Sequence[SheetRow], title: str, note: str = "", side: int = 128) -> Image.Image:
    """A sheet of labelled rows. Raises ValueError when there is nothing to show."""
    columns = max((len(row.cells) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a sheet needs at least one picture")
    label_width = _label_width(rows)
    width = 2 * MARGIN + label_width + columns * (side + GAP) - GAP
    width = max(width, 2 * MARGIN + 300)
    note_lines = textwrap.wrap(note, max(20, (width - 2 * MARGIN) * 2 // NOTE)) if note else []
    heights = [_row_height(row, side) for row in rows]
    top = MARGIN + TITLE + 10 + len(note_lines) * (NOTE + 4) + 10
    sheet = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=_font(TITLE))
    for index, line in enumerate(note_lines):
        y = MARGIN + TITLE + 10 + index * (NOTE + 4)
        draw.text((MARGIN, y), line, fill=FAINT, font=_font(NOTE))
    for row, height in zip(rows, heights, strict=True):
        _draw_row(sheet, draw, row, top, label_width, side)
        top += height
    return sheet


def _label_width(rows: Sequence[SheetRow]) -> int:
    lines = [line for row in rows for line in textwrap.wrap(row.label, 20)]
    return round(max((_font(NOTE).getlength(line) for line in lines), default=-GAP)) + GAP


def _wrapped(caption: str, side: int) -> list[str]:
    """The caption in lines no wider than `side`, broken between words where it can be."""
    lines: list[str] = []
    for paragraph in caption.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and _font(CAPTION).getlength(longer) > side:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _row_height(row: SheetRow, side: int) -> int:
    most = max((len(_wrapped(cell.caption, side)) for cell in row.cells), default=0)
    return side + GAP + most * (CAPTION + 3) + (4 if most else 0)


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: SheetRow,
    top: int,
    label_width: int,
    side: int,
) -> None:
    for index, line in enumerate(textwrap.wrap(row.label, 20)):
        draw.text((MARGIN, top + index * (NOTE + 4)), line, fill=INK, font=_font(NOTE))
    for index, cell in enumerate(row.cells):
        left = MARGIN + label_width + index * (side + GAP)
        if cell.picture is not None:
            picture = shown(cell.picture, side)
            sheet.paste(
                picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2)
            )
        for number, line in enumerate(_wrapped(cell.caption, side)):
            y = top + side + 4 + number * (CAPTION + 3)
            draw.text((left, y), line, fill=BAD if cell.bad else INK, font=_font(CAPTION))


def save_sheet(sheet: Image.Image, path: Path) -> Path:
    """Write the sheet as PNG, whole or not at all; returns the path."""
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
    return path
