"""Which base model a UNet is, which one a file is for, and the UNet's tensors by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from multiplane.weights.layerdiffuse.deltas import UNetDeltas

_NAMES = {(4, 768): "SD1.5", (4, 1024): "SD2", (3, 2048): "SDXL"}
_BLOCK = re.compile(r"(?:down|up)_blocks\.(\d+)\.")
_TEXT_KEY = re.compile(r".+\.attn2\.to_k\.weight")


@dataclass(frozen=True)
class BaseModel:
    """blocks: down blocks of the UNet. context: width of its text states, None where a file does
    not show it."""

    blocks: int
    context: int | None

    @property
    def name(self) -> str:
        kind = " or ".join(
            name
            for (blocks, context), name in _NAMES.items()
            if blocks == self.blocks and self.context in (context, None)
        )
        return kind or f"another model with {'SDXL' if self.blocks == 3 else 'SD1.5'}'s blocks"

    def __str__(self) -> str:
        text = "" if self.context is None else f", cross-attention width {self.context}"
        return f"{self.name} ({self.blocks} blocks{text})"


def base_of_unet(unet: nn.Module) -> BaseModel:
    """From the config of a diffusers UNet2DConditionModel."""
    config: Any = unet.config
    context = config.cross_attention_dim
    return BaseModel(
        len(config.block_out_channels), context if isinstance(context, int) else context[0]
    )


def base_of_deltas(content: UNetDeltas) -> BaseModel:
    """From the blocks and shapes of a file."""
    numbers = [int(found[1]) for key in content.deltas if (found := _BLOCK.match(key))]
    contexts = [delta.shape[1] for key, delta in content.deltas.items() if _TEXT_KEY.fullmatch(key)]
    blocks = 4 if max(numbers, default=0) >= 3 else 3
    return BaseModel(blocks, contexts[0] if contexts else None)


def unet_tensors(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The UNet's own parameters by name; PEFT's wrapping left out, and the tensors it added."""
    return {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in unet.named_parameters()
        if ".lora_" not in name and ".processor." not in name
    }
