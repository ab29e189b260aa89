"""How long it takes to write and read a layered picture, ours against psd-tools alone.

Five RGBA layers in a group of mixed modes, the same pixels for both. psd-tools alone means its own
editing calls and its own save, which renders the merged preview as ours does; and its own reading
of every layer's pixels. Each run is a fresh process, so that peak memory is its own.

    python benchmarks/files.py [--size 1024] [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODES = ("normal", "multiply", "screen", "overlay", "soft-light")
NAMES = ("background", "shadow", "图层", "highlight", "foreground 🍎")


def planes_of(size: int) -> list[np.ndarray]:
    """Five (size, size, 4) uint8: smooth colour with grain; soft discs over a background."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    made = []
    for index in range(5):
        waves = [np.sin(6 * x * (c + 1) + index) * np.cos(5 * y + c) for c in range(3)]
        color = np.stack(waves, axis=2) * 90 + 128 + rng.normal(0, 2, (size, size, 3))
        distance = np.hypot(x - 0.2 - 0.15 * index, y - 0.5)
        alpha = np.clip((0.3 - distance) * 20, 0, 1) if index else np.ones_like(x)
        made.append(np.dstack([color, alpha * 255]).clip(0, 255).astype(np.uint8))
    return made


def ours_write(planes: list[np.ndarray], path: Path) -> None:
    from multiplane.core.document import Group, Layer, LayerDocument
    from multiplane.io import write

    layers = [Layer(n, p, blend=m) for n, p, m in zip(NAMES, planes, MODES, strict=True)]
    group = Group("scene", tuple(layers), blend="normal")
    write(LayerDocument((planes[0].shape[1], planes[0].shape[0]), (group,)), path)


def ours_read(path: Path) -> list[np.ndarray]:
    from multiplane.io import read

    return [layer.pixels for layer in read(path).leaves()]


def theirs_write(planes: list[np.ndarray], path: Path) -> None:
    from PIL import Image
    from psd_tools import PSDImage
    from psd_tools.constants import BlendMode

    psd = PSDImage.new("RGBA", (planes[0].shape[1], planes[0].shape[0]))
    layers = []
    for index, (name, plane) in enumerate(zip(NAMES, planes, strict=True)):
        mode = BlendMode[MODES[index].upper().replace("-", "_")]
        layer = psd.create_pixel_layer(Image.fromarray(plane), "layer", blend_mode=mode)
        layer.name = name  # created under an ASCII name, as its save needs
        layers.append(layer)
    psd.create_group(layers, "scene", blend_mode=BlendMode.NORMAL)
    psd.save(path)


def theirs_read(path: Path) -> list[np.ndarray]:
    from psd_tools import PSDImage

    leaves = [layer for layer in PSDImage.open(path).descendants() if not layer.is_group()]
    return [np.asarray(layer.topil()) for layer in leaves]


Job = tuple[Callable[..., None], Callable[..., list[np.ndarray]], str]
JOBS: dict[str, Job] = {
    "psd, multiplane": (ours_write, ours_read, "a.psd"),
    "psd, psd-tools alone": (theirs_write, theirs_read, "a.psd"),
    "ora, multiplane": (ours_write, ours_read, "a.ora"),
    "planes, multiplane": (ours_write, ours_read, "planes"),
}


def run(name: str, size: int, repeats: int) -> dict[str, Any]:
    """Best of `repeats` after one run that only warms imports up."""
    write, read, file = JOBS[name]
    planes = planes_of(size)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "warm").mkdir()
        write(planes_of(16), Path(folder) / "warm" / file)
        times: dict[str, list[float]] = {"write": [], "read": [], "cpu": [], "read_cpu": []}
        path = Path(folder) / file
        back: list[np.ndarray] = []
        for _ in range(repeats):
            start, cpu = time.perf_counter(), time.process_time()
            write(planes, path)
            middle = time.perf_counter()
            times["cpu"].append(time.process_time() - cpu)
            middle_cpu = time.process_time()
            back = read(path)
            times["read_cpu"].append(time.process_time() - middle_cpu)
            times["write"].append(middle - start)
            times["read"].append(time.perf_counter() - middle)
        same = all(np.array_equal(a, b) for a, b in zip(planes, back, strict=True))
        files = [path] if path.is_file() else list(path.iterdir())
        size_on_disk = sum(f.stat().st_size for f in files)
    return {
        "write_s": round(min(times["write"]), 3),
        "write_cpu_s": round(min(times["cpu"]), 3),
        "read_s": round(min(times["read"]), 3),
        "read_cpu_s": round(min(times["read_cpu"]), 3),
        "megabytes": round(size_on_disk / 1e6, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "identical": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one, arguments.size, arguments.repeats)))
        return
    results: dict[str, Any] = {}
    print(f"five layers of {arguments.size} x {arguments.size}, {os.cpu_count()} cores")
    words = ("write s", "its cpu s", "read s", "its cpu s", "MB", "peak MB")
    heads = "".join(f"{word:>10}" for word in words)
    print(f"{'':24}{heads}  identical")
    for name in JOBS:
        command = [sys.executable, __file__, "--one", name]
        command += ["--size", str(arguments.size), "--repeats", str(arguments.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        r = results[name] = json.loads(done.stdout)
        *figures, identical = r.values()
        print(f"{name:24}" + "".join(f"{f:>10}" for f in figures) + f"  {identical}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
