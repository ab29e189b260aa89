"""Seconds and memory of the compositor beside psd-tools' and Pillow's, one table.

    python benchmarks/compositing.py [--size 2048] [--repeats 3] [--json FILE]

Every document has five layers of the full size. "soft" layers have random alpha in every pixel,
the dearest case there is; "cutout" layers are opaque discs with a soft edge on clear ground over an
opaque first layer, which is what documents look like. psd-tools gets them as an in-memory PSD with
uncompressed channels. Peak memory is what each call allocates beside its arguments (tracemalloc,
in a run of its own), its result included. The best of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
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


def measure(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """{"seconds": best of the repeats, "peak_mib": allocated at once in a run of its own}."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"seconds": round(best, 4), "peak_mib": round(peak / 2**20, 1)}


def run_case(
    layers: list[Pixels], modes: tuple[str, ...], repeats: int
) -> dict[str, dict[str, float]]:
    size = layers[0].shape[0]
    document = LayerDocument(
        (size, size), tuple(Layer(mode, p, blend=mode) for p, mode in zip(layers, modes))
    )
    psd = as_psd(layers, modes)
    results = {
        "composite_u8": measure(lambda: composite_u8(document), repeats),
        "composite_u8, one thread": measure(lambda: composite_u8(document, threads=1), repeats),
        "composite (float32)": measure(lambda: composite(document), repeats),
        "psd-tools": measure(lambda: psd.composite(ignore_preview=True), 1),
    }
    if set(modes) == {"normal"}:
        pictures = [Image.fromarray(pixels) for pixels in layers]
        results["Pillow"] = measure(lambda: with_pillow(pictures), repeats)
    return results


def print_table(report: dict[str, Any]) -> None:
    table = Table("document", "compositor", "seconds", "peak MiB", "x psd-tools", "x Pillow")
    for case, results in report["cases"].items():
        for name, figures in results.items():
            ratios = [
                f"{figures['seconds'] / results[other]['seconds']:.3f}" if other in results else ""
                for other in ("psd-tools", "Pillow")
            ]
            row = (f"{figures['seconds']:.3f}", f"{figures['peak_mib']:.0f}", *ratios)
            table.add_row(case, name, *row)
        table.add_section()
    console = Console()
    console.print(table)
    console.print("Ratios are of seconds: below 1 is faster than the one it is compared with.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
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
