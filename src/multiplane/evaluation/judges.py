"""The outside networks that pictures are judged by: two segmenters and one feature net.

ISNet judges mattes. U2-Net cuts the baseline's, so that no cutter is its own judge.
EfficientNet-Lite0 gives the features of KID, retrieval and copy rate. All three come as registry
packages (`multiplane.weights.fetch`), run on the CPU, and load when first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import resize_channels
from multiplane.evaluation.alpha import over_solid
from multiplane.pipelines.cutout.matte import SalientMatte

if TYPE_CHECKING:
    from multiplane.models.efficientnet import EfficientNetLite

Array = NDArray[np.floating]

# Retrieval of real assets is as good as at the network's own 224 (docs/evaluation.md), at half
# the cost.
FEATURE_SIZE = 160
FEATURE_BATCH = 16
GREY = (0.5, 0.5, 0.5)


class Segmenter(Protocol):
    """Finds the object that stands out. `name` and `version` go into every report."""

    name: str
    version: str

    def cut(self, picture: Array) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 -> (H, W) matte 0..1."""
        ...


class Features(Protocol):
    """Maps pictures to feature vectors."""

    name: str

    def of(self, pictures: Sequence[Array]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 each -> (N, D)."""
        ...


class SalientSegmenter:
    """A salient-object network as a judge."""

    def __init__(self, matte: SalientMatte) -> None:
        self.name, self.version = matte.name, matte.version
        self._matte = matte

    @classmethod
    def load(cls, name: str, threads: int = 0) -> SalientSegmenter:
        """As `SalientMatte.load`."""
        return cls(SalientMatte.load(name, threads))

    def cut(self, picture: Array) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 -> (H, W) matte 0..1, stretched to the whole range."""
        return self._matte(picture)


class EfficientNetFeatures:
    """Pooled EfficientNet-Lite0 features, 1280 numbers a picture."""

    name = "efficientnet-lite0"

    def __init__(self, weights: Path) -> None:
        self._weights = weights

    @cached_property
    def _network(self) -> EfficientNetLite:
        from multiplane.models.efficientnet import load_published

        return load_published(self._weights)

    def of(self, pictures: Sequence[Array]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 each -> (N, 1280). Normalised (x - 127) / 128 on 0..255, as the
        published weights were trained."""
        import torch

        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(pictures), FEATURE_BATCH):
            batch = np.stack(
                [
                    resize_channels(picture, (FEATURE_SIZE, FEATURE_SIZE))
                    for picture in pictures[start : start + FEATURE_BATCH]
                ]
            )
            tensor = torch.from_numpy((batch.transpose(0, 3, 1, 2) * 255.0 - 127.0) / 128.0)
            with torch.inference_mode():
                rows.append(self._network.features(tensor.float()).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, 1280), np.float32)


def framed(picture: Array, margin: float = 0.15) -> Array:
    """(S, S, 4) premultiplied: the object of a straight-alpha picture cropped to what is covered
    and centred on a clear square, so that place and scale on the canvas do not count.

    An empty picture stays a clear square."""
    premultiplied = np.concatenate([picture[..., :3] * picture[..., 3:4], picture[..., 3:4]], -1)
    rows, columns = np.nonzero(picture[..., 3] > 0.04)
    if rows.size == 0:
        side = max(picture.shape[:2])
        return np.zeros((side, side, 4), picture.dtype)
    crop = premultiplied[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = round(max(crop.shape[:2]) * (1.0 + margin))
    square = np.zeros((side, side, 4), picture.dtype)
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return square


def on_grey(picture: Array) -> Array:
    """(H, W, 3): the whole canvas of a straight-alpha picture over mid grey, as KID sees it."""
    return over_solid(picture, GREY)
