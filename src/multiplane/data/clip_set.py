"""Layered clips read back from their shards, in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.data.assets import shard_paths
from multiplane.data.shards import read_shard


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips of one split and style, one entry of every list a clip.

    foreground: (N, F, 4, S, S) uint8, straight RGBA. background: (N, F, 3, S, S) uint8.
    foreground_captions, background_captions: the best one first; captions: of the composite."""

    keys: list[str]
    styles: list[str]
    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]
    captions: list[str]
    foreground_captions: list[list[str]]
    background_captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.keys)


def read_clips(folder: Path, split: str, styles: Sequence[str], limit: int = 0) -> ClipSet:
    """The clips of these styles; limit: the first so many of each shard alone, 0 for all. Raises
    FileNotFoundError without shards, ValueError where they hold no such clip."""
    about, foregrounds, backgrounds = [], [], []
    for path in shard_paths(folder, ("clip",), split, styles):
        for _, members in islice(read_shard(path), limit or None):
            about.append(json.loads(members["json"]))
            size = about[-1]["size"]
            foregrounds.append(_strip(members["foreground.webp"], "RGBA", size))
            backgrounds.append(_strip(members["background.webp"], "RGB", size))
    return ClipSet(
        keys=[clip["key"] for clip in about],
        styles=[clip["style"] for clip in about],
        foreground=np.stack(foregrounds),
        background=np.stack(backgrounds),
        captions=[clip["caption"] for clip in about],
        foreground_captions=[clip["foreground_captions"] for clip in about],
        background_captions=[clip["background_captions"] for clip in about],
    )


def _strip(data: bytes, mode: str, size: int) -> NDArray[np.uint8]:
    """Frames below each other -> (F, C, S, S)."""
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert(mode))
    return np.ascontiguousarray(
        pixels.reshape(-1, size, size, pixels.shape[-1]).transpose(0, 3, 1, 2)
    )
