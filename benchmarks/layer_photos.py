"""Forty pictures for a trial of `multiplane data layer-photos`, and the sheet of what it made.

    python benchmarks/layer_photos.py pictures -o IN --shards shards/assets
    multiplane data layer-photos IN -o OUT --keep-all
    python benchmarks/layer_photos.py sheet OUT -o docs/images/layer-photos.webp

Twelve photographs from packages (those of benchmarks/photos.py), fourteen photographic cut-outs on
landscapes and fourteen held-out 3D assets, each with its caption; none left out.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from multiplane.core.pixels import to_u8
from multiplane.data.layer_photos.examples import ExampleStock
from multiplane.data.shards import read_shard
from multiplane.evaluation.cutout_scenes import SceneStock, shipped_recipe
from multiplane.io.sheet import Cell, contact_sheet
from photos import photographs

COMPOSITES = 14
COLUMNS = 5


def pictures(shards: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """(name, caption, picture), three kinds in turn so that every shard holds all."""
    for path in photographs():
        caption = path.stem.replace("_", " ")
        yield f"a-{path.stem}", caption, Image.open(path).convert("RGB")
    recipe = replace(shipped_recipe(), photographs=COMPOSITES, renders=0)
    for scene in SceneStock(recipe).scenes():
        yield f"b-{scene.key}", scene.caption, Image.fromarray(scene.composite)
    stock = ExampleStock(shards, "heldout", 256)
    for index in range(COMPOSITES):
        scene = stock.scene(np.random.default_rng([78, index]))
        yield f"c-scene-{index:03d}", scene.root, Image.fromarray(to_u8(scene.image))


def write_pictures(out: Path, shards: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, caption, picture in pictures(shards):
        picture.thumbnail((1024, 1024))
        picture.save(out / f"{name}.png")
        (out / f"{name}.txt").write_text(caption + "\n", "utf-8")


def sheet(folder: Path) -> np.ndarray:
    """Kept records first, then dropped ones, each as picture, foreground, background."""
    found: list[tuple[dict[str, Any], dict[str, bytes]]] = []
    for tar in sorted(folder.glob("*.tar")):
        found += [(json.loads(members["json"]), members) for _, members in read_shard(tar)]
    rows: list[list[Cell]] = []
    headings: list[str] = []
    for kept, word in ((True, "kept"), (False, "dropped")):
        part = [each for each in found if each[0]["kept"] is kept]
        for start in range(0, len(part), COLUMNS):
            several = part[start : start + COLUMNS]
            rows.append([cell for about, members in several for cell in _cells(about, members)])
            headings.append(f"{word} ({len(part)} of {len(found)})" if start == 0 else "")
    return contact_sheet(rows, cell=84, headings=headings)


def _cells(about: dict[str, Any], members: dict[str, bytes]) -> list[Cell]:
    scores = about["scores"]
    captions = (f"mask {scores['mask']:.2f}", "", f"compl. {scores['completion']:.2f}")
    names = ("composite.png", "foreground.png", "background.png")
    return [(_rgba(members[n]), c) for n, c in zip(names, captions, strict=True)]


def _rgba(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=("pictures", "sheet"))
    parser.add_argument("folder", type=Path, nargs="?", help="of shards, for the sheet")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--shards", type=Path, default=Path("shards/assets"))
    given = parser.parse_args()
    if given.what == "pictures":
        write_pictures(given.out, given.shards)
    else:
        Image.fromarray(sheet(given.folder)[..., :3]).save(given.out, quality=80, method=6)


if __name__ == "__main__":
    main()
