"""Do the planes add up? Before reconciliation on the model's own planes, after it on the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.evaluation.alpha import psnr


@dataclass(frozen=True)
class Disagreement:
    """A composite against over(foreground, background), over RGB in 0..1. psnr in dB; mean and max
    of the absolute difference."""

    psnr: float
    mean: float
    max: float


def stacked(layers: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """(H, W, 3) what opaque-bottomed straight-alpha layers show, bottom to top, on black.

    Written out here in double precision, apart from the compositor that it checks."""
    shown = np.zeros((*layers[0].shape[:2], 3))
    for layer in layers:
        values = layer.astype(np.float64) / (255.0 if layer.dtype == np.uint8 else 1.0)
        alpha = values[..., 3:]
        shown = values[..., :3] * alpha + shown * (1.0 - alpha)
    return shown


def disagreement(
    composite: NDArray[Any], foreground: NDArray[Any], background: NDArray[Any]
) -> Disagreement:
    """All (H, W, 4) straight alpha, float 0..1 or uint8; composite and background opaque."""
    shown = stacked([background, foreground])
    seen = stacked([composite])
    difference = np.abs(shown - seen)
    return Disagreement(psnr(shown, seen), float(difference.mean()), float(difference.max()))


@dataclass(frozen=True)
class FileCheck:
    """A planes folder checked with Pillow and JSON alone. error: largest difference, in 255ths,
    between the stacked layer files and composite.png. layers: how many were stacked."""

    error: float
    layers: int


def check_files(folder: Path) -> FileCheck:
    """Stack the 8-bit layer files of a planes folder of full-canvas Normal layers.

    Raises ValueError for documents this plain check cannot speak of."""
    index = json.loads((folder / "layers.json").read_text("utf-8"))
    layers: list[NDArray[np.uint8]] = []
    for entry in index["layers"]:
        plain = entry["type"] == "layer" and entry["blend"] == "normal" and entry["opacity"] == 1.0
        if not plain or entry["offset"] != [0, 0] or entry.get("mask"):
            raise ValueError(
                f"{folder.name}: the layer {entry['name']!r} is no plain layer over the whole "
                "canvas; flatten it before it is checked"
            )
        if entry["visible"]:
            layers.append(np.asarray(Image.open(folder / entry["file"]).convert("RGBA")))
    shown = np.asarray(Image.open(folder / index["composite"]).convert("RGBA"))
    return FileCheck(float(np.abs(stacked(layers) - stacked([shown])).max() * 255.0), len(layers))
