"""Pools of assets in memory, for composing scenes: decoded once, kept beside the shards.

Everything here is numpy and Pillow; training moves the arrays to its device.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.pixels import resize
from multiplane.data.shards import read_shard
from multiplane.io.atomic import replacing


@dataclass(frozen=True, eq=False)
class AssetPool:
    """Cut-outs of one split. Every list has one entry a picture, in the order of `pixels`.

    pixels: (N, 4, size, size) uint8, straight RGBA. captions: the best one first. roots: the wider
    concepts the split goes by. weights: how often to draw each, mean 1 over the pool."""

    pixels: NDArray[np.uint8]
    keys: list[str]
    captions: list[list[str]]
    concepts: list[str]
    roots: list[str]
    groups: list[str]
    styles: list[str]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False)
class Plate:
    """One background. pixels: (3, H, W) uint8. horizon: share of the height from the top. weight:
    how often to draw it beside the others."""

    key: str
    pixels: NDArray[np.uint8]
    captions: list[str]
    horizon: float
    weight: float = 1.0


def shard_paths(
    folder: Path, kinds: Sequence[str], split: str | None, styles: Sequence[str] | None = None
) -> list[Path]:
    """The shards of these kinds, from the manifest. split None: all. Raises FileNotFoundError."""
    manifest = Path(folder) / "manifest.json"
    if not manifest.exists():
        raise FileNotFoundError(
            f"no manifest.json in {folder}: build the shards first with "
            f"`multiplane data build tiny -o {folder}`"
        )
    about = [(note["name"], note["about"]) for note in json.loads(manifest.read_text())["shards"]]
    found = [
        Path(folder) / name
        for name, shard in about
        if shard["kind"] in kinds
        and (split is None or shard["split"] in (split, "all"))
        and (styles is None or shard["style"] in styles)
    ]
    if not found:
        kept = sorted({(shard["kind"], shard["split"], shard["style"]) for _, shard in about})
        raise ValueError(
            f"no shard of {list(kinds)}, split {split!r}, in {folder}; it holds {kept}"
        )
    return found


def read_samples(paths: Sequence[Path]) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    """(metadata, picture as stored) of every sample of these shards."""
    for path in paths:
        for _, members in read_shard(path):
            picture = members.get("webp") or members["png"]
            yield json.loads(members["json"]), Image.open(io.BytesIO(picture))


def read_assets(
    folder: Path,
    kinds: Sequence[str] = ("foreground",),
    split: str | None = "train",
    size: int = 128,
    styles: Sequence[str] | None = None,
) -> AssetPool:
    """The cut-outs of a shard folder at size x size, resized by area in premultiplied form.

    The decoded pixels are kept as `.cache-*.npy` beside the shards and used again while the shards
    are the same."""
    folder = Path(folder)
    paths = shard_paths(folder, kinds, split, styles)
    cache = folder / f".cache-{_fingerprint(paths)}-{size}.npy"
    metadata: list[dict[str, Any]] = []
    pixels: NDArray[np.uint8]
    if cache.exists():
        pixels = np.load(cache)
        metadata = [
            json.loads(members["json"]) for path in paths for _, members in read_shard(path)
        ]
    else:
        planes = []
        for sample, picture in read_samples(paths):
            metadata.append(sample)
            whole = np.asarray(picture.convert("RGBA"))
            shrinks = max(picture.size) >= size
            planes.append(resize(whole, (size, size), "area" if shrinks else "lanczos"))
        pixels = np.ascontiguousarray(np.stack(planes).transpose(0, 3, 1, 2))
        with replacing(cache) as partial, partial.open("wb") as file:
            np.save(file, pixels)
    weights = np.array([sample.get("weight", 1.0) for sample in metadata], np.float32)
    return AssetPool(
        pixels=pixels,
        keys=[sample["key"] for sample in metadata],
        captions=[list(sample["captions"]) for sample in metadata],
        concepts=[sample["concept"] for sample in metadata],
        roots=[sample["root"] for sample in metadata],
        groups=[sample["group"] for sample in metadata],
        styles=[sample["style"] for sample in metadata],
        weights=weights / weights.mean(),
    )


def read_plates(folder: Path, split: str | None = "train", height: int = 128) -> list[Plate]:
    """The backgrounds of a shard folder, whole, at this height (width follows)."""
    plates = []
    for sample, picture in read_samples(shard_paths(Path(folder), ("background",), split)):
        width = max(1, round(picture.width * height / picture.height))
        small = picture.convert("RGB").resize((width, height), Image.Resampling.BOX)
        pixels = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
        captions, weight = list(sample["captions"]), float(sample.get("weight", 1.0))
        plates.append(Plate(sample["key"], pixels, captions, sample["horizon"], weight))
    return plates


def read_backgrounds(
    folder: Path, split: str | None = "train", height: int = 128
) -> list[NDArray[np.uint8]]:
    """Only the pixels of `read_plates`: a list of (3, H, W) uint8."""
    return [plate.pixels for plate in read_plates(folder, split, height)]


def _fingerprint(paths: Sequence[Path]) -> str:
    """Changes whenever one of the shards does."""
    text = "".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
