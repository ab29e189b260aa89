"""Layered clips with exact truth: an animated or moved cut-out over a panning photograph.

As in `multiplane.data.scenes` the foreground plane is the object over its own contact shadow, lit
by what is behind it, and the composite of every frame is over(foreground, background) by
definition; it is not stored. A plane's frames lie below each other in one picture.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.composite import over
from multiplane.core.pixels import to_float, to_u8
from multiplane.data.animations import Animation, read_animation
from multiplane.data.clip_motion import (
    CameraPath,
    ObjectPath,
    ObjectPlace,
    draw_camera,
    draw_object,
)
from multiplane.data.pictures import FOREGROUND_SIZE, open_picture, webp
from multiplane.data.recipe import ClipRecipe
from multiplane.data.records import Asset
from multiplane.data.scenes import contact_shadow, lit_by
from multiplane.data.shards import Member

CLIP_FORM = 1  # raise it when the pixels of a clip change for the same recipe
Float = NDArray[np.float32]


@dataclass(frozen=True)
class ClipDraw:
    """What chance decided. start: seconds into the animation's loop. tint, strength, softness: see
    `ScenePlacement`."""

    object: ObjectPath
    camera: CameraPath
    start: float
    mirrored: bool
    tint: float
    strength: float
    softness: float


@dataclass(frozen=True, eq=False)
class Clip:
    """foreground: (F, S, S, 4) uint8 straight alpha. background: (F, S, S, 3) uint8."""

    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]


@lru_cache(maxsize=64)
def read_plate(path: Path, height: int) -> Image.Image:
    """A photograph at this height. Raises BrokenSource."""
    picture = open_picture(path, "RGB")
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def draw_clip(
    rng: np.random.Generator, recipe: ClipRecipe, animation: Animation, plate: Asset, width: float
) -> ClipDraw:
    """All chance of one clip. width: of the plate, over its height."""
    left, top, right, bottom = animation.visible_box()
    place = recipe.placement
    horizon = 0.5 if plate.horizon is None else plate.horizon
    return ClipDraw(
        object=draw_object(
            rng, recipe.motion, (right - left) / (bottom - top), place.ground, place.scale
        ),
        camera=draw_camera(rng, recipe.motion, width, horizon),
        start=float(rng.uniform(0, animation.seconds)),
        mirrored=bool(rng.random() < 0.5),
        tint=float(rng.uniform(*place.tint)),
        strength=float(rng.uniform(*place.shadow_strength)),
        softness=float(rng.uniform(*place.shadow_softness)),
    )


def render_clip(
    draw: ClipDraw, animation: Animation, plate: Image.Image, size: int, frames: int, fps: float
) -> Clip:
    """Every plane of every frame at size x size."""
    box = animation.visible_box()
    shown = animation.at([draw.start + index / fps for index in range(frames)])
    foregrounds, backgrounds = [], []
    for index, picture in enumerate(shown):
        time = index / max(1, frames - 1)
        background = _window(plate, draw.camera.at(time), size)
        plane = _object_plane(draw, picture, box, draw.object.at(time), background, size)
        foregrounds.append(to_u8(plane))
        backgrounds.append(to_u8(background)[..., :3])
    return Clip(np.stack(foregrounds), np.stack(backgrounds))


def _window(plate: Image.Image, window: tuple[float, float, float], size: int) -> Float:
    """(S, S, 4) float32 opaque, of 8-bit values. window: (left, top, side) in shares of the
    plate's height."""
    left, top, side = (share * plate.height for share in window)
    corners = (left, top, left + side, top + side)
    picture = plate.transform(
        (size, size), Image.Transform.EXTENT, corners, Image.Resampling.BICUBIC
    )
    opaque = np.full((size, size, 1), 255, np.uint8)
    return to_float(np.concatenate([np.asarray(picture), opaque], axis=2))


def _object_plane(
    draw: ClipDraw,
    picture: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    place: ObjectPlace,
    background: Float,
    size: int,
) -> Float:
    """(S, S, 4) float32 straight: the lit object over its contact shadow, which fades as the
    object leaves the ground."""
    placed = _placed(picture, box, place, draw.object.ground - place.lift, draw.mirrored, size)
    half = place.height * (box[2] - box[0]) / (box[3] - box[1]) / 2
    strength = draw.strength * max(0.0, 1 - 4 * place.lift)
    shadow = contact_shadow(
        (place.x - half, place.x + half, draw.object.ground), strength, draw.softness, size
    )
    return over(lit_by(placed, background, draw.tint), shadow)


def _placed(
    picture: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    place: ObjectPlace,
    foot: float,
    mirrored: bool,
    size: int,
) -> Float:
    """(S, S, 4) float32 straight: the box's foot at (place.x, foot), drawn at twice the size and
    averaged, in premultiplied form. foot: in shares of the canvas."""
    left, top, right, bottom = box
    wide = 2 * size
    tall = max(2, round(place.height * wide))
    across = max(2, round(tall * (right - left) / (bottom - top)))
    cut = Image.fromarray(np.ascontiguousarray(picture[top:bottom, left:right])).convert("RGBa")
    if mirrored:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = cut.resize((across, tall), Image.Resampling.BOX)
    turn = math.radians(place.angle)
    cosine, sine = math.cos(turn), math.sin(turn)
    x, y = place.x * wide, foot * wide
    matrix = (
        *(cosine, sine, across / 2 - cosine * x - sine * y),
        *(-sine, cosine, tall + sine * x - cosine * y),
    )
    drawn = small.transform((wide, wide), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return to_float(np.asarray(drawn.reduce(2).convert("RGBA")))


def clip_members(
    recipe: ClipRecipe, asset: Asset, plates: Sequence[Asset], index: int, style: str
) -> list[Member]:
    """The members of one clip's sample: `json`, `foreground.webp`, `background.webp`. plates: of
    the asset's split. style: of the shard. Raises BrokenSource."""
    key = int.from_bytes(hashlib.sha256(asset.key.encode()).digest()[:8], "big")
    seed = [recipe.seed, key, index]
    rng = np.random.default_rng(seed)
    plate = plates[int(rng.integers(len(plates)))]
    photo = read_plate(plate.path, 2 * recipe.size)
    animation = read_animation(asset.path, FOREGROUND_SIZE)
    draw = draw_clip(rng, recipe, animation, plate, photo.width / photo.height)
    clip = render_clip(draw, animation, photo, recipe.size, recipe.frames, recipe.fps)
    about = describe_clip(recipe, draw, asset, plate)
    about |= {"key": clip_key(asset, index), "style": style, "seed": seed}
    return [
        ("json", json.dumps(about, ensure_ascii=False).encode()),
        ("foreground.webp", webp(Image.fromarray(clip.foreground.reshape(-1, recipe.size, 4)))),
        ("background.webp", webp(Image.fromarray(clip.background.reshape(-1, recipe.size, 3)))),
    ]


def clip_key(asset: Asset, index: int) -> str:
    """The name of a clip's sample."""
    return f"clip-{asset.key}-{index:05d}"


def describe_clip(recipe: ClipRecipe, draw: ClipDraw, asset: Asset, plate: Asset) -> dict[str, Any]:
    """Captions, which hold for every frame, and where everything is in each of them. caption: of
    the composite. places: (x, foot, height, degrees) of the object; windows: (left, top, side) of
    the camera."""
    times = [index / max(1, recipe.frames - 1) for index in range(recipe.frames)]
    places = [draw.object.at(time) for time in times]
    return {
        "kind": "clip",
        "split": asset.split,
        "size": recipe.size,
        "frames": recipe.frames,
        "fps": recipe.fps,
        "caption": f"{asset.caption}, {plate.caption}",
        "foreground": asset.caption,
        "background": plate.caption,
        "foreground_captions": list(asset.captions),
        "background_captions": list(plate.captions),
        "concept": asset.concept,
        "root": asset.root,
        "foreground_key": asset.key,
        "background_key": plate.key,
        "source": sorted({asset.source, plate.source}),
        "licence": sorted({asset.licence, plate.licence}),
        "places": [
            [round(value, 4) for value in (p.x, draw.object.ground - p.lift, p.height, p.angle)]
            for p in places
        ],
        "windows": [[round(value, 4) for value in draw.camera.at(time)] for time in times],
    }
