"""Every published LayerDiffuse file, as data.

Sizes are the hub's; which tensors the files hold was inferred from them (docs/layerdiffuse.md), so
whatever else a file turns out to hold is reported when it is loaded, never a reason to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Base = Literal["sdxl", "sd15", "flux"]
Content = Literal[
    "attention",  # query, key, value and output matrices of every attention
    "body",  # every tensor of the UNet but those of query, key, value and the embeddings
    "convolutions",  # resnets, samplers, first and last layers
    "sharing",  # attention-sharing units, not a change of the UNet's own weights
    "encoder",  # the latent offset encoder
    "decoder",  # the transparency decoder
    "both",  # encoder and decoder together, pickled
]


@dataclass(frozen=True)
class Mode:
    """What a set of UNet weights does.

    given: latents joined to the noisy one on the channel axis, in this order (SDXL); or the picture
    that the control signal is made of (SD1.5). streams: what the latents of a picture are, in the
    batch's order. transparent: the streams that the transparency decoder reads; the others are
    plain pictures."""

    name: str
    given: tuple[str, ...]
    streams: tuple[str, ...]
    transparent: tuple[str, ...]

    @property
    def frames(self) -> int:
        return len(self.streams)


FG, BG, BLEND = "foreground", "background", "blend"
MODES = {
    mode.name: mode
    for mode in (
        Mode("transparent", (), (FG,), (FG,)),
        Mode("joint", (), (FG, BG, BLEND), (FG,)),
        Mode("fg2bg", (FG,), (BG, BLEND), ()),
        Mode("bg2fg", (BG,), (FG, BLEND), (FG,)),
        Mode("fg2ble", (FG,), (BLEND,), ()),
        Mode("bg2ble", (BG,), (BLEND,), ()),
        Mode("fgble2bg", (FG, BLEND), (BG,), ()),
        Mode("bgble2fg", (BG, BLEND), (FG,), (FG,)),
    )
}


@dataclass(frozen=True)
class PublishedFile:
    """One file of a hub repository.

    mode: a key of MODES, empty for the parts of the transparent autoencoder. megabytes: its size.
    parameters: how many numbers it should hold, where known. multiplier: what the latent offset
    encoder's output is multiplied by."""

    repository: str
    filename: str
    base: Base
    content: Content
    megabytes: float
    mode: str = ""
    parameters: int | None = None
    multiplier: float | None = None

    @property
    def name(self) -> str:
        """The file name without its suffix: how it is asked for."""
        return self.filename.rpartition(".")[0]

    @property
    def channels(self) -> int:
        """Input channels of the UNet with this file (SDXL's given latents are joined there)."""
        given = MODES[self.mode].given if self.mode and self.base == "sdxl" else ()
        return 4 + 4 * len(given)


_V1 = "LayerDiffusion/layerdiffusion-v1"
_DIFFUSERS = "lllyasviel/LayerDiffuse_Diffusers"
_CONVERTED = "rootonchair/diffuser_layerdiffuse"
_FLUX = "RedAIGC/Flux-version-LayerDiffuse"

_BODY = 1_809_780_484
_CONVOLUTIONS = 350_965_764
_OFFSET, _DECODER = 1_181_764, 104_104_804
_PER_CHANNEL = 320 * 9  # of conv_in

_TWO_STEP: tuple[tuple[str, Content, float, int], ...] = (
    ("fg2ble", "convolutions", 702, _CONVOLUTIONS + 4 * _PER_CHANNEL),
    ("bg2ble", "convolutions", 702, _CONVOLUTIONS + 4 * _PER_CHANNEL),
    ("fgble2bg", "convolutions", 702, _CONVOLUTIONS + 8 * _PER_CHANNEL),
    ("bgble2fg", "body", 3620, _BODY + 8 * _PER_CHANNEL),
)


def _xl(repository: str, prefix: str) -> tuple[PublishedFile, ...]:
    """SDXL's UNet files: as released, and as converted to diffusers' names."""
    return (
        PublishedFile(
            repository,
            f"{prefix}layer_xl_transparent_attn.safetensors",
            *("sdxl", "attention", 743, "transparent", 371_589_120),
        ),
        PublishedFile(
            repository,
            f"{prefix}layer_xl_transparent_conv.safetensors",
            *("sdxl", "body", 3620, "transparent", _BODY),
        ),
        *(
            PublishedFile(
                repository,
                f"{prefix}layer_xl_{mode}.safetensors",
                *("sdxl", content, megabytes, mode, parameters),
            )
            for mode, content, megabytes, parameters in _TWO_STEP
        ),
    )


def _autoencoder(
    repository: str, prefix: str, base: Base, multiplier: float
) -> tuple[PublishedFile, ...]:
    return (
        PublishedFile(
            repository,
            f"{prefix}vae_transparent_encoder.safetensors",
            *(base, "encoder", 2.37, "", _OFFSET),
            multiplier=multiplier,
        ),
        PublishedFile(
            repository,
            f"{prefix}vae_transparent_decoder.safetensors",
            *(base, "decoder", 208, "", _DECODER),
        ),
    )


def _sd15(mode: str, megabytes: float, parameters: int) -> PublishedFile:
    name = "transparent_attn" if mode == "transparent" else mode
    return PublishedFile(
        _V1, f"layer_sd15_{name}.safetensors", "sd15", "sharing", megabytes, mode, parameters
    )


PUBLISHED: dict[str, PublishedFile] = {
    file.name: file
    for file in (
        *_xl(_V1, ""),
        *_autoencoder(_V1, "", "sdxl", 1.0),
        _sd15("transparent", 350, 175_098_496),
        _sd15("joint", 554, 277_138_048),
        _sd15("fg2bg", 563, 281_425_568),
        _sd15("bg2fg", 563, 281_425_568),
        *_autoencoder(_V1, "layer_sd15_", "sd15", 1.0),
        PublishedFile(
            _DIFFUSERS,
            "ld_diffusers_sdxl_attn.safetensors",
            *("sdxl", "attention", 1910, "transparent", 955_187_200),
        ),
        PublishedFile(
            _DIFFUSERS,
            "ld_diffusers_sdxl_conv.safetensors",
            *("sdxl", "body", 3620, "transparent", _BODY),
        ),
        *_autoencoder(_DIFFUSERS, "ld_diffusers_sdxl_", "sdxl", 300.0),
        *_xl(_CONVERTED, "diffuser_"),
        PublishedFile(_FLUX, "layerlora.safetensors", "flux", "attention", 0, "transparent"),
        PublishedFile(_FLUX, "TransparentVAE.pth", "flux", "both", 0, "", None, 300.0),
    )
}


def in_repository(repository: str) -> tuple[PublishedFile, ...]:
    """The known files of a hub repository."""
    return tuple(file for file in PUBLISHED.values() if file.repository == repository)
