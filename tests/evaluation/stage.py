"""A small stage for whole-suite tests: shards of coloured shapes, a family that knows the truth,
and judges that see it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from multiplane.core.composite import over
from multiplane.core.pixels import to_float, to_u8
from multiplane.core.request import TASK_TABLE, LayerRequest, MadePlanes, Plane, Task
from multiplane.data.shards import write_json, write_shard
from multiplane.evaluation.measured import MEASURED
from multiplane.evaluation.prompts import FixedPrompt
from multiplane.evaluation.scenes import HeldoutScene, read_scenes

SIDE = 32
COLORS = {
    "red": (0.9, 0.2, 0.1),
    "green": (0.2, 0.8, 0.3),
    "blue": (0.2, 0.3, 0.9),
    "yellow": (0.9, 0.9, 0.2),
    "pink": (0.9, 0.5, 0.8),
    "cyan": (0.3, 0.9, 0.9),
}


# A prompt for each colour; stands in for the fixed prompts, which the shards know nothing of.
PROMPTS = [
    FixedPrompt("train", number, f"a {name} disc", name, "a dark plain")
    for number, name in enumerate(COLORS)
]


def prompts(limit: int | None = None) -> list[FixedPrompt]:
    """As `fixed_prompts`."""
    return PROMPTS[:limit]


def disc(color: tuple[float, float, float], radius: float, x: float, y: float) -> np.ndarray:
    """(SIDE, SIDE, 4) uint8: a disc with an edge two pixels soft."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    distance = np.hypot(columns - x, rows - y)
    picture = np.zeros((SIDE, SIDE, 4), np.float32)
    picture[..., :3] = color
    picture[..., 3] = np.clip((radius - distance) / 2 + 0.5, 0, 1)
    return to_u8(picture)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write(folder: Path, kind: str, split: str, samples: list[Any], **about: Any) -> dict[str, Any]:
    about = {"kind": kind, "split": split, "style": "noto" if kind == "gallery" else "3d", **about}
    name = f"{kind}-{split}{about.get('size', '')}.tar"
    made = [(key, (lambda members=members: members)) for key, members in samples]
    note = write_shard(folder, name, made, plan="test", about=about)
    return {"name": note.name, "about": about, "count": note.count}


def add_gallery(folder: Path, drawings: dict[str, np.ndarray]) -> None:
    """A drawing (SIDE, SIDE, 4) uint8 for each concept, into a folder of asset shards."""
    manifest = json.loads((folder / "manifest.json").read_text())
    samples = [
        _asset(f"gallery-{place}", name, "all", pixels)
        for place, (name, pixels) in enumerate(drawings.items())
    ]
    write_json(
        folder / "manifest.json",
        {"shards": [*manifest["shards"], _write(folder, "gallery", "all", samples)]},
    )


def _asset(key: str, concept: str, split: str, pixels: np.ndarray) -> tuple[str, list[Any]]:
    about = {
        "key": key,
        "concept": concept,
        "root": concept,
        "captions": [f"a {concept} disc"],
        "group": "discs",
        "style": "3d",
        "split": split,
    }
    return key, [("json", json.dumps(about).encode()), ("png", _png(pixels))]


def write_shards(folder: Path, scenes: int) -> None:
    """assets/ with training and held-out discs and a gallery, and scenes/ with exact truth."""
    assets = folder / "assets"
    assets.mkdir(parents=True)
    notes = []
    for kind, split, radius in (
        ("foreground", "train", 12.0),
        ("foreground", "heldout", 11.0),
        ("gallery", "all", 14.0),
    ):
        samples = [
            _asset(f"{kind}-{split}-{name}", name, split, disc(color, radius, 16, 16))
            for name, color in COLORS.items()
        ]
        notes.append(_write(assets, kind, split, samples))
    write_json(assets / "manifest.json", {"shards": notes})
    (folder / "scenes").mkdir()
    samples = [_scene(index) for index in range(scenes)]
    note = _write(folder / "scenes", "scene", "heldout", samples, size=SIDE)
    write_json(folder / "scenes" / "manifest.json", {"shards": [note]})


def _scene(index: int) -> tuple[str, list[Any]]:
    name = list(COLORS)[index % len(COLORS)]
    foreground = disc(COLORS[name], 7 + index % 4, 14 + index % 5, 18 - index % 3)
    background = np.zeros((SIDE, SIDE, 4), np.uint8)
    background[..., 2] = np.arange(SIDE) + 10 * (index % 4)
    background[..., 3] = 255
    composite = to_u8(over(to_float(foreground), to_float(background)))
    key = f"scene-{index:04d}"
    about = {
        "foreground": f"a {name} disc {index}",
        "background": f"a dark plain {index}",
        "concept": name,
        "earlier": [],
    }
    members = [("json", json.dumps(about).encode())]
    members.append(("composite.png", _png(composite[..., :3])))
    members.append(("background.png", _png(background[..., :3])))
    return key, [*members, ("foreground.png", _png(foreground))]


class KnowingFamily:
    """Answers every request with the truth of the scene whose prompts or pixels it recognises, and
    with a disc of the colour that the prompt names for everything else.

    composite_error: added to the composites it makes, before the engine reconciles them."""

    name = "knowing"
    version = "1"
    native_size = (SIDE, SIDE)
    tasks = frozenset((*TASK_TABLE, Task.of("-> foreground background")))

    def __init__(self, shards: Path, composite_error: float = 0.0) -> None:
        self.scenes = read_scenes(shards / "scenes", SIDE)
        self.composite_error = composite_error

    def make(self, request: LayerRequest, progress: Any = None) -> MadePlanes:
        scene = next((each for each in self.scenes if _fits(each, request)), None)
        foregrounds = tuple(
            self._plane(scene, plane, "foreground") for plane in request.foregrounds
        )
        if request.controls and request.foregrounds:
            shaped = foregrounds[0].copy()
            shaped[..., 3] = to_float(request.controls[0].pixels)
            foregrounds = (shaped,)
        background = composite = None
        if request.background.state != "absent":
            background = self._plane(scene, request.background, "background")
        if request.composite.state != "absent":
            composite = self._plane(scene, request.composite, "composite")
            if scene is None and foregrounds and background is not None:
                composite = over(foregrounds[0], background)
            if request.composite.state == "wanted":
                composite = composite.copy()
                composite[..., 1] = np.clip(composite[..., 1] + self.composite_error, 0, 1)
        return MadePlanes(foregrounds, background, composite)

    def _plane(self, scene: HeldoutScene | None, plane: Plane, kind: str) -> np.ndarray:
        if plane.pixels is not None:
            return to_float(plane.pixels)
        if scene is not None:
            return to_float(scene.plane(kind))
        named = [color for name, color in COLORS.items() if name in plane.prompt]
        color = named[0] if named else (0.5, 0.5, 0.5)
        if kind == "foreground":
            return to_float(disc(color, 10, 16, 16))
        ground = np.zeros((SIDE, SIDE, 4), np.float32)
        ground[..., 3] = 1.0
        shown = over(to_float(disc(color, 10, 16, 16)), ground)
        return shown if kind == "composite" else ground


def _fits(scene: HeldoutScene, request: LayerRequest) -> bool:
    planes = request.planes()
    prompts = {plane.prompt for plane in planes.values() if plane.prompt}
    known = set(scene.prompts.values())
    given = [(name, plane.pixels) for name, plane in planes.items() if plane.state == "given"]
    same = all(np.array_equal(pixels, scene.plane(name)) for name, pixels in given)
    return same and bool(given or prompts) and prompts <= known


class Bright:
    """A segmenter for bright things on dark ground."""

    name = "bright"
    version = "1"

    def cut(self, picture: np.ndarray) -> np.ndarray:
        return (picture.max(axis=2) > 0.55).astype(np.float32)


class MeanColor:
    """Features: the mean colour of a picture, and its coverage of the middle."""

    name = "mean colour"

    def of(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([each.mean(axis=(0, 1)) for each in pictures]).astype(np.float32)


class SeeingJudges:
    judge = cutter = Bright()
    features = MeanColor()


def unmeasured(part: str, figures: Any) -> list[str]:
    """The paths of `MEASURED` that lead to nothing in the figures of a part."""
    measures = [measure for measure in MEASURED if measure.part == part]
    return [measure.path for measure in measures if not list(measure.found(figures))]
