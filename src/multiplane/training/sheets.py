"""Sample sheets while training: rows of planes on a checkerboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from multiplane.models.planes import over


def checkerboard(size: int, cell: int = 8) -> Tensor:
    """(4, size, size) opaque, two greys."""
    index = torch.arange(size) // cell
    board = ((index[:, None] + index[None]) % 2).float() * 0.15 + 0.7
    return torch.stack([board, board, board, torch.ones_like(board)])


def write_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """rows: (N, 4, S, S) premultiplied in [0, 1] each, drawn over a checkerboard into one PNG."""
    size = rows[0].shape[-1]
    board = checkerboard(size)
    lines = []
    for row in rows:
        shown = over(row.detach().float().cpu().clamp(0, 1), board).clamp(0, 1)
        lines.append(torch.cat(list(shown), dim=2))
    grid = torch.cat(lines, dim=1)
    pixels = (grid.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).convert("RGB").save(path)
