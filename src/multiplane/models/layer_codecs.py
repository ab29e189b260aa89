"""How a latent diffusion model may hold a picture of two layers: one joint latent (CaT2I), three
separate ones, or the flat picture alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from multiplane.core.config import to_table
from multiplane.models.cat2i_autoencoder import CaT2IAutoencoder, CaT2IConfig, TwoLayers
from multiplane.models.planes import from_model
from multiplane.models.weights_io import CONFIG, load_network, save_network

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

SCENE = "-> foreground background composite"


class LayerCodec(Protocol):
    """Planes <-> a latent (B, latent_channels, H/factor, W/factor) of about unit variance.

    form: the name in model_index.json. tasks: what can be made with it, "given -> wanted"."""

    form: str
    tasks: tuple[str, ...]

    @property
    def latent_channels(self) -> int: ...

    @property
    def factor(self) -> int: ...

    def encode(self, layers: TwoLayers) -> Tensor:
        """layers: with their image, in the models' range."""
        ...

    def planes(self, latents: Tensor) -> dict[str, Tensor]:
        """Name -> (B, 4, H, W) premultiplied in [0, 1]."""
        ...

    def save(self, folder: Path) -> None: ...

    def network(self) -> nn.Module: ...


class JointLatents:
    """CaT2I: one latent for foreground, background and mask."""

    form = "joint"
    tasks = (SCENE,)

    def __init__(self, autoencoder: CaT2IAutoencoder) -> None:
        self.autoencoder = autoencoder

    @classmethod
    def load(cls, folder: Path) -> JointLatents:
        return cls(load_network(CaT2IAutoencoder, CaT2IConfig, folder))

    @property
    def latent_channels(self) -> int:
        return self.autoencoder.config.latent_channels

    @property
    def factor(self) -> int:
        return self.autoencoder.config.factor

    def encode(self, layers: TwoLayers) -> Tensor:
        return self.autoencoder.encode(layers)

    def planes(self, latents: Tensor) -> dict[str, Tensor]:
        return self.autoencoder.decode(latents).planes()

    def save(self, folder: Path) -> None:
        save_network(self.autoencoder, folder, to_table(self.autoencoder.config))

    def network(self) -> nn.Module:
        return self.autoencoder


class _FromVAE:
    """What the two forms on an ordinary `AutoencoderKL` share."""

    pictures: int  # latents side by side

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae

    @classmethod
    def load(cls, folder: Path) -> Any:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        if not (folder / CONFIG).is_file():
            raise FileNotFoundError(f"{folder} holds no {CONFIG}: give a diffusers AutoencoderKL")
        vae = AutoencoderKL.from_pretrained(folder)
        return cls(vae.eval())

    @property
    def latent_channels(self) -> int:
        return self.pictures * int(self.vae.config["latent_channels"])

    @property
    def factor(self) -> int:
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    def _encode(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, h, w)."""
        mode = self.vae.encode(picture, return_dict=False)[0].mode()
        return mode.float() * self.vae.config["scaling_factor"]

    def _decode(self, latents: Tensor) -> Tensor:
        raw = latents / self.vae.config["scaling_factor"]
        return self.vae.decode(raw, return_dict=False)[0].float()

    def save(self, folder: Path) -> None:
        self.vae.save_pretrained(folder)

    def network(self) -> nn.Module:
        return self.vae


class SeparateLatents(_FromVAE):
    """Three latents side by side: foreground, background and the mask as a grey picture each
    through the same autoencoder (the paper's SD-AE-UNet)."""

    form = "separate"
    tasks = (SCENE,)
    pictures = 3

    def encode(self, layers: TwoLayers) -> Tensor:
        grey = (layers.mask * 2 - 1).expand(-1, 3, -1, -1)
        return torch.cat(
            [self._encode(each) for each in (layers.foreground, layers.background, grey)], dim=1
        )

    def decode(self, latents: Tensor) -> TwoLayers:
        foreground, background, grey = map(self._decode, latents.chunk(3, dim=1))
        return TwoLayers(foreground, background, from_model(grey.mean(dim=1, keepdim=True)))

    def planes(self, latents: Tensor) -> dict[str, Tensor]:
        return self.decode(latents).planes()


class FlatLatents(_FromVAE):
    """The composite alone (the paper's SD-LAION-L2I): the baseline that has to be cut."""

    form = "flat"
    tasks = ("-> composite",)
    pictures = 1

    def encode(self, layers: TwoLayers) -> Tensor:
        if layers.image is None:
            raise ValueError("the flat form reads the composed image, and these layers have none")
        return self._encode(layers.image)

    def planes(self, latents: Tensor) -> dict[str, Tensor]:
        picture = from_model(self._decode(latents))
        return {"composite": torch.cat([picture, torch.ones_like(picture[:, :1])], dim=1)}


FORMS: dict[str, Any] = {kind.form: kind for kind in (JointLatents, SeparateLatents, FlatLatents)}


def load_layer_codec(form: str, folder: Path) -> LayerCodec:
    """The autoencoder in `folder` used in this form. Raises ValueError for an unknown form or an
    autoencoder that does not serve it, FileNotFoundError for a missing file."""
    if form not in FORMS:
        raise ValueError(f"unknown form of latents {form!r}; there are {', '.join(FORMS)}")
    path = folder / CONFIG
    if path.is_file():
        name = json.loads(path.read_text(encoding="utf-8")).get("_class_name")
        wanted = "CaT2IAutoencoder" if form == "joint" else "AutoencoderKL"
        if name != wanted:
            raise ValueError(f"{form!r} latents need a {wanted}, {path} is of a {name}")
    return FORMS[form].load(folder)
