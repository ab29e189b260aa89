"""The outside networks that pictures are judged by: two segmenters and one feature net.

ISNet judges mattes. U2-Net cuts the baseline's, so that no cutter is its own judge.
EfficientNet-Lite0 gives the features of KID, retrieval and copy rate. All three come as registry
packages (`multiplane.weights.fetch`), run on the CPU, and load when first used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiplane.evaluation.alpha import over_solid

if TYPE_CHECKING:
    import onnxruntime

    from multiplane.evaluation.efficientnet import EfficientNetLite

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


def _resized(picture: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, C) or (H, W) resized channel by channel, in float, to (width, height)."""
    planes = picture[..., None] if picture.ndim == 2 else picture
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., index], dtype=np.float32)).resize(
                size, Image.Resampling.BICUBIC
            )
        )
        for index in range(planes.shape[2])
    ]
    stacked = np.clip(np.stack(channels, axis=-1), 0.0, 1.0)
    return stacked[..., 0] if picture.ndim == 2 else stacked


def _session(model: bytes | str, threads: int) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "judging with a segmenter needs onnxruntime: pip install 'multiplane[eval]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # a third less memory, no slower
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class _OnnxSegmenter:
    """What the two segmenters share: one (1, 3, S, S) input, the finest matte as first output."""

    name: str
    version: str
    side: int

    def __init__(self, package: Path, threads: int = 0) -> None:
        self._package = package
        self._threads = threads

    def _model(self) -> bytes | str:
        raise NotImplementedError

    def _normalise(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError

    @cached_property
    def _loaded(self) -> onnxruntime.InferenceSession:
        return _session(self._model(), self._threads)

    def cut(self, picture: Array) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 -> (H, W) matte 0..1, stretched to the whole range."""
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{self.name} reads (H, W, 3) pictures, got shape {picture.shape}")
        height, width = picture.shape[:2]
        small = self._normalise(_resized(picture, (self.side, self.side)))
        batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32)
        session = self._loaded
        matte: Any = session.run(
            [session.get_outputs()[0].name], {session.get_inputs()[0].name: batch}
        )[0]
        return stretch(_resized(matte[0, 0], (width, height)))


def stretch(matte: NDArray[np.float32], least: float = 0.1) -> NDArray[np.float32]:
    """The matte's range mapped to 0..1, as both networks' own post-processing does; a matte whose
    top stays under `least` found nothing and is left as it is (stretching it would make noise
    an object)."""
    low, high = float(matte.min()), float(matte.max())
    if high < least or high - low < 1e-6:
        return matte
    return (matte - low) / (high - low)


class Isnet(_OnnxSegmenter):
    """ISNet (Qin et al. 2022, arXiv 2203.03041), the 88 MB weights stored in 4 MiB chunks."""

    name = "isnet"
    version = "medium, imgly 1.4.5"
    side = 1024

    def _model(self) -> bytes:
        folder = self._package / "dist"
        resources = json.loads((folder / "resources.json").read_text("utf-8"))
        return b"".join(_chunks(folder, resources["/models/medium"]["chunks"]))

    def _normalise(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return (picture * 255.0 - 128.0) / 256.0


def _chunks(folder: Path, listed: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """The chunks of a model in order, each checked against the sha256 it is named by."""
    for chunk in listed:
        data = (folder / chunk["hash"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != chunk["hash"]:
            raise ValueError(
                f"the chunk {chunk['hash'][:12]} of the judge is damaged: remove its package "
                "folder and run `multiplane fetch judges` again"
            )
        yield data


class U2Net(_OnnxSegmenter):
    """U2-Net (Qin et al. 2020, arXiv 2005.09007), 176 MB: the baseline's cutter."""

    name = "u2net"
    version = "sharp-remove-bg-ai 2.0.5"
    side = 320

    def _model(self) -> str:
        return str(self._package / "dist" / "u2net.onnx")

    def _normalise(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        top = max(float(picture.max()), 1e-6)
        mean = np.array((0.485, 0.456, 0.406), np.float32)
        deviation = np.array((0.229, 0.224, 0.225), np.float32)
        return (picture / top - mean) / deviation


class EfficientNetFeatures:
    """Pooled EfficientNet-Lite0 features, 1280 numbers a picture."""

    name = "efficientnet-lite0"

    def __init__(self, weights: Path) -> None:
        self._weights = weights

    @cached_property
    def _network(self) -> EfficientNetLite:
        from multiplane.evaluation.efficientnet import load_published

        return load_published(self._weights)

    def of(self, pictures: Sequence[Array]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 each -> (N, 1280). Normalised (x - 127) / 128 on 0..255, as the
        published weights were trained."""
        import torch

        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(pictures), FEATURE_BATCH):
            batch = np.stack(
                [
                    _resized(picture, (FEATURE_SIZE, FEATURE_SIZE))
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
