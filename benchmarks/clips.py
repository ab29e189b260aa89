"""Clips in files: what each format does to the pixels, how large and how fast; and long clips in
little memory.

    python benchmarks/clips.py formats [--size 384x256] [--frames 16] [--repeats 3] [--json FILE]
    python benchmarks/clips.py stream [--size 1920x1080] [--seconds 1 5 60] [--json FILE]
        [--files a.mkv b.mp4]

`formats` writes and reads one moving picture (a soft-edged disc and a translucent blob over colour
that goes on under alpha 0) in every format, all in one process; speed is beside that of the PNG
sequence. `stream` composites a clip of two layers into the first file and transcodes that into the
second, a fresh process a length, so that peak memory is its own; the frames come from a texture
that is moved, which costs next to nothing.

Times are processor time of all threads together: what else runs on the machine does not matter.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument
from multiplane.io import BakedWarning, read_clip, write_clip

FPS = 24
FORMATS: dict[str, tuple[str, str]] = {
    "PNG sequence": ("frames/%04d.png", "uint8"),
    "FFV1 .mkv": ("a.mkv", "uint8"),
    "APNG": ("a.apng", "uint8"),
    "WebP lossless": ("a.webp", "uint8"),
    "ProRes 4444 .mov": ("a.mov", "uint8"),
    "VP9 .webm": ("a.webm", "uint8"),
    "layers folder, FFV1": ("layers", "uint8"),
    "PNG sequence, 16 bits": ("deep/%04d.png", "uint16"),
    "FFV1 .mkv, 16 bits": ("deep.mkv", "uint16"),
    "APNG, 16 bits": ("deep.apng", "uint16"),
    "ProRes 4444 .mov, 16 bits": ("deep.mov", "uint16"),
}


def scene(number: int, size: tuple[int, int], dtype: str) -> np.ndarray:
    """(H, W, 4) straight alpha: frame `number` of the moving picture."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    side = min(width, height)
    disc = np.hypot(x - width * 0.3 - number * side / 50, y - height * 0.5)
    blob = np.hypot(x - width * 0.7 + number * side / 80, (y - height * 0.45) * 1.3)
    alpha = np.clip((side * 0.25 - disc) / (side * 0.04) + 0.5, 0, 1)
    alpha = np.maximum(
        alpha, np.where(blob < side * 0.4, 0.6 * np.exp(-((blob / side * 5) ** 2)), 0)
    )
    waves = [0.5 + 0.4 * np.sin((x + y * 0.5 + 2 * number) / side * 4 + 2 * c) for c in range(3)]
    return np.round(np.stack([*waves, alpha], axis=2) * np.iinfo(dtype).max).astype(dtype)


def formats(size: tuple[int, int], count: int, repeats: int) -> list[dict[str, Any]]:
    """Every format in turn, `repeats` times over; the quickest of each counts."""
    rows: dict[str, dict[str, Any]] = {}
    writes: dict[str, list[float]] = {title: [] for title in FORMATS}
    reads: dict[str, list[float]] = {title: [] for title in FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats + 1):  # the first loads code and the tables of codecs
            for title, (name, dtype) in FORMATS.items():
                frames = [scene(number, size, dtype) for number in range(count if turn else 2)]
                documents = [LayerDocument(size, (Layer("a", each),)) for each in frames]
                started = time.process_time()
                write_clip(LayerClip.of(documents, FPS), Path(folder) / name)
                middle = time.process_time()
                back = [document.leaves()[0].pixels for document in read_clip(Path(folder) / name)]
                ended = time.process_time()
                if turn:
                    writes[title].append(middle - started)
                    reads[title].append(ended - middle)
                    figures = compared(np.stack(back), np.stack(frames))
                    rows[title] = {**figures, "bytes": weight(Path(folder) / name)}
    first = next(iter(FORMATS))
    return [
        {
            "format": title,
            **row,
            "write_speed": round(min(writes[first]) / min(writes[title]), 2),
            "read_speed": round(min(reads[first]) / min(reads[title]), 2),
        }
        for title, row in rows.items()
    ]


def compared(found: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Errors in steps of 8 bits; colour where alpha is at least 16, and where it is 0."""
    scale = 255 / np.iinfo(true.dtype).max
    distance = np.abs(found.astype(np.float64) - true) * scale
    seen, clear = true[..., 3] * scale >= 16, true[..., 3] == 0
    alpha, colour = distance[..., 3], distance[..., :3]
    return {
        "exact": bool((found == true).all()),
        "alpha_max": round(float(alpha.max()), 2),
        "alpha_mean": round(float(alpha.mean()), 3),
        "colour_max": round(float(colour[seen].max()), 2),
        "colour_mean": round(float(colour[seen].mean()), 3),
        "colour_under_clear_max": round(float(colour[clear].max()), 2),
    }


def weight(path: Path) -> int:
    folder = path.parent if "%" in path.name else path
    files = [path] if path.is_file() else [each for each in folder.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def long_clip(size: tuple[int, int], count: int) -> LayerClip:
    """Two layers: a background that pans over a wide texture, and a disc that crosses it."""
    width, height = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (height // 8 + 2, (width + 512) // 8 + 2, 3))
    wide = np.kron(coarse, np.ones((8, 8, 1)))[:height, : width + 512].astype(np.uint8)
    ground = np.dstack([wide, np.full(wide.shape[:2], 255, np.uint8)])
    disc = scene(0, (height // 2, height // 2), "uint8")

    def document(number: int) -> LayerDocument:
        left = number % 512
        shown = np.ascontiguousarray(ground[:, left : left + width])
        place = (number * 5 % width - height // 4, height // 4)
        return LayerDocument(size, (Layer("ground", shown), Layer("disc", disc, place)))

    def opened(start: int) -> Iterator[LayerDocument]:
        return map(document, range(start, count))

    return LayerClip(size, Fraction(FPS), ("ground", "disc"), opened, count)


def stream_once(size: tuple[int, int], seconds: float, names: list[str]) -> dict[str, Any]:
    """Composite into the first file, transcode that into the second, count what arrived."""
    count = round(seconds * FPS)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", BakedWarning)
        master, delivery = (Path(folder) / name for name in names)
        started = time.process_time()
        write_clip(long_clip(size, count), master)
        middle = time.process_time()
        write_clip(read_clip(master), delivery)
        ended = time.process_time()
        one_frame = size[0] * size[1] * 4 / 2**20
        return {
            "frames": sum(1 for _ in read_clip(delivery)),
            "composited a second": round(count / (middle - started), 2),
            "transcoded a second": round(count / (ended - middle), 2),
            "all frames, MB": round(one_frame * count),
            "peak, MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "files, MB": " + ".join(f"{weight(each) / 1e6:.1f}" for each in (master, delivery)),
        }


def stream(size: tuple[int, int], lengths: list[float], names: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seconds in lengths:
        command = [sys.executable, __file__, "once", "--size", f"{size[0]}x{size[1]}"]
        command += ["--files", *names]
        done = subprocess.run(
            [*command, "--seconds", str(seconds)], capture_output=True, text=True, check=True
        )
        rows.append({"seconds": seconds, **json.loads(done.stdout)})
        print(rows[-1], file=sys.stderr)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows that have the same keys."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("what", choices=("formats", "stream", "once"))
    parser.add_argument("--size")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 5, 60])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", nargs=2, default=["a.mkv", "b.mp4"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    text = asked.size or ("384x256" if asked.what == "formats" else "1920x1080")
    width, _, height = text.partition("x")
    size = (int(width), int(height))
    if asked.what == "once":
        print(json.dumps(stream_once(size, asked.seconds[0], asked.files)))
        return
    if asked.what == "formats":
        rows = formats(size, asked.frames, asked.repeats)
    else:
        rows = stream(size, asked.seconds, asked.files)
    print(table(rows))
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
