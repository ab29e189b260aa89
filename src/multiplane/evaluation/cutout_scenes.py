"""Scenes with exact truth for taking photographs apart: a cut-out, native size, on a landscape.

Two groups. "photo": photographic cut-outs (tables/stamps.tsv), pixel by pixel as they are. "3d":
held-out renders with soft edges. Both stand on photographs of landscapes. No object is scaled, lit
or given a shadow, so object, alpha and what lies behind are known to the bit: the composite is
over(foreground, background). The recipe is a file; the same recipe gives the same bytes.

The cut-outs are never trained on. The landscapes are those of `data/tables/plates.tsv`, of both
splits: no network that is measured here was trained by this project. Pictures with a subject of
their own (launch sites, interiors, the earth over the moon) are left out by the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.composite import over
from multiplane.core.config import read_config
from multiplane.core.pixels import to_float, to_u8
from multiplane.data.collections import COLLECTIONS
from multiplane.data.pictures import open_picture
from multiplane.data.records import Asset
from multiplane.weights.sources import locate

Group = Literal["photo", "3d"]
Stands = Literal["ground", "air"]
SCENE_FORM = 1  # raise it when the pixels of a scene change for the same recipe
STAMPS_FOLDER = "usr/share/tuxpaint/stamps"

CLEAR = 0.02  # alpha below it is nothing
SPECK = 0.005  # an unconnected part with less than this share of the object's alpha is dirt


@dataclass(frozen=True)
class CutoutRecipe:
    """photographs, renders: scenes a group. least_area: of the picture that an object covers, at
    alpha 0.5. most_side: of a side that its box may take. margin: between box and edge.
    no_landscape: kinds of plates (file names without their number) that are left out."""

    size: int = 768
    seed: int = 20261121
    photographs: int = 100
    renders: int = 50
    least_area: float = 0.02
    most_side: float = 0.9
    margin: float = 0.04
    no_landscape: tuple[str, ...] = ("earthrise", "nasa", "space", "station")

    def __post_init__(self) -> None:
        if self.size < 64 or min(self.photographs, self.renders) < 0:
            raise ValueError(f"scenes need a size of 64 or more and counts of 0 or more: {self}")
        if not 0 < self.least_area < 1 or not 0 < self.most_side + 2 * self.margin <= 1:
            raise ValueError(f"least_area 0..1, most_side + 2 margin at most 1: {self}")


@dataclass(frozen=True, eq=False)
class CutOut:
    """pixels: (h, w, 4) uint8 straight alpha, cropped to what is visible."""

    key: str
    caption: str
    stands: Stands
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CutoutScene:
    """foreground: (S, S, 4) uint8 straight alpha. background, composite: (S, S, 3) uint8."""

    key: str
    group: Group
    caption: str
    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]
    composite: NDArray[np.uint8]

    @property
    def alpha(self) -> NDArray[np.float32]:
        """(S, S) 0..1."""
        return to_float(self.foreground[..., 3])


def shipped_recipe() -> CutoutRecipe:
    """The recipe whose figures the documents quote."""
    path = resources.files("multiplane.evaluation") / "recipes" / "cutout.toml"
    return read_config(CutoutRecipe, Path(str(path)))


@dataclass(frozen=True)
class SceneStock:
    """Cut-outs and landscapes of a recipe; packages are fetched when the first scene is drawn."""

    recipe: CutoutRecipe

    @cached_property
    def plates(self) -> list[Asset]:
        plates = (
            plate
            for plate in COLLECTIONS["landscapes"].assets()
            if not set(plate.tags) & set(self.recipe.no_landscape)
        )
        return sorted(plates, key=lambda plate: plate.key)

    @cached_property
    def photographs(self) -> list[CutOut]:
        """Every photographic cut-out that the recipe allows."""
        folder = locate("tuxpaint-stamps") / STAMPS_FOLDER
        found = (read_stamp(folder, name, stands) for name, stands in read_table())
        return [cutout for cutout in found if allowed(cutout, self.recipe)]

    @cached_property
    def renders(self) -> list[Asset]:
        """The held-out renders, one a concept."""
        first: dict[str, Asset] = {}
        for asset in sorted(COLLECTIONS["fluent-3d"].assets(), key=lambda asset: asset.key):
            if asset.split == "heldout":
                first.setdefault(asset.root, asset)
        return [first[root] for root in sorted(first)]

    def scenes(self) -> Iterator[CutoutScene]:
        """All scenes in order, each drawn when it is asked for. Raises FetchError without the
        packages, ValueError where there are fewer cut-outs than scenes."""
        recipe = self.recipe
        if recipe.photographs:
            for index, cutout in enumerate(self._dealt("photo", recipe.photographs)):
                yield self._scene("photo", index, cutout)
        if recipe.renders:
            for index, cutout in enumerate(self._dealt("3d", recipe.renders)):
                yield self._scene("3d", index, cutout)

    def _dealt(self, group: Group, count: int) -> Iterator[CutOut]:
        """The first `count` cut-outs of the group in the order of the seed; none comes twice."""
        pool = self.photographs if group == "photo" else self.renders
        rng = np.random.default_rng([self.recipe.seed, _GROUPS.index(group)])
        given = 0
        for place in rng.permutation(len(pool)):
            chosen = pool[place]
            cutout = chosen if isinstance(chosen, CutOut) else _render(chosen)
            if given < count and allowed(cutout, self.recipe):
                given += 1
                yield cutout
        if given < count:
            raise ValueError(f"{count} scenes of {group!r} asked for, there are {given} cut-outs")

    def _scene(self, group: Group, index: int, cutout: CutOut) -> CutoutScene:
        """No landscape comes twice before all came once."""
        place = _GROUPS.index(group)
        order = np.random.default_rng([self.recipe.seed, 2 + place]).permutation(len(self.plates))
        plate = self.plates[order[index % len(order)]]
        rng = np.random.default_rng([self.recipe.seed, 4 + place, index])
        background = landscape(plate.path, self.recipe.size, rng)
        left, top = placed(cutout, plate.horizon or 0.5, self.recipe, rng)
        return compose(
            f"{group}-{index:03d}", group, f"{cutout.caption} {plate.caption}", cutout.pixels,
            background, (left, top),
        )  # fmt: skip


_GROUPS: tuple[Group, ...] = ("photo", "3d")


def read_table() -> list[tuple[str, Stands]]:
    """(file below the stamps' folder, how it stands) of every photographic cut-out."""
    text = (resources.files("multiplane.evaluation") / "tables" / "stamps.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, "air" if stands == "air" else "ground") for name, stands in rows]


def read_stamp(folder: Path, name: str, stands: Stands) -> CutOut:
    """A stamp with the first line of its text as caption; unconnected specks taken off."""
    path = folder / name
    text = path.with_suffix(".txt")
    caption = text.read_text("utf-8", "replace").splitlines()[0].strip() if text.exists() else ""
    pixels = cropped(without_specks(np.asarray(open_picture(path, "RGBA"))))
    return CutOut(Path(name).with_suffix("").as_posix(), caption, stands, pixels)


def _render(asset: Asset) -> CutOut:
    pixels = cropped(np.asarray(open_picture(asset.path, "RGBA")))
    return CutOut(asset.key, f"{asset.caption}.", "ground", pixels)


def without_specks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) with alpha 0 where it is next to nothing, and in parts that hang together with
    nothing and hold under half a percent of the object: dirt of the cutting-out."""
    from scipy import ndimage

    alpha = pixels[..., 3] / 255.0
    parts, count = cast(
        "tuple[NDArray[np.int32], int]", ndimage.label(alpha > CLEAR, structure=np.ones((3, 3)))
    )
    held = np.bincount(parts.ravel(), weights=alpha.ravel(), minlength=int(count) + 1)
    kept = held >= SPECK * held[1:].sum()
    kept[0] = False
    clean = pixels.copy()
    clean[..., 3] = np.where(kept[parts], pixels[..., 3], 0)
    return clean


def cropped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The box around every pixel that is not clear. Raises ValueError when all are."""
    rows, columns = np.nonzero(pixels[..., 3])
    if rows.size == 0:
        raise ValueError("the cut-out is empty: nothing in it is opaque")
    return pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def allowed(cutout: CutOut, recipe: CutoutRecipe) -> bool:
    """Whether the object is large enough to be the subject and small enough to stand free."""
    area = int(np.count_nonzero(cutout.pixels[..., 3] >= 128)) / recipe.size**2
    side = max(cutout.pixels.shape[:2]) / recipe.size
    return area >= recipe.least_area and side <= recipe.most_side


def landscape(path: Path, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(S, S, 3): a square of the photograph's whole height, mirrored half of the time."""
    photo = open_picture(path, "RGB")
    side = min(photo.size)
    left = int(rng.integers(0, photo.width - side + 1))
    square = photo.crop((left, 0, left + side, side))
    pixels = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)


def placed(
    cutout: CutOut, horizon: float, recipe: CutoutRecipe, rng: np.random.Generator
) -> tuple[int, int]:
    """(left, top) of the box. What stands on the ground has its foot below the horizon, and lower
    the larger it is: what is near looks large. What flies is in the sky as far as it fits."""
    height, width = int(cutout.pixels.shape[0]), int(cutout.pixels.shape[1])
    size, edge = recipe.size, round(recipe.margin * recipe.size)
    left = int(rng.integers(edge, size - edge - width + 1))
    lowest = size - edge - height
    if cutout.stands == "air":
        deepest = int(max(edge, min(lowest, horizon * size - height)))
        return left, int(rng.integers(edge, deepest + 1))
    highest = min(max((horizon + 0.08) * size - height, edge), lowest)
    nearness = min(0.5 * height / (0.6 * size) + 0.5 * rng.random(), 1.0)
    return left, round(highest + nearness * (lowest - highest))


def compose(
    key: str,
    group: Group,
    caption: str,
    cutout: NDArray[np.uint8],
    background: NDArray[np.uint8],
    corner: tuple[int, int],
) -> CutoutScene:
    """The scene with `cutout` (h, w, 4) at `corner` = (left, top) of `background` (S, S, 3)."""
    left, top = corner
    foreground = np.zeros((*background.shape[:2], 4), np.uint8)
    foreground[top : top + cutout.shape[0], left : left + cutout.shape[1]] = cutout
    opaque = np.dstack([background, np.full(background.shape[:2], 255, np.uint8)])
    composite = to_u8(over(to_float(foreground), to_float(opaque)))[..., :3]
    return CutoutScene(key, group, caption, foreground, background, composite)
