"""Small pictures and recipes made by the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def disc(size: int = 48, seed: int = 0) -> Image.Image:
    """A coloured disc with soft edge on clear."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    radius = size * rng.uniform(0.25, 0.4)
    distance = np.hypot(x - size / 2, y - size / 2)
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., :3] = rng.integers(0, 256, 3)
    pixels[..., 3] = np.clip((radius - distance) * 100 + 128, 0, 255)
    return Image.fromarray(pixels)


def sky(width: int = 64, height: int = 40, seed: int = 0) -> Image.Image:
    """An opaque gradient."""
    rng = np.random.default_rng(seed)
    top, bottom = rng.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (top * (1 - share) + bottom * share).repeat(width, axis=1)
    return Image.fromarray(rows.astype(np.uint8))


def picture_folders(root: Path, objects: int, scenes: int) -> None:
    """`root/cutouts` and `root/plates` with captions in text files beside some of them."""
    for name, count in (("cutouts", objects), ("plates", scenes)):
        folder = root / name
        folder.mkdir(parents=True)
        for index in range(count):
            maker = disc if name == "cutouts" else sky
            maker(seed=index).save(folder / f"thing-{index:03d}.png")
            if index % 2:
                (folder / f"thing-{index:03d}.txt").write_text(f"a thing called {index}\nmore\n")


def write_recipe(root: Path, **more: Any) -> Path:
    """A recipe file over those folders. more: further top level values, tables as dicts."""
    values: dict[str, Any] = {
        "foregrounds": ["folder:cutouts"],
        "backgrounds": ["folder:plates"],
        "samples_per_shard": 4,
    } | more
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, table in values.items():
        if isinstance(table, dict):
            text += f"[{key}]\n"
            text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    path = root / "recipe.toml"
    path.write_text(text)
    return path
