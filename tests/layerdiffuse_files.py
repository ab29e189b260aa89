"""Synthetic LayerDiffuse files for tiny UNets, in each of the published key formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from multiplane.models.unet_keys import to_ldm
from multiplane.weights.layerdiffuse.deltas import IN_CONTENT
from multiplane.weights.layerdiffuse.published import Content

RANK = 3


def draws(seed: int = 0) -> Any:
    """draw(*shape): small normal numbers in a sequence of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    return draw


def ldm_name(unet: Any, name: str) -> str:
    attention = tuple("CrossAttn" in kind for kind in unet.config.down_block_types)
    found = to_ldm(name, attention)
    assert found is not None
    return f"diffusion_model.{found}"


def names_of(unet: Any, content: Content) -> list[str]:
    return [name for name, _ in unet.named_parameters() if IN_CONTENT[content](name)]


def lora_factors(unet: Any, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """(up, down) for every projection of every attention."""
    draw = draws(seed)
    shapes = {name: unet.get_parameter(name).shape for name in names_of(unet, "attention")}
    return {name: (draw(out, RANK), draw(RANK, into)) for name, (out, into) in shapes.items()}


def offsets(unet: Any, content: Content, channels: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """A full delta for each tensor of a kind of file; conv_in with `channels` inputs."""
    draw = draws(seed)
    found = {name: draw(*unet.get_parameter(name).shape) for name in names_of(unet, content)}
    if "conv_in.weight" in found:
        out, _, height, width = found["conv_in.weight"].shape
        found["conv_in.weight"] = draw(out, channels, height, width)
    return found


def forge_lora(unet: Any, seed: int = 0) -> dict[str, Tensor]:
    """As layer_xl_transparent_attn."""
    return {
        f"{ldm_name(unet, name)}::lora::{index}": factor
        for name, pair in lora_factors(unet, seed).items()
        for index, factor in enumerate(pair)
    }


def forge_offsets(
    unet: Any, content: Content, channels: int = 4, seed: int = 0
) -> dict[str, Tensor]:
    """As layer_xl_transparent_conv ("body"), or as layer_xl_fg2ble ("convolutions")."""
    return {
        f"{ldm_name(unet, name)}::diff::0": tensor
        for name, tensor in offsets(unet, content, channels, seed).items()
    }


def write(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path
