"""A model's pictures for the fixed captions, made or read, whoever made them.

A folder of outputs holds one entry a caption, named after it (`train-00`, `heldout-03.psd`): a
planes folder (`layers.json`), a folder with foreground.png, background.png and composite.png, or a
layered file. A flat model's entry is a composite alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.core.composite import composite
from multiplane.core.document import LayerDocument
from multiplane.core.pixels import resize, to_float
from multiplane.engine import Model
from multiplane.evaluation.alpha import over_solid
from multiplane.evaluation.prompts import FixedPrompt
from multiplane.evaluation.text2layer_sets import request_for
from multiplane.io import planes as planes_io
from multiplane.io import read

KINDS = ("foreground", "background", "composite")
BLACK = (0.0, 0.0, 0.0)
Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Output:
    """composite: (H, W, 3). foreground: (H, W, 4) straight alpha, None from a flat model.
    background: (H, W, 3) or None. All 0..1."""

    name: str
    composite: Float
    foreground: Float | None = None
    background: Float | None = None

    def at(self, side: int) -> Output:
        """Resized to side x side by area."""

        def small(picture: Float | None) -> Float | None:
            if picture is None or picture.shape[:2] == (side, side):
                return picture
            kind = "area" if picture.shape[0] > side else "lanczos"
            if picture.shape[2] == 4:
                return resize(picture, (side, side), kind)
            opaque = np.concatenate([picture, np.ones_like(picture[..., :1])], axis=2)
            return resize(opaque, (side, side), kind)[..., :3]

        shown = small(self.composite)
        assert shown is not None
        return replace(
            self,
            composite=shown,
            foreground=small(self.foreground),
            background=small(self.background),
        )


def make_outputs(
    model: Model,
    prompts: Sequence[FixedPrompt],
    folder: Path,
    options: Mapping[str, Any],
    report: Callable[[int, int], None],
) -> None:
    """One planes folder a caption in `folder`; those that stand already are not made again."""
    side = min(model.family.native_size)
    for done, prompt in enumerate(prompts):
        report(done, len(prompts))
        target = folder / prompt.name
        if (target / "layers.json").is_file():
            continue
        request = request_for(prompt, model.tasks, side, model.name)
        planes_io.write(model.run(replace(request, **options)), target)
    report(len(prompts), len(prompts))


def read_outputs(folder: Path, wanted: Sequence[str]) -> list[Output]:
    """The entries called so, in that order. Raises FileNotFoundError where none is there, or naming
    the missing ones where some are."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of outputs")
    entries = {path.stem if path.is_file() else path.name: path for path in folder.iterdir()}
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(wanted)} outputs ({', '.join(missing[:3])} "
            "...): make them with --model, or score fewer captions with --limit"
        )
    return [_read(name, entries[name]) for name in wanted]


def _read(name: str, path: Path) -> Output:
    if path.is_dir() and not (path / "layers.json").is_file():
        return _from_pngs(name, path)
    return output_of(name, read(path))


def output_of(name: str, document: LayerDocument) -> Output:
    """The planes of a document by their roles; layers without a role go by their names."""
    found: dict[str, Float] = {}
    for layer in document.leaves():
        kind = layer.role or layer.name.lower()
        if kind in KINDS and layer.size == document.size and layer.offset == (0, 0):
            found[kind] = to_float(layer.pixels)
    background = found.get("background")
    return Output(
        name,
        over_solid(composite(document), BLACK).astype(np.float32),
        found.get("foreground"),
        None if background is None else background[..., :3],
    )


def _from_pngs(name: str, folder: Path) -> Output:
    found = {
        kind: to_float(np.asarray(Image.open(folder / f"{kind}.png").convert("RGBA")))
        for kind in KINDS
        if (folder / f"{kind}.png").is_file()
    }
    if "composite" not in found:
        raise FileNotFoundError(f"{folder} holds neither layers.json nor composite.png")
    background = found.get("background")
    return Output(
        name,
        found["composite"][..., :3],
        found.get("foreground"),
        None if background is None else background[..., :3],
    )
