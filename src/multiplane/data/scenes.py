"""Scenes with exact truth, composed in numpy for evaluation: every plane is known to the bit.

The foreground plane is the object over its own soft contact shadow, so the composite is
over(foreground, background) by definition. The planes depend on each other: an object stands on
the ground of its background, larger the nearer it stands, and takes light and tint from it. The
formulas are those of `multiplane.training.scenes`, so that evaluation and training agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.composite import over
from multiplane.core.pixels import resize, to_float, to_u8
from multiplane.data.assets import AssetPool, Plate, read_assets, read_plates
from multiplane.data.captions import varied
from multiplane.data.pictures import png
from multiplane.data.placement import ScenePlacement
from multiplane.data.recipe import SceneRecipe
from multiplane.data.shards import Member, Sample

SCENE_FORM = 1  # raise it when the pixels of a scene change for the same recipe
SOURCE_SIZE = 256
MAX_EARLIER = 3
Float = NDArray[np.float32]


@dataclass(frozen=True)
class ObjectDraw:
    """One object of a scene in canvas shares; the same numbers at every size.

    row: its row of the pool. height: of its visible box. centre, ground: middle and foot line of
    that box. tint, strength, softness: see `ScenePlacement`."""

    row: int
    height: float
    centre: float
    ground: float
    mirrored: bool
    tint: float
    strength: float
    softness: float


@dataclass(frozen=True)
class SceneDraw:
    """What chance decided. crop: (left, top, side) of the square cut from the plate, in shares of
    the plate's height. earlier: objects that are part of the given background, back to front."""

    plate: int
    crop: tuple[float, float, float]
    mirrored: bool
    earlier: tuple[ObjectDraw, ...]
    object: ObjectDraw


@dataclass(frozen=True, eq=False)
class Scene:
    """foreground: (S, S, 4) uint8 straight alpha. background, composite: (S, S, 3) uint8."""

    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]
    composite: NDArray[np.uint8]


def draw_scene(
    rng: np.random.Generator,
    pool: AssetPool,
    plates: Sequence[Plate],
    placement: ScenePlacement,
    busy: float,
    plate: int,
    root: str,
) -> SceneDraw:
    """All chance of one scene of an object of concept `root` over the given plate. What stands in
    the background already is drawn concept by concept, not picture by picture."""
    crop = _draw_crop(rng, plates[plate], placement)
    earlier = int(rng.integers(1, MAX_EARLIER + 1)) if rng.random() < busy else 0
    # Further back first: smaller, and higher up.
    grounds = sorted(rng.uniform(*placement.ground, earlier))
    roots = sorted(set(pool.roots))
    behind = tuple(
        _draw_object(rng, pool, placement, g, roots[int(rng.integers(len(roots)))], shrink=0.7)
        for g in grounds
    )
    ground = float(rng.uniform(*placement.ground))
    front = _draw_object(rng, pool, placement, ground, root, shrink=1.0)
    return SceneDraw(plate, crop, bool(rng.random() < 0.5), behind, front)


def _draw_crop(
    rng: np.random.Generator, plate: Plate, placement: ScenePlacement
) -> tuple[float, float, float]:
    """A square that keeps the horizon above where objects stand, as far as the plate allows."""
    side = float(rng.uniform(0.72, 1.0))
    width = plate.pixels.shape[2] / plate.pixels.shape[1]
    side = min(side, width)
    left = float(rng.uniform(0, width - side))
    lowest = 1 - side
    highest = min(lowest, max(0.0, plate.horizon - side * (placement.ground[0] - 0.1)))
    return left, float(rng.uniform(highest, lowest)), side


def _draw_object(
    rng: np.random.Generator,
    pool: AssetPool,
    placement: ScenePlacement,
    ground: float,
    root: str,
    shrink: float,
) -> ObjectDraw:
    """scale follows the ground line with some spread: what stands nearer looks larger."""
    rows = [row for row, name in enumerate(pool.roots) if name == root]
    row = rows[int(rng.integers(len(rows)))]
    low, high = placement.ground
    nearness = (ground - low) / max(high - low, 1e-6)
    share = float(np.clip(0.5 * nearness + 0.5 * rng.random(), 0, 1))
    smallest, largest = placement.scale
    box_width, box_height = _box_size(pool, row)
    height = min(shrink * (smallest + share * (largest - smallest)), ground)
    width = height * box_width / box_height
    if width > 0.95:
        height, width = height * 0.95 / width, 0.95
    return ObjectDraw(
        row=row,
        height=height,
        centre=float(0.5 + (1 - width) / 2 * 0.8 * rng.uniform(-1, 1)),
        ground=float(ground),
        mirrored=bool(rng.random() < 0.5),
        tint=float(rng.uniform(*placement.tint)),
        strength=float(rng.uniform(*placement.shadow_strength)),
        softness=float(rng.uniform(*placement.shadow_softness)),
    )


def _visible_box(alpha: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) around alpha above a tenth; everything where nothing is."""
    rows, columns = (np.flatnonzero((alpha > 25).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, alpha.shape[1], alpha.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _box_size(pool: AssetPool, row: int) -> tuple[int, int]:
    left, top, right, bottom = _visible_box(pool.pixels[row, 3])
    return right - left, bottom - top


def render_scene(draw: SceneDraw, pool: AssetPool, plates: Sequence[Plate], size: int) -> Scene:
    """The planes at size x size. The composite is made from the 8-bit planes, so it equals
    over(foreground, background) to the rounding of its own 8 bits."""
    background = _background(draw, plates[draw.plate], size)
    for earlier in draw.earlier:
        plane = object_plane(earlier, pool, background, size)
        background = to_float(to_u8(over(plane, background)))
    foreground = to_u8(object_plane(draw.object, pool, background, size))
    composite = to_u8(over(to_float(foreground), background))
    return Scene(foreground, to_u8(background)[..., :3], composite[..., :3])


def _background(draw: SceneDraw, plate: Plate, size: int) -> Float:
    """(S, S, 4) float32 opaque, of 8-bit values."""
    tall = plate.pixels.shape[1]
    left, top, side = (round(share * tall) for share in draw.crop)
    side = min(side, tall, plate.pixels.shape[2])
    left, top = min(left, plate.pixels.shape[2] - side), min(top, tall - side)
    crop = plate.pixels[:, top : top + side, left : left + side].transpose(1, 2, 0)
    if draw.mirrored:
        crop = crop[:, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(crop))
    small = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
    opaque = np.full((size, size, 1), 255, np.uint8)
    return to_float(np.concatenate([small, opaque], axis=2))


def object_plane(draw: ObjectDraw, pool: AssetPool, background: Float, size: int) -> Float:
    """(S, S, 4) float32 straight: the lit object over its own contact shadow."""
    pixels = pool.pixels[draw.row].transpose(1, 2, 0)
    left, top, right, bottom = _visible_box(pixels[..., 3])
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    height = max(1, round(draw.height * size))
    width = max(1, round(draw.height * size * (right - left) / (bottom - top)))
    shrinks = height <= cut.shape[0]
    small = to_float(resize(cut, (width, height), "area" if shrinks else "lanczos"))
    if draw.mirrored:
        small = small[:, ::-1]
    plane = np.zeros((size, size, 4), np.float32)
    x, y = round(draw.centre * size - width / 2), round(draw.ground * size) - height
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, size), min(y + height, size)
    plane[y0:y1, x0:x1] = small[y0 - y : y1 - y, x0 - x : x1 - x]
    shadow = contact_shadow(
        (x / size, (x + width) / size, draw.ground), draw.strength, draw.softness, size
    )
    return over(lit_by(plane, background, draw.tint), shadow)


def contact_shadow(
    foot: tuple[float, float, float], strength: float, softness: float, size: int
) -> Float:
    """A soft black ellipse under an object. foot: (left, right, ground) in canvas shares."""
    left, right, ground = foot
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    half = (right - left) / 2
    across = (axis[None, :] - (left + right) / 2) / (half * 0.95)
    down = (axis[:, None] - ground) / (half * 0.22)
    distance = np.sqrt(across**2 + down**2)
    alpha = strength / (
        1 + np.exp(-np.clip((0.8 - distance) / (0.12 + 0.3 * softness) * 2, -60, 60))
    )
    shadow = np.zeros((size, size, 4), np.float32)
    shadow[..., 3] = np.where(alpha > 0.012, alpha, 0)
    return shadow


def lit_by(plane: Float, background: Float, amount: float) -> Float:
    """Tint and dim a straight-alpha object by the mean colour of its background; alpha stays."""
    mean = background[..., :3].mean(axis=(0, 1))
    brightness = mean.mean()
    tint = np.clip(mean / max(float(brightness), 0.05), 0.6, 1.5)
    gain = 1 + amount * (tint * (0.7 + 0.6 * brightness) - 1)
    lit = plane.copy()
    lit[..., :3] = np.clip(plane[..., :3] * gain, 0, 1)
    return lit


@dataclass(frozen=True)
class _Stock:
    """The held-out assets, read once for all scenes of a shard, and the order they are dealt in:
    no concept and no plate comes twice before all came once."""

    folder: Path
    style: str
    seed: int

    @cached_property
    def pool(self) -> AssetPool:
        return read_assets(self.folder, ("foreground",), "heldout", SOURCE_SIZE, (self.style,))

    @cached_property
    def plates(self) -> list[Plate]:
        return read_plates(self.folder, "heldout", SOURCE_SIZE * 2)

    def dealt(self, index: int) -> tuple[int, str]:
        """(plate, concept root) of a scene."""
        rng = np.random.default_rng([self.seed])
        roots = rng.permutation(sorted(set(self.pool.roots)))
        plates = rng.permutation(len(self.plates))
        return int(plates[index % len(plates)]), str(roots[index % len(roots)])


def scene_samples(recipe: SceneRecipe, assets: Path, size: int) -> Iterator[Sample]:
    """(key, maker) of every scene of one size; nothing is read before the first maker runs."""
    stock = _Stock(assets, recipe.style, recipe.seed)
    for index in range(recipe.count):
        yield f"scene-{index:04d}", _scene_maker(recipe, stock, size, index)


def _scene_maker(recipe: SceneRecipe, stock: _Stock, size: int, index: int):
    def make() -> list[Member]:
        rng = np.random.default_rng([recipe.seed, index])
        plate, root = stock.dealt(index)
        draw = draw_scene(rng, stock.pool, stock.plates, recipe.placement, recipe.busy, plate, root)
        scene = render_scene(draw, stock.pool, stock.plates, size)
        about = describe_scene(draw, stock.pool, stock.plates)
        about |= {"key": f"scene-{index:04d}", "seed": [recipe.seed, index], "size": size}
        return [
            ("json", json.dumps(about, ensure_ascii=False).encode()),
            ("composite.png", png(scene.composite)),
            ("background.png", png(scene.background)),
            ("foreground.png", png(scene.foreground)),
        ]

    return make


def describe_scene(draw: SceneDraw, pool: AssetPool, plates: Sequence[Plate]) -> dict[str, Any]:
    """Prompts and names of a scene; `background` names the plate alone, `background_captions`
    also what already stands in it."""
    caption = pool.captions[draw.object.row][0]
    plate = plates[draw.plate]
    earlier = [pool.captions[item.row][0] for item in draw.earlier]
    standing = plate.captions[0]
    if earlier:
        standing = f"{plate.captions[0]} with {_listed(earlier)}"
    return {
        "kind": "scene",
        "split": "heldout",
        "caption": f"{caption}, {plate.captions[0]}",
        "foreground": caption,
        "concept": pool.concepts[draw.object.row],
        "background": plate.captions[0],
        "background_captions": list(dict.fromkeys([standing, *plate.captions[:3]])),
        "foreground_captions": varied(caption, (), ()),
        "foreground_key": pool.keys[draw.object.row],
        "background_key": plate.key,
        "earlier": earlier,
    }


def _listed(phrases: Sequence[str]) -> str:
    return (
        " and ".join(phrases)
        if len(phrases) < 3
        else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    )
