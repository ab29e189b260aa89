"""Sample sheets while training: rows of planes on a checkerboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from multiplane.io.atomic import replacing
from multiplane.models.planes import over


def checkerboard(size: int, cell: int = 8) -> Tensor:
    """(4, size, size) opaque, two greys in [0, 1]. cell: pixels a side of a square."""
    index = torch.arange(size) // cell
    board = ((index[:, None] + index[None]) % 2).float() * 0.15 + 0.7
    return torch.stack([board, board, board, torch.ones_like(board)])


def opaque(pictures: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 4, H, W) with alpha 1."""
    return torch.cat([pictures, torch.ones_like(pictures[:, :1])], dim=1)


def write_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """Draw planes over a checkerboard into one PNG. rows: at least one, each (N, 4, S, S)
    premultiplied in [0, 1]; shorter rows leave the checkerboard bare."""
    size, columns = rows[0].shape[-1], max(len(row) for row in rows)
    board = checkerboard(size)
    lines = []
    for row in rows:
        planes = torch.zeros(columns, 4, size, size)
        planes[: len(row)] = row.detach().float().cpu().clamp(0, 1)
        lines.append(torch.cat(list(over(planes, board).clamp(0, 1)), dim=2))
    grid = torch.cat(lines, dim=1)
    pixels = (grid.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    with replacing(path) as partial:
        Image.fromarray(pixels).convert("RGB").save(partial, "PNG")


def write_strips(rows: Sequence[Tensor], path: Path, gap: int = 2) -> None:
    """Draw film strips below each other over a checkerboard into one PNG. rows: (4, S, W)
    premultiplied in [0, 1] each, all alike; gap: white pixels between rows."""
    height, width = rows[0].shape[-2:]
    board = checkerboard(max(height, width))[:, :height, :width]
    white = torch.ones(4, gap, width)
    lines = [
        part
        for row in rows
        for part in (over(row.detach().float().cpu().clamp(0, 1), board).clamp(0, 1), white)
    ]
    grid = torch.cat(lines[:-1], dim=1)
    pixels = (grid.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    with replacing(path) as partial:
        Image.fromarray(pixels).convert("RGB").save(partial, "PNG")
