"""Real pictures as reference: training and held-out assets and the gallery, with their features.

Features are kept in the cache folder by content, so that they are computed once a machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float
from multiplane.data.assets import AssetPool, read_assets
from multiplane.evaluation.judges import FEATURE_SIZE, Features
from multiplane.evaluation.retrieval import BACKGROUNDS, Gallery, Vectors, described, looks
from multiplane.io.atomic import replacing
from multiplane.weights.fetch import cache_folder

FEATURE_FORM = 1  # raise it when `looks` changes what it computes
Split = Literal["training", "heldout"]  # names of the properties below
MADE_STYLE = "3d"  # the drawing style that prompts without a style word ask for


@dataclass(frozen=True, eq=False)
class PicturePool:
    """A pool, picture by picture."""

    pool: AssetPool

    def picture(self, index: int) -> NDArray[np.float32]:
        """(S, S, 4) straight alpha 0..1."""
        return to_float(np.ascontiguousarray(self.pool.pixels[index].transpose(1, 2, 0)))

    @cached_property
    def in_made_style(self) -> NDArray[np.intp]:
        """The places of the pictures in the style that is made; all where none is."""
        found = np.flatnonzero(np.array(self.pool.styles) == MADE_STYLE)
        return found if found.size else np.arange(len(self.pool))

    @cached_property
    def mattes(self) -> list[NDArray[np.float32]]:
        """Every fourth alpha (S, S) in the made style: what softness is compared with."""
        return [self.picture(index)[..., 3] for index in self.in_made_style[::4]]

    def one_a_root(self, count: int, seed: int) -> list[int]:
        """At most `count` rows in the made style, each of another concept root, drawn by seed."""
        roots: dict[str, int] = {}
        for index in self.in_made_style:
            roots.setdefault(self.pool.roots[index], int(index))
        order = np.random.default_rng(seed % 2**32).permutation(sorted(roots.values()))
        return [int(index) for index in order[:count]]

    def first_of(self, concepts: list[str]) -> list[int]:
        """The index of each concept's first picture. Raises KeyError for one without any."""
        first: dict[str, int] = {}
        for index, concept in enumerate(self.pool.concepts):
            first.setdefault(concept, index)
        return [first[concept] for concept in concepts]


@dataclass(frozen=True, eq=False)
class DescribedPool(PicturePool):
    """A pool with the features of its pictures. raw: (B, N, D) of `retrieval.looks`."""

    raw: Vectors

    @cached_property
    def vectors(self) -> Vectors:
        """(N, D) unit vectors."""
        return described(self.raw)

    @property
    def on_grey(self) -> Vectors:
        """(N, D) raw features on grey, for KID."""
        return self.raw[0]


class AssetPictures:
    """The real cut-outs of one shard folder at one size; read when first used."""

    def __init__(self, folder: Path, side: int) -> None:
        self.folder = folder
        self.side = side

    @cached_property
    def training(self) -> PicturePool:
        return self.pool(("foreground",), "train")

    @cached_property
    def heldout(self) -> PicturePool:
        return self.pool(("foreground",), "heldout")

    def pool(self, kinds: tuple[str, ...], split: str | None) -> PicturePool:
        return PicturePool(read_assets(self.folder, kinds, split, self.side))

    def first_of(self, concepts: Sequence[str]) -> list[tuple[Split, int]]:
        """Split and place of each concept's first picture. Raises KeyError for one without any."""
        trained = set(self.training.pool.concepts)
        found: list[tuple[Split, int]] = []
        for concept in concepts:
            split: Split = "training" if concept in trained else "heldout"
            found.append((split, getattr(self, split).first_of([concept])[0]))
        return found

    def real(self, concepts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The first picture of each concept, from whichever split holds it."""
        return [getattr(self, split).picture(row) for split, row in self.first_of(concepts)]


class ReferenceAssets:
    """The same pictures and the gallery, with what a network sees in them."""

    def __init__(self, pictures: AssetPictures, features: Features) -> None:
        self.pictures = pictures
        self._features = features

    @cached_property
    def training(self) -> DescribedPool:
        return self._described(self.pictures.training)

    @cached_property
    def heldout(self) -> DescribedPool:
        return self._described(self.pictures.heldout)

    @cached_property
    def drawings(self) -> DescribedPool:
        """One drawing a base concept, of a family that no model was trained on."""
        return self._described(self.pictures.pool(("gallery",), None))

    @cached_property
    def gallery(self) -> Gallery:
        made_alike = self.training.vectors[self.training.in_made_style]
        return Gallery.fit(self.drawings.vectors, self.drawings.pool.concepts, made_alike)

    def real_vectors(self, concepts: Sequence[str]) -> Vectors:
        """(N, D): the first picture of each concept, from whichever split holds it."""
        found = self.pictures.first_of(concepts)
        return np.stack([getattr(self, split).vectors[row] for split, row in found])

    def _described(self, pictures: PicturePool) -> DescribedPool:
        pool = pictures.pool
        text = f"{FEATURE_FORM} {self._features.name} {FEATURE_SIZE} {BACKGROUNDS}".encode()
        key = hashlib.sha256(text + pool.pixels.tobytes()).hexdigest()[:32]
        path = cache_folder() / "features" / f"{key}.npy"
        if path.is_file():
            return DescribedPool(pool, np.load(path).astype(np.float32))
        raw = looks([pictures.picture(row) for row in range(len(pool))], self._features)
        raw = raw.astype(np.float16)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, raw)
        return DescribedPool(pool, raw.astype(np.float32))
