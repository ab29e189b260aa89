"""Footage taken apart, against exact truth, beside the same clips taken apart frame by frame.

    multiplane data build tiny -o DATA
    python benchmarks/footage.py clips -o OUT --shards DATA [--clips 20] [--frames 8] [--every 3]
    python benchmarks/footage.py table -o OUT
    python benchmarks/footage.py strip -o OUT --clip 0 FILE.webp
    python benchmarks/footage.py film LAYERS FILE.webp [--frames 6]

`clips` draws clips by seed (held-out renders with soft edges that move over photographs; the camera
stands in every second one) and measures each into a file of its own, so that a stopped run goes on.
Both ways share the mattes of one network, u2netp, and complete with the same method. `film` shows a
layers folder as a strip.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import Float, checkerboard, to_float, to_u8
from multiplane.data.animations import Animation
from multiplane.data.assets import shard_paths
from multiplane.data.clip_motion import ClipMotion
from multiplane.data.clips import Clip, draw_clip, render_clip
from multiplane.data.placement import ScenePlacement
from multiplane.data.recipe import ClipRecipe
from multiplane.data.records import Asset
from multiplane.data.shards import read_shard
from multiplane.engine.decompose import decompose
from multiplane.engine.footage_store import Workplace
from multiplane.engine.footage_sweeps import Sweeps
from multiplane.engine.model import Model
from multiplane.evaluation.cutout_measures import unknown_band
from multiplane.io.atomic import write_bytes
from multiplane.io.clips import read_clip
from multiplane.pipelines.cutout import CutoutFamily
from multiplane.pipelines.cutout.cutter import Cutter
from multiplane.pipelines.cutout.footage.looks import Looks
from multiplane.pipelines.cutout.footage.settings import FootageSettings
from multiplane.pipelines.cutout.matte import SalientMatte

SEED = 5
SLICE = 0.01  # of alpha: what is more hides the plate
FRAME_BY_FRAME, FOOTAGE = "frame by frame", "footage"


@dataclass(frozen=True, eq=False)
class Apart:
    """What one way made of a clip. alpha: (F, S, S). plate: (F, S, S, 3). apart: the largest
    difference of the planes laid together to the clip. seconds: of processor time a frame."""

    alpha: Float
    plate: Float
    apart: float
    seconds: float


class CachedMatte:
    """A network's mattes, each made once; its own time is counted apart."""

    def __init__(self) -> None:
        self._network = SalientMatte.load("u2netp", 1)
        self._made: dict[str, Float] = {}
        self.seconds = 0.0

    def __call__(self, picture: Float) -> Float:
        key = hashlib.sha256(to_u8(picture).tobytes()).hexdigest()
        if key not in self._made:
            began = time.process_time()
            self._made[key] = self._network(picture)
            self.seconds += time.process_time() - began
        return self._made[key]


@lru_cache(maxsize=1)
def pools(shards: Path) -> tuple[list[Animation], list[tuple[Asset, Image.Image]]]:
    """The held-out renders, and the held-out photographs with what is known of them."""
    renders: list[Animation] = []
    for path in shard_paths(shards, ("foreground",), "heldout", ("3d",)):
        for _, members in read_shard(path):
            pixels = np.asarray(Image.open(io.BytesIO(members["webp"])).convert("RGBA"))
            renders.append(Animation((pixels,), (100,)))
    plates: list[tuple[Asset, Image.Image]] = []
    known = {each.name for each in fields(Asset)}
    for path in shard_paths(shards, ("background",), "heldout", ("photo",)):
        for _, members in read_shard(path):
            about = json.loads(members["json"])
            facts = {name: value for name, value in about.items() if name in known}
            picture = Image.open(io.BytesIO(members["webp"])).convert("RGB")
            plates.append((Asset(path=path, **facts), picture))
    return renders, plates


def drawn(index: int, size: int, frames: int, shards: Path) -> Clip:
    """Clip `index`: a held-out render over a photograph, without a shadow of its own."""
    renders, plates = pools(shards)
    rng = np.random.default_rng([SEED, index])
    animation = renders[int(rng.integers(len(renders)))]
    plate, picture = plates[int(rng.integers(len(plates)))]
    motion = ClipMotion(still_camera=1.0 if index % 2 == 0 else 0.0)
    placement = replace(ScenePlacement(), shadow_strength=(0.0, 0.0))
    recipe = ClipRecipe(frames=frames, size=size, motion=motion, placement=placement)
    width = round(picture.width * 2 * size / picture.height)
    photo = picture.resize((width, 2 * size), Image.Resampling.LANCZOS)
    draw = draw_clip(rng, recipe, animation, plate, photo.width / photo.height)
    return render_clip(draw, animation, photo, size, frames, recipe.fps)


def composites(clip: Clip) -> NDArray[np.uint8]:
    """(F, S, S, 4): what the camera saw."""
    alpha = to_float(clip.foreground[..., 3:])
    shown = alpha * to_float(clip.foreground[..., :3]) + (1 - alpha) * to_float(clip.background)
    return np.concatenate([to_u8(shown), np.full((*shown.shape[:3], 1), 255, np.uint8)], axis=3)


def still_by_still(frames: NDArray[np.uint8], matte: CachedMatte, complete: str) -> Apart:
    """Each frame a photograph of its own; one without a clear subject is all background."""
    model = Model(CutoutFamily(Cutter(lambda name, threads: matte)))
    alphas, plates = [], []
    began, looked = time.process_time(), matte.seconds
    for frame in frames:
        document = decompose(
            frame, model=model, matte="u2netp", complete=complete, keep_flat=True, threads=1
        )
        ground, *fronts = document.leaves()
        clear = np.zeros_like(frame)
        alphas.append((fronts[0].pixels if fronts else clear)[..., 3])
        plates.append((ground.pixels, fronts[0].pixels if fronts else clear))
    seconds = time.process_time() - began - (matte.seconds - looked)
    return _apart(frames, plates, seconds)


def as_footage(
    frames: NDArray[np.uint8], matte: CachedMatte, complete: str, every: int, steady: bool
) -> Apart:
    """The sweeps over the clip, without the writing of its files."""
    size = (frames.shape[2], frames.shape[1])
    documents = [LayerDocument(size, (Layer("clip", frame),)) for frame in frames]
    settings = FootageSettings(
        matte="u2netp", complete=complete, every=every, steady=steady, threads=1
    )
    looks = Looks(settings, lambda name, threads: matte)
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder) / "layers", {})
        began, looked = time.process_time(), matte.seconds
        sweeps = Sweeps(LayerClip.of(documents, 8), settings, looks, place, lambda *_: None)
        sweeps.run()
        seconds = time.process_time() - began - (matte.seconds - looked)
        kept = [place.load_planes(number) for number in range(len(frames))]
        place.close(keep=False)
    return _apart(frames, [(each.background, each.foreground) for each in kept], seconds)


def _apart(
    frames: NDArray[np.uint8],
    planes: list[tuple[NDArray[Any], NDArray[Any]]],
    seconds: float,
) -> Apart:
    plate = np.stack([to_float(ground)[..., :3] for ground, _ in planes])
    front = np.stack([to_float(front) for _, front in planes])
    alpha = front[..., 3:]
    laid = alpha * front[..., :3] + (1 - alpha) * plate
    apart = float(np.abs(laid - to_float(frames)[..., :3]).max())
    return Apart(front[..., 3], plate, apart, seconds / len(frames))


def figures(made: Apart, clip: Clip) -> dict[str, float]:
    """Against the truth. Flicker: how far the change from frame to frame is from the true one."""
    alpha = to_float(clip.foreground[..., 3])
    plate = to_float(clip.background)
    band = np.stack([unknown_band(each, 4) for each in alpha])
    pair = band[1:] | band[:-1]
    hidden = alpha > SLICE
    both = hidden[1:] & hidden[:-1]
    alpha_change = np.abs(np.diff(made.alpha, axis=0) - np.diff(alpha, axis=0))
    plate_change = np.abs(np.diff(made.plate, axis=0) - np.diff(plate, axis=0))
    off = np.abs(made.plate - plate)
    return {
        "alpha error": float(np.abs(made.alpha - alpha).mean()),
        "alpha error in the band": float(np.abs(made.alpha - alpha)[band].mean()),
        "alpha flicker in the band": float(alpha_change[pair].mean()),
        "plate error": float(off.mean()),
        "plate error where hidden": float(off[hidden].mean()),
        "plate flicker where hidden": float(plate_change[both].mean()),
        "recomposition, largest": made.apart,
        "seconds a frame without the network": made.seconds,
    }


def measure(index: int, asked: argparse.Namespace) -> None:
    """Measure one clip by every way into OUT/clip-NN.json, with what the strip needs beside it."""
    target = asked.output / f"clip-{index:02d}.json"
    if target.exists():
        return
    clip = drawn(index, asked.size, asked.frames, asked.shards)
    frames, matte = composites(clip), CachedMatte()
    ways: dict[str, Callable[[], Apart]] = {
        FOOTAGE: lambda: as_footage(frames, matte, asked.complete, 1, True),
        FRAME_BY_FRAME: lambda: still_by_still(frames, matte, asked.complete),
    }
    for every in asked.every:
        if every > 1:
            ways[f"footage, every {every}"] = lambda every=every: as_footage(
                frames, matte, asked.complete, every, True
            )
    made = {name: way() for name, way in ways.items()}
    found = {name: figures(each, clip) for name, each in made.items()}
    arrays = {f"{name}|alpha": to_u8(each.alpha) for name, each in made.items()}
    arrays |= {f"{name}|plate": to_u8(each.plate) for name, each in made.items()}
    np.savez_compressed(target.with_suffix(".npz"), frames=frames, **arrays)  # pyright: ignore[reportArgumentType]
    about = {
        "camera": "still" if index % 2 == 0 else "moving",
        "size": asked.size,
        "frames": asked.frames,
        "complete": asked.complete,
        "network": round(matte.seconds / asked.frames, 4),
        "ways": found,
    }
    write_bytes(target, json.dumps(about, indent=1).encode())
    print(f"clip {index} done", flush=True)


def table(output: Path) -> None:
    """The means over all measured clips, as Markdown: a row a figure, a column a way."""
    clips = [json.loads(path.read_text("utf-8")) for path in sorted(output.glob("clip-*.json"))]
    for camera in ("still", "moving", None):
        rows = [each for each in clips if camera in (None, each["camera"])]
        if not rows:
            continue
        names = [name for name in rows[0]["ways"] if all(name in each["ways"] for each in rows)]
        print(f"\n{len(rows)} clips, {camera or 'all'}\n\n| | {' | '.join(names)} |")
        print("|---" * (len(names) + 1) + "|")
        for figure in rows[0]["ways"][names[0]]:
            worst = figure.startswith("recomposition")
            values = [[each["ways"][name][figure] for each in rows] for name in names]
            shown = [max(each) if worst else float(np.mean(each)) for each in values]
            print(f"| {figure} | {' | '.join(f'{value:.4f}' for value in shown)} |")


def strip(output: Path, index: int, target: Path) -> None:
    """Frames of a measured clip: as filmed; then of each way the subject over a checkerboard and
    the plate."""
    with np.load(output / f"clip-{index:02d}.npz") as kept:
        frames = to_float(kept["frames"])
        rows = [frames[..., :3]]
        for name in (FRAME_BY_FRAME, FOOTAGE):
            alpha, plate = (to_float(kept[f"{name}|{part}"]) for part in ("alpha", "plate"))
            rows += [_checked(frames[..., :3], alpha), plate]
    _write_rows(rows, target)


def film(folder: Path, target: Path, count: int, height: int = 150) -> None:
    """Frames of a layers folder, evenly spread: as filmed, the foreground, the background."""
    clip = read_clip(folder)
    numbers = set(np.linspace(0, len(clip) - 1, count).round().astype(int).tolist())
    rows: list[list[Float]] = [[], [], []]
    for number, document in enumerate(clip):
        if number in numbers:
            ground, front = (to_float(layer.pixels) for layer in document.leaves())
            alpha = front[..., 3:]
            filmed = alpha * front[..., :3] + (1 - alpha) * ground[..., :3]
            rows[0].append(filmed.astype(np.float32, copy=False))
            rows[1].append(_checked(front[..., :3][None], front[..., 3][None])[0])
            rows[2].append(ground[..., :3])
    _write_rows([np.stack(row) for row in rows], target, height)


def _checked(colour: Float, alpha: Float) -> Float:
    """(F, H, W, 3) over a checkerboard."""
    behind = to_float(checkerboard((colour.shape[2], colour.shape[1])))[..., :3]
    shown = alpha[..., None] * colour + (1 - alpha[..., None]) * behind
    return shown.astype(np.float32, copy=False)


def _write_rows(rows: list[Float], target: Path, height: int = 0) -> None:
    lines = [np.concatenate(list(row), axis=1) for row in rows]
    picture = Image.fromarray(to_u8(np.concatenate(lines, axis=0)))
    if height:
        scale = height * len(rows) / picture.height
        picture = picture.resize((round(picture.width * scale), height * len(rows)))
    picture.save(target, quality=80, method=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    clips = commands.add_parser("clips")
    clips.add_argument("--shards", type=Path, required=True)
    clips.add_argument("--clips", type=int, default=20)
    clips.add_argument("--first", type=int, default=0)
    clips.add_argument("--frames", type=int, default=8)
    clips.add_argument("--size", type=int, default=144)
    clips.add_argument("--every", type=int, nargs="*", default=[])
    clips.add_argument("--complete", default="diffuse")
    shown = commands.add_parser("strip")
    shown.add_argument("--clip", type=int, default=0)
    shown.add_argument("target", type=Path)
    for each in (clips, shown, commands.add_parser("table")):
        each.add_argument("--output", "-o", type=Path, required=True)
    rolled = commands.add_parser("film")
    rolled.add_argument("layers", type=Path)
    rolled.add_argument("target", type=Path)
    rolled.add_argument("--frames", type=int, default=6)
    asked = parser.parse_args()
    if asked.command == "clips":
        import cv2

        cv2.setNumThreads(1)
        asked.output.mkdir(parents=True, exist_ok=True)
        for index in range(asked.first, asked.clips):
            measure(index, asked)
    elif asked.command == "table":
        table(asked.output)
    elif asked.command == "strip":
        strip(asked.output, asked.clip, asked.target)
    else:
        film(asked.layers, asked.target, asked.frames)


if __name__ == "__main__":
    main()
