"""LayerDiffuse pipelines on the small diffusion models, every mode with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_decode import DecodeOptions
from multiplane.pipelines.layerdiffuse import (
    SD15_WORKFLOWS,
    LayerDiffusePipeline,
    LayerDiffuseXLPipeline,
)
from multiplane.pipelines.layerdiffuse.modes import modes_of
from small_diffusion import sd15, sdxl, seeded

QUICK = DecodeOptions(passes=1)
DECODER: dict[str, Any] = {"block_channels": (8, 8, 8, 8, 16, 16, 16), "layers_per_block": 1}
CONVOLUTIONS = (".resnets.", "samplers.", "conv_in.", "conv_norm_out.", "conv_out.")
# What each SDXL mode's file changes: channels of the UNet's input.
XL_CHANNELS = {"transparent": 4, "fg2blend": 8, "bg2blend": 8, "fgblend2bg": 12, "bgblend2fg": 12}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transparency(seed: int = 11) -> dict[str, nn.Module]:
    """Small networks of latent transparency, nothing in them zero."""

    def make() -> dict[str, nn.Module]:
        networks = {
            "transparency_encoder": OffsetEncoder((8, 8, 8, 8), offset_scale=1.0),
            "transparency_decoder": TransparencyDecoder(**DECODER),
        }
        for network in networks.values():
            stir(network)
            network.eval().requires_grad_(False)
        return networks

    return seeded(make, seed)


def stir(network: nn.Module, scale: float = 0.1) -> nn.Module:
    """Move every weight a little, the ones that start as zero too."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return network


def sharing(unet: Any, frames: int, control: bool, seed: int = 3) -> AttentionSharing:
    def make() -> nn.Module:
        units = AttentionSharing.for_unet(unet, frames, rank=4, control=control)
        return stir(units, 0.05)

    return seeded(make, seed)


def small_sd15_pipeline(
    modes: Sequence[str] = tuple(modes_of(SD15_WORKFLOWS)), **parts: Any
) -> LayerDiffusePipeline:
    """These modes loaded; those for a given plane are large: control has its published widths."""
    pipeline = quiet(LayerDiffusePipeline(**{**sd15(), **transparency(), **parts}))
    for index, mode in enumerate(modes):
        row = pipeline.workflows[mode]
        units = sharing(pipeline.unet, len(row.streams), bool(row.conditions), 3 + index)
        pipeline.load_mode(mode, units)
    return pipeline


def small_sdxl_pipeline(folder: Path, **parts: Any) -> LayerDiffuseXLPipeline:
    """Every mode loaded from a file in `folder`."""
    pipeline = quiet(LayerDiffuseXLPipeline(**{**sdxl(), **transparency(), **parts}))
    for index, (mode, channels) in enumerate(XL_CHANNELS.items()):
        path = folder / f"{mode}.safetensors"
        save_file(xl_offsets(pipeline.unet, channels, seed=20 + index), path)
        pipeline.load_mode(mode, path)
    return pipeline


def xl_offsets(unet: nn.Module, channels: int, seed: int, scale: float = 0.05) -> dict[str, Tensor]:
    """Whole offsets of a file that changes the convolutions, by diffusers names."""
    draw = generator(seed)
    offsets = {}
    for name, parameter in unet.named_parameters():
        if not any(part in name for part in CONVOLUTIONS):
            continue
        shape = list(parameter.shape)
        if name == "conv_in.weight":
            shape[1] = channels
        offsets[name] = torch.randn(shape, generator=draw) * scale
    return offsets


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(width: int, height: int, channels: int = 4, seed: int = 0, count: int = 1) -> Tensor:
    """(count, channels, height, width) 8-bit levels in [0, 1]: a soft blob on noise, part of it
    clear and part of it opaque."""
    levels = torch.randint(0, 256, (count, channels, height, width), generator=generator(seed))
    values = levels / 255
    if channels == 4:
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
        )
        values[:, 3] = ((1.2 - 1.6 * (x * x + y * y).sqrt()).clamp(0, 1) * 255).round() / 255
    return values
