"""Seconds and memory of the compositor beside psd-tools' and Pillow's, one table.

    python benchmarks/compositing.py [--size 2048] [--repeats 5] [--json FILE]

Every document has five layers of the full size. "soft" layers have random alpha in every pixel,
the dearest case there is; "cutout" layers are opaque discs with a soft edge on clear ground over an
opaque first layer, which is what documents look like. psd-tools gets them as an in-memory PSD with
uncompressed channels. Peak memory is what each call allocates beside its arguments, its result
included (tracemalloc, in a run of its own; Pillow allocates where that cannot see). The best of the
repeats counts. Ratios are of CPU seconds, all threads together: they hold on a busy machine, and
where cores are idle the compositor's threads come on top.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import BlendMode, Compression
from rich.console import Console
from rich.table import Table

from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Layer, LayerDocument, Pixels

MIXED = ("normal", "multiply", "soft-light", "color-dodge", "luminosity")
CASES = (
    ("all normal, soft", ("normal",) * 5, "soft"),
    ("all normal, cutout", ("normal",) * 5, "cutout"),
    ("mixed modes, soft", MIXED, "soft"),
    ("mixed modes, cutout", MIXED, "cutout"),
)


def soft_layers(size: int, rng: np.random.Generator) -> list[Pixels]:
    return [rng.integers(0, 256, (size, size, 4), dtype=np.uint8) for _ in range(5)]


def cutout_layers(size: int, rng: np.random.Generator) -> list[Pixels]:
    layers = soft_layers(size, rng)
    layers[0][..., 3] = 255
    rows, columns = np.mgrid[:size, :size]
    for layer in layers[1:]:
        x, y = rng.uniform(0.3, 0.7, 2) * size
        distance = np.hypot(columns - x, rows - y)
        layer[..., 3] = np.clip((0.25 * size - distance) * 32, 0, 255).astype(np.uint8)
    return layers


def as_psd(layers: list[Pixels], modes: tuple[str, ...]) -> PSDImage:
    height, width = layers[0].shape[:2]
    psd = PSDImage.new("RGBA", (width, height))
    for index, (pixels, mode) in enumerate(zip(layers, modes, strict=True)):
        psd.create_pixel_layer(
            Image.fromarray(pixels),
            name=f"layer {index}",
            compression=Compression.RAW,
            blend_mode=BlendMode[mode.upper().replace("-", "_")],
        )
    return psd


def with_pillow(layers: list[Image.Image]) -> Image.Image:
    result = layers[0]
    for layer in layers[1:]:
        result = Image.alpha_composite(result, layer)
    return result


def measure(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """By name: the least wall seconds and CPU seconds of the repeats, taken in turns so that what
    else the machine does hits all alike, and the peak MiB of one run under tracemalloc."""
    figures = {name: {"seconds": math.inf, "cpu_seconds": math.inf} for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            spent = {
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
            }
            for key, value in spent.items():
                figures[name][key] = min(figures[name][key], round(value, 4))
    for name, call in calls.items():
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        figures[name]["peak_mib"] = round(peak / 2**20, 1)
    return figures


def run_case(
    layers: list[Pixels], modes: tuple[str, ...], repeats: int
) -> dict[str, dict[str, float]]:
    size = layers[0].shape[0]
    stack = (Layer(m, p, blend=m) for p, m in zip(layers, modes, strict=True))
    document = LayerDocument((size, size), tuple(stack))
    psd = as_psd(layers, modes)
    calls: dict[str, Callable[[], Any]] = {
        "composite_u8": lambda: composite_u8(document),
        "composite_u8, one thread": lambda: composite_u8(document, threads=1),
        "composite (float32)": lambda: composite(document),
        "psd-tools": lambda: psd.composite(ignore_preview=True),
    }
    if set(modes) == {"normal"}:
        pictures = [Image.fromarray(pixels) for pixels in layers]
        calls["Pillow"] = lambda: with_pillow(pictures)
    return measure(calls, repeats)


def print_table(report: dict[str, Any]) -> None:
    table = Table("document", "compositor", "s", "CPU s", "peak MiB", "x psd-tools", "x Pillow")
    for case, results in report["cases"].items():
        for name, figures in results.items():
            ratios = [
                f"{figures['cpu_seconds'] / results[other]['cpu_seconds']:.3f}"
                if other in results
                else ""
                for other in ("psd-tools", "Pillow")
            ]
            peak = "" if name == "Pillow" else f"{figures['peak_mib']:.0f}"
            seconds = (f"{figures[key]:.3f}" for key in ("seconds", "cpu_seconds"))
            row = (*seconds, peak, *ratios)
            table.add_row(case, name, *row)
        table.add_section()
    console = Console(width=100)
    console.print(table)
    console.print("Ratios are of CPU seconds: below 1 is cheaper than the one it is compared with.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    makers = {"soft": soft_layers, "cutout": cutout_layers}
    report: dict[str, Any] = {
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "size": arguments.size,
        "cases": {
            name: run_case(
                makers[kind](arguments.size, np.random.default_rng(0)), modes, arguments.repeats
            )
            for name, modes, kind in CASES
        },
    }
    print_table(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
