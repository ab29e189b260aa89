"""Scenes whose objects look like photographs, for the mask classifier.

A classifier that has seen renders and drawings alone learns that photographic texture is
background, and refuses every good mask of a photograph. Two kinds of objects teach it otherwise:
cut-outs of photographs of clear rights (what `layer-photos` made of `multiplane data photographs`;
two networks agreed on each and somebody looked at it), laid on other landscapes, where the truth is
exact; and the project's own assets with the texture of a landscape in place of their colours, for
shapes that few photographs could show.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.pixels import Float, resize, resize_channels, to_float
from multiplane.data.assets import AssetPool, shard_paths
from multiplane.data.layer_photos.examples import USUAL, ExampleStock, Scene, drawn_scene
from multiplane.data.placement import ScenePlacement
from multiplane.data.shards import read_shard

PHOTOGRAPHIC_FORM = 1  # raise it when the same seed gives other pixels
CUTOUT_SIZE = 256
SHADED = (0.2, 0.7)  # how far a texture takes the light and shade of the object it is laid on
MIXED = 0.4  # of the object's own colours, in half of the textured scenes
TRIES = 50  # to find a piece that is not flat
FLAT = 12.0  # a texture of less deviation (8 bits) shows nothing: sky, fog


@dataclass(frozen=True)
class CutoutStock:
    """Objects of photographs on the landscapes of `assets`. photographs: scene shards of
    `multiplane data layer-photos`, whose foregrounds are the objects."""

    assets: ExampleStock
    photographs: Path

    @cached_property
    def pool(self) -> AssetPool:
        return read_cutouts(self.photographs)

    def scene(self, rng: np.random.Generator, placement: ScenePlacement = USUAL) -> Scene:
        return drawn_scene(rng, self.pool, self.assets.plates, placement, self.assets.size)


@dataclass(frozen=True)
class TexturedStock:
    """The objects of `assets` with another surface."""

    assets: ExampleStock

    def scene(self, rng: np.random.Generator, placement: ScenePlacement = USUAL) -> Scene:
        scene = self.assets.scene(rng, placement)
        return replace(scene, image=textured(scene, self._texture(rng), rng))

    def _texture(self, rng: np.random.Generator) -> Float:
        """(S, S, 3): a piece of some landscape that is not all sky, as far as there is one."""
        plates, size = self.assets.plates, self.assets.size
        pieces: list[NDArray[np.uint8]] = []
        while len(pieces) < TRIES and (not pieces or pieces[-1].std() <= FLAT):
            pixels = plates[int(rng.integers(len(plates)))].pixels
            _, height, width = pixels.shape
            side = int(rng.uniform(0.2, 0.7) * min(height, width))
            top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
            pieces.append(pixels[:, top : top + side, left : left + side].transpose(1, 2, 0))
        chosen = max(pieces, key=lambda piece: float(piece.std()))
        return resize_channels(to_float(np.ascontiguousarray(chosen)), (size, size), "area")


def textured(scene: Scene, texture: Float, rng: np.random.Generator) -> Float:
    """(S, S, 3): the picture of a scene whose object has another surface, with some of its own
    light and shade."""
    mask = scene.mask[..., None]
    light = scene.image.mean(axis=-1, keepdims=True)
    usual = max(float((light * mask).sum() / mask.sum()), 1e-3)
    share = rng.uniform(*SHADED)
    body = np.clip(texture * (1 - share + share * light / usual), 0, 1)
    if rng.random() < 0.5:
        body = (1 - MIXED) * body + MIXED * scene.image
    return (scene.image + mask * (body - scene.image)).astype(np.float32)


def read_cutouts(folder: Path) -> AssetPool:
    """The foregrounds of scene shards as a pool. Raises FileNotFoundError or ValueError for a
    folder that has none."""
    found = list(_foregrounds(folder))
    return cutout_pool(
        [PurePosixPath(about["source"]).stem for about, _ in found],
        [about["caption"] for about, _ in found],
        [pixels for _, pixels in found],
    )


def cutout_pool(
    names: Sequence[str], captions: Sequence[str], pictures: Sequence[NDArray[np.uint8]]
) -> AssetPool:
    """Cut-outs (H, W, 4) of any size, each a concept of its own, square in the middle of its
    plane."""
    squares = np.stack([_squared(pixels) for pixels in pictures])
    return AssetPool(
        pixels=np.ascontiguousarray(squares.transpose(0, 3, 1, 2)),
        keys=list(names),
        captions=[[caption] for caption in captions],
        concepts=list(names),
        roots=list(names),
        groups=["photographs"] * len(names),
        styles=["photo"] * len(names),
        weights=np.ones(len(names), np.float32),
    )


def _foregrounds(folder: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
    for path in shard_paths(folder, ("scene",), None):
        for _, members in read_shard(path):
            picture = Image.open(io.BytesIO(members["foreground.png"])).convert("RGBA")
            yield json.loads(members["json"]), np.asarray(picture)


def _squared(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(CUTOUT_SIZE, CUTOUT_SIZE, 4): what is visible, in the middle of a square."""
    rows, columns = np.nonzero(pixels[..., 3])
    visible = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = int(visible.shape[0]), int(visible.shape[1])
    side = max(height, width)
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = visible
    kind = "area" if side >= CUTOUT_SIZE else "lanczos"
    return resize(square, (CUTOUT_SIZE, CUTOUT_SIZE), kind)
