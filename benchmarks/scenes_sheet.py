"""The sheet at the top of the README: the first prompts of the fixed list, seed 0, nothing picked.

python benchmarks/scenes_sheet.py docs/images/scenes.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import multiplane
from multiplane.core.composite import composite_u8
from multiplane.evaluation.prompts import fixed_prompts
from multiplane.io.sheet import Cell, contact_sheet

COLUMNS = 10


def main(out: Path) -> None:
    model = multiplane.load("tiny")
    rows: list[list[Cell]] = [[], [], []]
    for prompt in fixed_prompts()[:COLUMNS]:
        words = {"foreground": prompt.foreground, "background": prompt.background}
        document = model.generate(prompt.foreground, prompt.background, seed=0)
        for row, role in zip(rows, words, strict=False):
            layer = next(layer for layer in document.leaves() if layer.role == role)
            row.append((layer.pixels, words[role]))
        rows[2].append((composite_u8(document), ""))
    Image.fromarray(contact_sheet(rows), "RGBA").convert("RGB").save(out, quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
