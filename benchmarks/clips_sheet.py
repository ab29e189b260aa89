"""The moving picture in the README: prompts from the start of the fixed list, seed 0, nothing
picked; foregrounds above, composites below, 16 frames there and back.

    python benchmarks/clips_sheet.py docs/images/clips.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import multiplane
from multiplane.core.composite import composite_u8
from multiplane.core.pixels import Pixels
from multiplane.core.request import LayerRequest, Plane
from multiplane.engine import Model
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.io.sheet import Cell, contact_sheet

COLUMNS = 6
FRAMES = 16


def frames_of(model: Model, prompt: FixedPrompt) -> list[tuple[Pixels, Pixels]]:
    """(foreground, composite) of every frame."""
    front, behind = (
        Plane(wanted=True, prompt=words) for words in (prompt.foreground, prompt.background)
    )
    request = LayerRequest((front,), behind, Plane(wanted=True), frames=FRAMES, model="tiny")
    made = []
    for frame in model.run_clip(request):
        layer = next(layer for layer in frame.leaves() if layer.role == "foreground")
        made.append((layer.pixels, composite_u8(frame)))
    return made


def main(out: Path) -> None:
    model, prompts = multiplane.load("tiny"), fixed_prompts()[:COLUMNS]
    clips = [frames_of(model, prompt) for prompt in prompts]
    sheets = []
    for number in range(FRAMES):
        rows: list[list[Cell]] = [
            [
                (clip[number][0], prompt.foreground)
                for clip, prompt in zip(clips, prompts, strict=True)
            ],
            [(clip[number][1], "") for clip in clips],
        ]
        sheets.append(Image.fromarray(contact_sheet(rows), "RGBA").convert("RGB"))
    sheets += sheets[-2:0:-1]  # back again, so that it plays without a jump
    first, *rest = sheets
    first.save(out, save_all=True, append_images=rest, duration=125, loop=0, quality=80, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
