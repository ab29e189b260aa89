"""`python -m multiplane.apps.demo OUT`: a layered picture from a prompt, in every format, offline.

Writes into the folder OUT: `picture.psd`, `picture.ora`, `planes/` (PNGs and `layers.json`), the
flat `picture.png` and `sheet.png` to look at. Every layered file is opened again and its layers
are compared, value by value, with those that were made.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from multiplane.core.composite import composite_u8
from multiplane.core.document import LayerDocument
from multiplane.engine import load
from multiplane.io.atomic import replacing
from multiplane.io.registry import read, write
from multiplane.io.sheet import Cell, contact_sheet

FOREGROUND = "a red apple"
BACKGROUND = "a misty valley"
SEED = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the picture, write it, check it, and say which files there are."""
    asked = _parse(arguments)
    began = time.perf_counter()
    model = load(asked.model)
    loaded = time.perf_counter()
    document = model.generate(asked.foreground, asked.background, seed=asked.seed)
    made = time.perf_counter()
    files = _write(document, asked.out)
    _check(document, files)
    print(f"{asked.foreground!r} before {asked.background!r}, seed {asked.seed}")
    print(f"layers, bottom to top: {', '.join(layer.name for layer in document.leaves())}")
    print(
        f"weights loaded in {loaded - began:.1f} s, picture made in {made - loaded:.1f} s, "
        f"written and read back in {time.perf_counter() - made:.1f} s"
    )
    for path in files:
        print(f"  {_bytes_of(path) / 1000:8.1f} kB  {path}")
    print(f"{files[0]} as psd-tools lists it:")
    for line in _psd_layers(files[0]):
        print(f"  {line}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m multiplane.apps.demo", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to; made when it is not there")
    parser.add_argument("--foreground", default=FOREGROUND)
    parser.add_argument("--background", default=BACKGROUND)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--model", default="tiny")
    return parser.parse_args(arguments)


def _write(document: LayerDocument, out: Path) -> list[Path]:
    """Every file of the demo, the layered ones first."""
    layered = [out / "picture.psd", out / "picture.ora", out / "planes"]
    for path in layered:
        write(document, path)
    flat, sheet = out / "picture.png", out / "sheet.png"
    shown = composite_u8(document)
    _save(flat, Image.fromarray(shown, "RGBA"))
    row: list[Cell] = [(shown, "composite")]
    row += [(layer.pixels, f"{layer.role}: {layer.name}") for layer in document.leaves()]
    row += [
        (layer.pixels[..., 3], f"mask of {layer.name}")
        for layer in document.leaves()
        if layer.role == "foreground"
    ]
    title = ", ".join(layer.name for layer in reversed(document.leaves()))
    _save(sheet, Image.fromarray(contact_sheet([row], title=title), "RGBA"))
    return [*layered, flat, sheet]


def _save(path: Path, image: Image.Image) -> None:
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _check(document: LayerDocument, files: list[Path]) -> None:
    """Read the layered files back. Raises RuntimeError when a layer is not what was written."""
    made = [(layer.name, layer.content_hash) for layer in document.leaves()]
    for path in files[:3]:
        found = [(layer.name, layer.content_hash) for layer in read(path).leaves()]
        if found != made:
            raise RuntimeError(f"{path} reads back as {found}, written were {made}")


def _psd_layers(path: Path) -> list[str]:
    from psd_tools import PSDImage

    return [
        f"{layer.kind} {layer.name!r} {layer.width} x {layer.height} at {layer.left}, {layer.top}, "
        f"{layer.blend_mode.name.lower()}, opacity {layer.opacity}"
        for layer in PSDImage.open(path).descendants()
    ]


def _bytes_of(path: Path) -> int:
    files = [path] if path.is_file() else list(path.iterdir())
    return sum(each.stat().st_size for each in files)


if __name__ == "__main__":
    sys.exit(main())
