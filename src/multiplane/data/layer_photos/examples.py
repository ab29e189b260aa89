"""Labelled examples for the two quality classifiers, drawn by seed from asset shards.

A scene of the project's own assets has an exact mask and an exact background. Half of the examples
show them, good to a pixel; the others have one planted fault. A share of both comes from real
programs run on the composite, and the truth says how well they did: without these a classifier
would learn to tell "untouched" from "touched". Which picture, which fault and which numbers follow
from (seed, index) alone; assets and plates of one split never meet those of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from multiplane.core.pixels import Float, to_float
from multiplane.data.assets import AssetPool, Plate, read_assets, read_plates
from multiplane.data.layer_photos.faults import COMPLETION_FAULTS, MASK_FAULTS, good_mask
from multiplane.data.placement import ScenePlacement
from multiplane.data.records import Split
from multiplane.data.scenes import draw_scene, object_plane, render_scene
from multiplane.pipelines.cutout.candidates import iou
from multiplane.pipelines.cutout.complete import COMPLETIONS, complete_background

EXAMPLE_FORM = 1  # raise it when the same seed gives other pixels
ASSET_SIZE = 128
TINY = ScenePlacement(scale=(0.08, 0.17))
USUAL = ScenePlacement(scale=(0.35, 0.85))
REAL_EVERY = 5  # each fifth mask and each third completion is a real program's
REAL_COMPLETION_EVERY = 3
GOOD_IOU, BAD_IOU = 0.88, 0.8  # of a real matte; between them nobody could say
GOOD_ERROR, BAD_ERROR = 0.04, 0.08  # mean error of a real completion inside the hole


@dataclass(frozen=True, eq=False)
class Scene:
    """image, background: (S, S, 3); mask: (S, S), the object without its shadow. 0..1."""

    image: Float
    background: Float
    mask: Float
    root: str


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled picture. mask: None for a completion. good: None when nobody could say. fault:
    its name, "" for none, "real" for a real program's result."""

    picture: Float
    mask: Float | None
    good: bool | None
    fault: str
    root: str


@dataclass(frozen=True)
class ExampleStock:
    """The assets of one split. size: of the scenes, square."""

    shards: Path
    split: Split
    size: int = 192

    @cached_property
    def pool(self) -> AssetPool:
        return read_assets(self.shards, ("foreground",), self.split, ASSET_SIZE)

    @cached_property
    def plates(self) -> list[Plate]:
        return read_plates(self.shards, self.split, 2 * self.size)

    def scene(self, rng: np.random.Generator, placement: ScenePlacement = USUAL) -> Scene:
        """A scene of one object on an empty landscape, its concept and its plate drawn evenly."""
        return drawn_scene(rng, self.pool, self.plates, placement, self.size)


class SceneSource(Protocol):
    """What examples are drawn from."""

    def scene(self, rng: np.random.Generator, placement: ScenePlacement = USUAL) -> Scene: ...


def drawn_scene(
    rng: np.random.Generator,
    pool: AssetPool,
    plates: Sequence[Plate],
    placement: ScenePlacement,
    size: int,
) -> Scene:
    """A scene of one object of `pool` on an empty one of `plates`, both drawn evenly."""
    roots = sorted(set(pool.roots))
    while True:
        root = roots[int(rng.integers(len(roots)))]
        plate = int(rng.integers(len(plates)))
        draw = draw_scene(rng, pool, plates, placement, 0.0, plate, root)
        made = render_scene(draw, pool, plates, size)
        background = to_float(made.background)
        bare = replace(draw.object, strength=0.0)
        mask = np.clip(object_plane(bare, pool, background, size)[..., 3], 0, 1)
        if (mask > 0.5).sum() > 16:  # some drawings are all but clear
            return Scene(to_float(made.composite), background, mask, root)


def mask_example(
    stock: SceneSource, seed: int, index: int, matte: Callable[[Float], Float] | None
) -> Example:
    """matte: the network whose mattes are among the examples; None leaves them out."""
    rng = np.random.default_rng([seed, index, 0])
    if index % REAL_EVERY == 0 and matte is not None:
        scene = stock.scene(rng)
        found = matte(scene.image)
        return Example(scene.image, found, judged_mask(found, scene.mask), "real", scene.root)
    kind = _kind(rng, (*MASK_FAULTS, "too small"))
    scene = stock.scene(rng, TINY if kind == "too small" else USUAL)
    if kind in ("", "too small"):
        mask = good_mask(scene.mask, rng)
    else:
        mask = MASK_FAULTS[kind](scene.mask, rng)
    return Example(scene.image, mask.astype(np.float32), kind == "", kind, scene.root)


def completion_example(
    stock: SceneSource,
    seed: int,
    index: int,
    methods: Sequence[str] = ("opencv", "diffuse"),
) -> Example:
    """methods: the completions whose results are among the examples."""
    rng = np.random.default_rng([seed, index, 1])
    if index % REAL_COMPLETION_EVERY == 0 and methods:
        scene = stock.scene(rng)
        method = methods[int(rng.integers(len(methods)))]
        assert method in COMPLETIONS
        hole = scene.mask > 0.02
        filled = complete_background(scene.image, hole, method, threads=1)  # pyright: ignore[reportArgumentType]
        good = judged_completion(filled, scene.background, scene.mask)
        return Example(filled, None, good, "real", scene.root)
    kind = _kind(rng, tuple(COMPLETION_FAULTS))
    scene = stock.scene(rng)
    if not kind:
        return Example(scene.background, None, True, "", scene.root)
    spoilt = COMPLETION_FAULTS[kind](scene.background, scene.image, scene.mask, rng)
    return Example(np.clip(spoilt, 0, 1).astype(np.float32), None, False, kind, scene.root)


def _kind(rng: np.random.Generator, faults: Sequence[str]) -> str:
    """ "" half of the time, else a fault."""
    return "" if rng.random() < 0.5 else faults[int(rng.integers(len(faults)))]


def judged_mask(found: Float, truth: Float) -> bool | None:
    """Whether a real matte is good, by its soft IoU with the truth; None in between."""
    overlap = iou(found, truth)
    return None if BAD_IOU <= overlap < GOOD_IOU else overlap >= GOOD_IOU


def judged_completion(filled: Float, truth: Float, hole: Float) -> bool | None:
    """Whether a real completion is good, by its mean absolute error in the hole; None between."""
    error = float(np.abs(filled - truth)[hole > 0.5].mean()) if (hole > 0.5).any() else 0.0
    return None if GOOD_ERROR < error <= BAD_ERROR else error <= GOOD_ERROR
