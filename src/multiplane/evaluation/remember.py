"""Mattes that a segmenter has already cut, kept by content: a rerun judges only what is new."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.evaluation.judges import Segmenter
from multiplane.io.atomic import replacing


class RememberingSegmenter:
    """A segmenter whose mattes are kept as 8-bit PNGs in `folder`, named after the picture's bytes
    and the network. A first answer is rounded to 8 bits like a kept one, so both are the same."""

    def __init__(self, segmenter: Segmenter, folder: Path) -> None:
        self._segmenter = segmenter
        self._folder = folder
        self.name = segmenter.name
        self.version = segmenter.version

    def cut(self, picture: NDArray[np.floating]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 -> (H, W) matte 0..1."""
        path = self._folder / f"{self.name}-{self._key(picture)}.png"
        if path.is_file():
            return np.asarray(Image.open(path), dtype=np.float32) / 255.0
        matte = np.round(self._segmenter.cut(picture) * 255.0).astype(np.uint8)
        with replacing(path) as temporary:
            Image.fromarray(matte).save(temporary, "PNG")
        return matte.astype(np.float32) / 255.0

    def _key(self, picture: NDArray[np.floating]) -> str:
        seen = np.round(picture * 255.0).astype(np.uint8)
        text = f"{self.name} {self.version} {seen.shape}".encode()
        return hashlib.sha256(text + seen.tobytes()).hexdigest()[:32]
