"""A contact sheet of shards: what training sees, with its captions."""

from __future__ import annotations

import io
import json
import random
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from multiplane.core.pixels import checkerboard, to_u8
from multiplane.data.shards import read_shard

CELL = 144
TEXT = 40
PLANES = ("foreground.png", "background.png", "composite.png")


def shard_sheet(
    folder: Path,
    count: int = 60,
    *,
    kind: str | None = None,
    split: str | None = None,
    style: str | None = None,
    seed: int = 0,
    columns: int = 10,
) -> Image.Image:
    """`count` samples drawn by seed, on a checkerboard, the caption below each.

    Scene shards show foreground, background and composite side by side. Raises FileNotFoundError
    without shards and ValueError when none fits."""
    wanted = {"kind": kind, "split": split, "style": style}
    samples = _samples(folder, {key: value for key, value in wanted.items() if value is not None})
    drawn = random.Random(seed).sample(samples, min(count, len(samples)))
    cells = [_cell(about, pictures) for about, pictures in drawn]
    widest = max(cell.width for cell in cells)
    columns = max(1, min(columns * CELL // widest, len(cells)))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * widest, rows * (CELL + TEXT)), "white")
    for index, cell in enumerate(cells):
        sheet.paste(cell, (index % columns * widest, index // columns * (CELL + TEXT)))
    return sheet


def _samples(folder: Path, wanted: dict[str, str]) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise FileNotFoundError(
            f"no manifest.json in {folder}: name a folder that `multiplane data build` finished, "
            "such as OUT/assets or OUT/scenes"
        )
    notes = json.loads(manifest.read_text("utf-8"))["shards"]
    fitting = [
        note["name"] for note in notes if all(note["about"][k] == v for k, v in wanted.items())
    ]
    samples = [
        (json.loads(members.pop("json")), members)
        for name in fitting
        for _, members in read_shard(folder / name)
    ]
    if not samples:
        pools = sorted(
            {tuple(str(n["about"][k]) for k in ("kind", "split", "style")) for n in notes}
        )
        listed = "; ".join(" ".join(pool) for pool in pools)
        raise ValueError(
            f"no sample in {folder} fits {wanted}; it holds (kind split style) {listed}"
        )
    return samples


def _cell(about: dict[str, Any], pictures: dict[str, bytes]) -> Image.Image:
    names: Sequence[str] = [name for name in PLANES if name in pictures] or sorted(pictures)[:1]
    cell = Image.new("RGB", (len(names) * CELL, CELL + TEXT), "white")
    for index, name in enumerate(names):
        picture = Image.open(io.BytesIO(pictures[name])).convert("RGBA")
        picture.thumbnail((CELL - 6, CELL - 6))
        board = np.asarray(to_u8(checkerboard(picture.size, 8)))
        shown = Image.alpha_composite(Image.fromarray(board), picture).convert("RGB")
        left = index * CELL + (CELL - shown.width) // 2
        cell.paste(shown, (left, (CELL - shown.height) // 2))
    lines = textwrap.wrap(about["caption"], 25 * len(names))[:3]
    font = ImageFont.load_default(11)
    ImageDraw.Draw(cell).text((4, CELL), "\n".join(lines), fill="black", font=font, spacing=1)
    return cell
