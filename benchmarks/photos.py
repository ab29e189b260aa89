"""Twelve photographs from packages taken apart, their PSDs read by other programs, and the time.

    python benchmarks/photos.py -o OUT [--matte isnet] [--complete migan] [--sheet docs/images/NAME]
    python benchmarks/photos.py -o OUT --only-time|--only-sheet

The twelve are a fixed list, none left out. Each PSD is opened by Pillow, and by ImageMagick where
`identify` is installed; what they show is compared with the photograph. The stages are timed on one
of them at 1024 px, in processor seconds (of all threads together, so a figure of two cores is at
most this, whatever else the machine does).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import LayerDocument
from multiplane.core.pixels import to_dtype, to_float, to_u8
from multiplane.core.recompose import reconcile
from multiplane.core.request import LayerRequest, MadePlanes, Plane
from multiplane.data.photographs import write_photographs
from multiplane.engine import load
from multiplane.engine.decompose import NoSubject, decompose
from multiplane.evaluation.sheets import Cell, SheetRow, table
from multiplane.io.image import read_pixels
from multiplane.io.registry import read, write
from multiplane.pipelines.cutout.cutter import Cutter, Stages
from multiplane.pipelines.cutout.plate import clean_plate
from multiplane.pipelines.cutout.settings import CutoutSettings
from multiplane.weights.fetch import cache_folder
from multiplane.weights.sources import locate

SCIKIT_IMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
OPENCV = (
    *("examples/data/squirrel_cls.jpg", "examples/data/aloeL.jpg", "examples/data/fruits.jpg"),
    "examples/alphamat/input_images/plant.jpg",
    *("opencv4/html/pexels_double_decker_bus.jpg", "opencv4/html/space_shuttle.jpg"),
    "opencv4/html/handSrc.jpg",
)
GIVEN_AWAY = ("moose.webp",)
TIMED, TIMED_SIDE = "astronaut.png", 1024
PAPER = np.array([0.16, 0.62, 0.32], np.float32)  # a colour no photograph has behind its subject
console = Console(stderr=True)


def photographs() -> list[Path]:
    """The twelve: from scikit-image's package, from opencv-doc, and one of `data photographs`."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("four of the photographs come with scikit-image: pip install scikit-image")
    data = Path(spec.origin).parent / "data"
    samples = locate("opencv-photos") / "usr" / "share" / "doc" / "opencv-doc"
    given_away = write_photographs(cache_folder() / "photographs", GIVEN_AWAY)
    opencv = [samples / name for name in OPENCV]
    return [*(data / name for name in SCIKIT_IMAGE), opencv[0], *given_away, *opencv[1:]]


def read_elsewhere(psd: Path, shown: np.ndarray) -> dict[str, Any]:
    """What other programs make of a PSD. shown: (H, W, 3) uint8, what it should show."""
    with Image.open(psd) as image:
        merged = np.asarray(image.convert("RGB"))
        found: dict[str, Any] = {
            "pillow_layers": [layer[0] for layer in getattr(image, "layers", [])],
            "pillow_apart": int(np.abs(merged.astype(int) - shown).max()),
        }
    identify = Path("/usr/bin/identify")
    if identify.exists() or shutil.which("identify"):
        command = [str(identify) if identify.exists() else "identify", "-format", "%l|%wx%h;"]
        done = subprocess.run([*command, str(psd)], capture_output=True, text=True, check=True)
        found["imagemagick"] = done.stdout.strip(";").split(";")
    return found


def take_apart(paths: list[Path], folder: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Every photograph's PSD in `folder`, and what is known of it."""
    model = load("cutout")
    report: list[dict[str, Any]] = []
    for path in paths:
        console.print(path.name)
        photo = read_pixels(path)
        start = time.process_time()
        try:
            document = decompose(photo, model=model, split=True, **options)
        except NoSubject as reason:
            report.append({"photo": path.name, "no_subject": str(reason)})
            continue
        seconds = time.process_time() - start
        psd = folder / f"{path.stem}.psd"
        write(document, psd)
        apart = np.abs(composite_u8(document).astype(int) - to_u8(photo)).max()
        assert document.provenance is not None
        report.append(
            {
                "photo": path.name,
                "size": list(document.size),
                "layers": [layer.name for layer in document.leaves()],
                "apart": int(apart),
                "processor_seconds": round(seconds, 2),
                "disagreement": document.provenance.report["parts"][0]["disagreement"],
                **read_elsewhere(psd, to_u8(photo)[..., :3]),
            }
        )
    return report


def sheet_of(paths: list[Path], folder: Path, note: str) -> Image.Image:
    """Two photographs a line, each as it is, cut out, and its background, from the PSD files."""
    cells: list[Cell] = []
    for path in paths:
        psd = folder / f"{path.stem}.psd"
        if psd.exists():
            cells += _cells(path, read(psd))
        else:
            cells += [
                Cell(read_pixels(path), path.stem),
                Cell(None, "no PSD: see photos.json"),
                Cell(None),
            ]
    lines = [SheetRow("", cells[start : start + 6]) for start in range(0, len(cells), 6)]
    return table(lines, "Twelve photographs taken apart", note, side=200)


def _cells(path: Path, document: LayerDocument) -> list[Cell]:
    fronts = tuple(layer for layer in document.leaves() if layer.role == "foreground")
    subject = composite(LayerDocument(document.size, fronts))
    share = subject[..., 3:]
    flat = subject[..., :3] * share + PAPER * (1 - share)
    width, height = document.size
    return [
        Cell(read_pixels(path), f"{path.stem}, {width} x {height}"),
        Cell(flat, "; ".join(layer.name for layer in fronts)),
        Cell(document.find("Background").pixels, "Background"),
    ]


def timed(path: Path, options: dict[str, Any], repeats: int) -> dict[str, float]:
    """Processor seconds of each stage, the least of `repeats` after loading."""
    cutter, settings = Cutter(), CutoutSettings(**options)  # pyright: ignore[reportArgumentType]
    with Image.open(path) as image:
        photo = np.asarray(image.convert("RGBA").resize((TIMED_SIDE, TIMED_SIDE)))
    best: dict[str, float] = {}
    for _ in range(repeats + 1):  # the first one loads the networks
        stages = Stages(clock=time.process_time)
        picture = to_float(photo)[..., :3]
        cut = cutter.cut(picture, settings, stages)
        with stages.stage("background"):
            plate = clean_plate(picture, cut.alpha, cut.behind, settings.complete)  # pyright: ignore[reportArgumentType]
        with stages.stage("recomposition"):
            wanted = Plane(wanted=True)
            request = LayerRequest((wanted,), wanted, Plane(pixels=photo))
            front = np.concatenate([cut.foreground, cut.alpha[..., None]], axis=2)
            back = np.concatenate([plate, np.ones_like(plate[..., :1])], axis=2)
            reconcile(MadePlanes((front,), to_dtype(back, np.dtype(np.float32)), None), request)
        runs = stages.seconds
        best = {name: min(best.get(name, value), value) for name, value in runs.items()}
    return {name: round(value, 2) for name, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--matte", default="isnet")
    parser.add_argument("--complete", default="migan")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--only-time", action="store_true")
    parser.add_argument("--only-sheet", action="store_true", help="of the PSDs that lie in OUT")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    options = {"matte": arguments.matte, "complete": arguments.complete}
    paths = photographs()
    report: dict[str, Any] = {"options": options}
    if not arguments.only_time:
        if not arguments.only_sheet:
            report["photographs"] = take_apart(paths, arguments.output, options)
        note = f"multiplane decompose --matte {arguments.matte} --complete {arguments.complete}"
        sheet = sheet_of(paths, arguments.output, f"{note} --split")
        sheet.save(arguments.sheet or arguments.output / "sheet.webp", quality=82, method=6)
        if arguments.only_sheet:
            return
    timed_path = next(path for path in paths if path.name == TIMED)
    report["processor_seconds_at_1024"] = timed(timed_path, options, arguments.repeats)
    text = json.dumps(report, indent=2)
    (arguments.output / "photos.json").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
