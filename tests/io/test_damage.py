"""Every format, cut short and with flipped bits: a clear error or a sound document, and soon."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from io_documents import layer_of, random_array
from multiplane import io
from multiplane.core.document import Group, LayerDocument, Mask, Provenance
from multiplane.io.icc import LINEAR_PROFILE

CUTS, FLIPS = 25, 60
SLOW = 5.0  # seconds for one small file, on a busy machine: a hang


def scene(dtype: Any, masked: bool = True, space: Any = "srgb") -> LayerDocument:
    rng = np.random.default_rng(4)
    mask = Mask(random_array(rng, (5, 6), dtype), (2, 2), 1.0) if masked else None
    inside = (
        layer_of(8, 9, dtype, name="图层", opacity=0.3, blend="multiply", offset=(-3, 4)),
        layer_of(6, 6, dtype, name="clipped", clip=True),
    )
    layers = (
        layer_of(20, 16, dtype, name="bg", role="background"),
        Group("组 🎈", inside, opacity=0.5, blend="normal"),
        layer_of(30, 22, dtype, visible=False, mask=mask),
    )
    origin = Provenance("tiny", "1", 5, {"a": [1]})
    return LayerDocument((20, 16), layers, space, origin)


def make(name: str, folder: Path) -> list[tuple[Path, Path]]:
    """Write one good file; (file to damage, path to read) of each part of it."""
    path = folder / name
    exif = Image.Exif()
    exif[0x0112] = 6
    if name.startswith("planes"):
        floats = name.endswith("f32")
        io.write(scene(*((np.float32, True, "linear") if floats else (np.uint8,))), path)
        return [(f, path) for f in sorted(path.iterdir()) if f.name != "composite.png"]
    if name.endswith((".psd", ".psb")):
        deep = {"8": np.uint8, "16": np.uint16}.get(path.stem, np.float32)
        io.write(scene(deep, space="linear" if path.stem == "32" else "srgb"), path)
    elif name == "a.ora":
        io.write(scene(np.uint8, masked=False), path)
    elif name.endswith(".png"):
        layer = layer_of(20, 16, np.uint16 if name == "16.png" else np.uint8)
        io.write(LayerDocument((20, 16), (layer,), provenance=Provenance("tiny")), path)
    else:
        picture = Image.fromarray(layer_of(20, 16).pixels).convert("RGB")
        picture.save(path, icc_profile=LINEAR_PROFILE, exif=exif)
    return [(path, path)]


NAMES = (
    "8.psd 16.psd 32.psb a.ora 8.png 16.png planes planes-f32 a.jpg a.webp a.tif a.gif a.bmp a.avif"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_damage(name: str, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    rng = np.random.default_rng(sum(name.encode()))
    parts = make(name, tmp_path)
    refused = 0
    for file, path in parts:
        good = file.read_bytes()
        share = max(2, FLIPS // len(parts)), max(2, CUTS // len(parts))
        damaged = [flipped(good, rng) for _ in range(share[0])]
        damaged += [good[: int(rng.integers(len(good)))] for _ in range(share[1])]
        for data in damaged:
            file.write_bytes(data)
            refused += not survives(path)
        file.write_bytes(good)
    assert refused > CUTS // 2  # the damage is real
    assert survives(parts[0][1])


def flipped(good: bytes, rng: np.random.Generator) -> bytes:
    """A few bits turned, half of them near the start, where the structure is."""
    data = bytearray(good)
    for _ in range(int(rng.choice([1, 1, 1, 4, 12]))):
        reach = len(data) if rng.random() < 0.5 else min(len(data), 400)
        data[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def survives(path: Path) -> bool:
    """Whether the damaged file still reads. Anything but a FileFormatError fails the test."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem, layers = "", ()
        try:
            layers = io.read(path).leaves()
        except io.FileFormatError as error:
            problem = str(error)
    assert time.monotonic() - start < SLOW
    assert all(layer.pixels.size >= 4 for layer in layers)
    if problem:  # which file, what is wrong; what to do
        assert path.name in problem
        assert ";" in problem
    return not problem
