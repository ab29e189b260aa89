"""What a run shows: a bar and the preview file while it works, files or JSON at its end."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import LayerDocument
from multiplane.core.family import Progress
from multiplane.core.request import RequestError


@contextmanager
def progress_shown(what: str, preview: Path | None) -> Iterator[Progress]:
    """A progress callback that draws a bar on standard error and keeps `preview` up to date."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    if preview is not None:
        _check_preview(preview)
    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # a log is no place for a moving bar
    )
    with bar:
        task = bar.add_task(what, total=None)

        def show(step: int, total: int, picture: np.ndarray | None) -> None:
            bar.update(task, completed=step, total=total)
            if preview is not None and picture is not None:
                write_preview(preview, picture)

        yield show


def _check_preview(path: Path) -> None:
    from PIL import Image

    if path.suffix.lower() not in Image.registered_extensions():
        raise RequestError(f"the preview must be a picture file such as preview.png, got {path}")


def write_preview(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 4) float32 pixels as the picture file `path`, whole at every moment."""
    from PIL import Image

    from multiplane.core.pixels import to_u8
    from multiplane.io.atomic import replacing

    kind = Image.registered_extensions()[path.suffix.lower()]
    image = Image.fromarray(to_u8(picture), "RGBA")
    with replacing(path) as temporary:
        flat = image.convert("RGB") if kind in ("JPEG", "BMP") else image
        flat.save(temporary, format=kind)


def say(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(plain_text(line) + "\n")


def plain_text(text: str) -> str:
    """`text` with control characters spelled out: names come from files, and a file must not be
    able to move the cursor."""
    return "".join(
        ascii(each)[1:-1] if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


def say_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output, in ASCII."""
    from multiplane.io.metadata import dumps

    sys.stdout.write(dumps(value) + "\n")


def bytes_of(path: Path) -> int:
    """Size of a file, of a sequence of files, or of everything in a folder."""
    from multiplane.io.png_sequence import Pattern

    if (pattern := Pattern.of(path)) is not None:
        files = list(pattern.present().values())
    else:
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def text_of_bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def summary_of(made: LayerDocument | LayerClip, files: list[Path]) -> dict[str, Any]:
    """What `--json` says about one picture or clip; the layers of a clip are those of its first
    frame."""
    provenance = made.provenance
    document = made[0] if isinstance(made, LayerClip) else made
    moving: dict[str, Any] = {}
    if isinstance(made, LayerClip):
        moving = {"frames": made.frames, "fps": str(made.fps)}
    return {
        "size": list(made.size),
        **moving,
        "seed": None if provenance is None else provenance.seed,
        "model": None if provenance is None else provenance.model,
        "files": [{"path": str(path), "bytes": bytes_of(path)} for path in files],
        "layers": [
            {"name": layer.name, "role": layer.role, "sha256": layer.content_hash}
            for layer in document.leaves()
        ],
        "report": {} if provenance is None else dict(provenance.report),
    }


def show_summary(made: LayerDocument | LayerClip, files: list[Path], seconds: float) -> None:
    """The same for a reader: layers, files, seed and time."""
    if isinstance(made, LayerClip):
        names, length = made.names, f", {made.frames} frames at {float(made.fps):.6g} a second"
    else:
        names, length = tuple(layer.name for layer in made.leaves()), ""
    width, height = made.size
    seed = None if made.provenance is None else made.provenance.seed
    layers = ", ".join(names)
    say(
        f"{width} x {height}{length}, seed {seed}, {seconds:.1f} s; layers, bottom to top: {layers}"
    )
    for path in files:
        say(f"  {path}  ({text_of_bytes(bytes_of(path))})")
