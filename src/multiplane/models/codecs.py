"""The representations a denoiser may work in, loaded by the class its folder names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from multiplane.models.patches import PixelPatches, PixelPatchesConfig
from multiplane.models.rgba_autoencoder import RGBAAutoencoder, RGBAAutoencoderConfig
from multiplane.models.weights_io import CONFIG, load_network


class Codec(Protocol):
    """picture (B, 4, S, S) premultiplied in [-1, 1] <-> (B, C, h, w)."""

    def encode(self, picture: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor) -> Tensor: ...


KINDS: dict[str, tuple[type[nn.Module], type]] = {
    "RGBAAutoencoder": (RGBAAutoencoder, RGBAAutoencoderConfig),
    "PixelPatches": (PixelPatches, PixelPatchesConfig),
}


def load_codec(folder: Path) -> RGBAAutoencoder | PixelPatches:
    """The network of a folder written by `save_network`. Raises FileNotFoundError or ValueError."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}: train an autoencoder with multiplane.recipes."
            "tiny_autoencoder, or name its output folder"
        )
    name = json.loads(path.read_text(encoding="utf-8")).get("_class_name")
    if name not in KINDS:
        raise ValueError(f"{path}: unknown representation {name!r}; known are {', '.join(KINDS)}")
    kind, config = KINDS[name]
    network = load_network(kind, config, folder)
    assert isinstance(network, RGBAAutoencoder | PixelPatches)
    return network
