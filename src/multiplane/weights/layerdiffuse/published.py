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


FOREGROUND, BACKGROUND, COMPOSITE = "foreground", "background", "composite"
TRANSPARENT = frozenset({FOREGROUND})  # planes with an alpha; the others are opaque


@dataclass(frozen=True)
class Mode:
    """What one set of UNet weights does; planes have the names of a request ("composite" is the
    papers' blend).

    streams: planes denoised together, in the order of the batch (the stream index runs fastest).
    conditions: given planes, in the order their latents follow the noisy ones on the channel axis
    (SDXL), or what the control signal is made of (SD1.5). stop_at: part of the noise schedule,
    0..1, after which the plain UNet takes over without the conditions. adapted: False for the base
    as it is."""

    name: str
    streams: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    stop_at: float = 1.0
    adapted: bool = True

    @property
    def transparent_streams(self) -> tuple[str, ...]:
        """Streams the transparency decoder reads; the plain VAE decodes the others."""
        return tuple(stream for stream in self.streams if stream in TRANSPARENT)


MODES = {
    mode.name: mode
    for mode in (
        Mode("transparent", (FOREGROUND,)),
        Mode("joint", (FOREGROUND, BACKGROUND, COMPOSITE)),
        Mode("fg2bg", (BACKGROUND, COMPOSITE), (FOREGROUND,)),
        Mode("bg2fg", (FOREGROUND, COMPOSITE), (BACKGROUND,)),
        Mode("fg2ble", (COMPOSITE,), (FOREGROUND,)),
        Mode("bg2ble", (COMPOSITE,), (BACKGROUND,)),
        Mode("fgble2bg", (BACKGROUND,), (FOREGROUND, COMPOSITE)),
        Mode("bgble2fg", (FOREGROUND,), (BACKGROUND, COMPOSITE)),
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
        joined = MODES[self.mode].conditions if self.mode and self.base == "sdxl" else ()
        return 4 + 4 * len(joined)


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
