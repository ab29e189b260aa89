"""How much nearer the true alpha refining brings a network's matte: ours beside other ways.

    python benchmarks/refine.py [--matte isnet] [--size 768] [--json FILE]

Scenes with exact truth, drawn by seed: balls of fine hair, photographic stamps and soft-edged 3D
emoji over landscape photographs. The same coarse matte goes through every way; mean absolute alpha
error over the whole picture, and within 4 px of where the true alpha is soft; processor seconds.
pymatting, where it is installed (it is no dependency), gets the trimap that this matte gives.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from multiplane.core.pixels import Float, resize, to_float
from multiplane.pipelines.cutout.matte import SalientMatte
from multiplane.pipelines.cutout.refine import DEFAULT, LocalLinear, refine_alpha
from multiplane.weights.sources import locate

SEED = 7
STRANDS, SUPERSAMPLING = 900, 4
COUNTS = {"hair": 5, "stamp": 6, "emoji": 3}
TRIMAP_BAND = 4.0


def plates() -> list[Path]:
    return sorted(locate("endless-sky").rglob("land/*.jpg"))


def background(size: int, rng: np.random.Generator) -> Float:
    """(S, S, 3): a square of a landscape photograph."""
    listed = plates()
    with Image.open(listed[rng.integers(len(listed))]) as image:
        scale = size / image.height
        whole = image.convert("RGB").resize((round(image.width * scale), size))
    left = int(rng.integers(whole.width - size + 1))
    return to_float(np.asarray(whole.crop((left, 0, left + size, size))))


def hair(size: int, rng: np.random.Generator) -> Float:
    """(S, S, 4): a ball with strands that taper to nothing, drawn four times as large."""
    side = SUPERSAMPLING * size
    centre, radius = side // 2, int(0.22 * side)
    alpha = np.zeros((side, side), np.uint8)
    cv2.ellipse(alpha, (centre, centre), (radius, int(1.2 * radius)), 0, 0, 360, 255, -1)
    for _ in range(STRANDS):
        turn = rng.uniform(0, 2 * np.pi)
        place = centre + 0.95 * radius * np.array([np.cos(turn), 1.2 * np.sin(turn)])
        heading, bend = turn + rng.normal(0, 0.35), rng.normal(0, 0.08)
        length = rng.uniform(0.1, 0.45) * radius
        for step in range(14):
            heading += bend
            ahead = place + length / 14 * np.array([np.cos(heading), np.sin(heading)])
            start, end = (np.round(each).astype(int).tolist() for each in (place, ahead))
            cv2.line(alpha, start, end, 255, max(1, round(6 * (1 - step / 14))))
            place = ahead
    small = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 3)
    base = rng.uniform(0.15, 0.85, 3)
    colour = base * (1.0 + 0.7 * grain[..., None]) + rng.normal(0, 0.015, (size, size, 3))
    for eye in (-0.06, 0.06):
        where = (int(size * (0.5 + eye)), int(size * 0.45))
        cv2.circle(colour, where, int(size * 0.018), (0.05, 0.05, 0.05), -1)
    return np.dstack([np.clip(colour, 0, 1), small / 255.0]).astype(np.float32)


def placed(path: Path, size: int, longer: int) -> Float:
    """(S, S, 4): a picture with alpha in the middle, its longer side `longer` pixels."""
    with Image.open(path) as image:
        pixels = to_float(np.asarray(image.convert("RGBA")))
    scale = longer / max(pixels.shape[:2])
    pixels = resize(pixels, (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)))
    canvas = np.zeros((size, size, 4), np.float32)
    top, left = (size - pixels.shape[0]) // 2, (size - pixels.shape[1]) // 2
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def scenes(size: int) -> Iterator[tuple[str, Float, Float]]:
    """(kind, picture (S, S, 3) on 8 bits, true alpha (S, S))."""
    rng = np.random.default_rng(SEED)
    stamps = [
        path
        for path in sorted(locate("tuxpaint-stamps").rglob("animals/**/*.png"))
        if min(Image.open(path).size) > 300
    ]
    emoji = sorted(locate("fluent-emoji-3d").rglob("assets/*.webp"))
    for kind, count in COUNTS.items():
        for _ in range(count):
            if kind == "hair":
                front = hair(size, rng)
            elif kind == "stamp":
                front = placed(stamps[rng.integers(len(stamps))], size, round(0.6 * size))
            else:
                front = placed(emoji[rng.integers(len(emoji))], size, round(0.55 * size))
            share = front[..., 3:]
            picture = front[..., :3] * share + background(size, rng) * (1 - share)
            picture += rng.normal(0, 0.008, picture.shape)
            yield (
                kind,
                (np.round(np.clip(picture, 0, 1) * 255) / 255).astype(np.float32),
                front[..., 3],
            )


def guided(radius: int, epsilon: float) -> Callable[[Float, Float], Float]:
    return lambda picture, coarse: np.clip(
        LocalLinear(picture, radius, epsilon).smooth(coarse), 0, 1
    )


def closed_form() -> Callable[[Float, Float], Float]:
    import pymatting  # pyright: ignore[reportMissingImports]

    def solve(picture: Float, coarse: Float) -> Float:
        inside, outside = (
            np.asarray(cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)) > TRIMAP_BAND
            for region in (coarse > 0.95, coarse < 0.05)
        )
        trimap = np.where(inside, 1.0, np.where(outside, 0.0, 0.5))
        return pymatting.estimate_alpha_cf(picture.astype(np.float64), trimap).astype(np.float32)

    return solve


def ways() -> dict[str, Callable[[Float, Float], Float]]:
    found: dict[str, Callable[[Float, Float], Float]] = {
        "the matte as it is": lambda picture, coarse: coarse,
        "guided filter, radius 4": guided(4, 1e-5),
        "guided filter, radius 8": guided(8, 1e-4),
        "refine_alpha": refine_alpha,
    }
    if find_spec("pymatting") is not None:
        found["closed form (pymatting)"] = closed_form()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matte", default="isnet")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    matte = SalientMatte.load(arguments.matte)
    made = [(*scene, matte(scene[1])) for scene in scenes(arguments.size)]
    report: dict[str, dict[str, float]] = {}
    for name, refine in ways().items():
        whole: dict[str, list[float]] = {kind: [] for kind in COUNTS}
        edge: dict[str, list[float]] = {kind: [] for kind in COUNTS}
        seconds = 0.0
        for kind, picture, truth, coarse in made:
            start = time.process_time()
            alpha = refine(picture, coarse)
            seconds += time.process_time() - start
            soft = ((truth > 0) & (truth < 1)).astype(np.uint8)
            near = cv2.dilate(soft, np.ones((9, 9), np.uint8)) > 0
            whole[kind].append(float(np.abs(alpha - truth).mean()))
            edge[kind].append(float(np.abs(alpha - truth)[near].mean()))
        report[name] = {
            **{f"{kind}, whole": round(float(np.mean(whole[kind])), 5) for kind in COUNTS},
            **{f"{kind}, edge": round(float(np.mean(edge[kind])), 4) for kind in COUNTS},
            "seconds": round(seconds / len(made), 2),
        }
        print(name, report[name], flush=True)
    if arguments.json is not None:
        found = {"size": arguments.size, "config": vars(DEFAULT), "ways": report}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
