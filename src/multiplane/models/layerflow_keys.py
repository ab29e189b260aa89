"""LayerFlow's published tensor names into diffusers' and PEFT's.

The published code builds CogVideoX with fused attention projections, one modulation layer a block
for both norms, and beside each projection two pairs of low-rank factors: A, B for motion and C, D
for content. Names and shapes as listed in docs/layerflow.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

PREFIX = "model.diffusion_model."
_LAYER = re.compile(r"transformer\.layers\.(\d+)\.(.+)")
_FACTOR = re.compile(r"attention\.(query_key_value|dense)\.matrix_([ABCD])\.(\d)")
_FUSED = re.compile(r"attention\.query_key_value\.(?:original\.)?(weight|bias)")
_OUTPUT = re.compile(r"attention\.dense\.(?:original\.)?(weight|bias)")
_MODULATION = re.compile(r"mixins\.adaln_layer\.adaLN_modulations\.(\d+)\.1\.(weight|bias)")
_HEAD_NORM = re.compile(r"mixins\.adaln_layer\.(query|key)_layernorm_list\.(\d+)\.(weight|bias)")
_PROJECTIONS = {
    "query_key_value": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "dense": ("attn1.to_out.0",),
}
_IN_BLOCK = {
    "mlp.dense_h_to_4h": "ff.net.0.proj",
    "mlp.dense_4h_to_h": "ff.net.2",
    "input_layernorm": "norm1.norm",
    "post_attention_layernorm": "norm2.norm",
}
_OUTSIDE = {
    "mixins.patch_embed.proj": "patch_embed.proj",
    "mixins.patch_embed.text_proj": "patch_embed.text_proj",
    "mixins.final_layer.norm_final": "norm_out.norm",
    "mixins.final_layer.adaLN_modulation.1": "norm_out.linear",
    "mixins.final_layer.linear": "proj_out",
    "transformer.final_layernorm": "norm_final",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
}
_EMBEDDER = "mixins.pos_embed.txt_embedder."
_POSITIONS = "mixins.pos_embed.pos_embedding"
# Of a modulation's twelve parts, shift, scale, gate each: attention and feed-forward of the video,
# then of the text. diffusers keeps attention's in one layer and feed-forward's in another.
_PARTS = 12
_OF_NORM = {"norm1": (0, 1, 2, 6, 7, 8), "norm2": (3, 4, 5, 9, 10, 11)}


@dataclass(frozen=True, eq=False)
class RenamedTensors:
    """transformer: under diffusers' names. motion, content: LoRAs, `<module>.lora_A.weight` (rank,
    in) and `lora_B.weight` (out, rank), without their scale. embedding: of `LayerEmbedding`.
    positions: (1, text + video, width), or None. unknown: published names that mean nothing here.
    """

    transformer: dict[str, Tensor] = field(default_factory=dict)
    motion: dict[str, Tensor] = field(default_factory=dict)
    content: dict[str, Tensor] = field(default_factory=dict)
    embedding: dict[str, Tensor] = field(default_factory=dict)
    positions: list[Tensor] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def rename(tensors: Mapping[str, Tensor]) -> RenamedTensors:
    """Published tensors, with `PREFIX` before their names or not, sorted and renamed.

    Tensors are views of the given ones. Raises ValueError for a fused tensor that cannot be taken
    apart."""
    found = RenamedTensors()
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        if name == _POSITIONS:
            found.positions.append(tensor)
        elif name.startswith(_EMBEDDER):
            found.embedding[f"index.{name.removeprefix(_EMBEDDER)}"] = tensor
        elif not (_outside(name, tensor, found) or _inside(name, tensor, found)):
            found.unknown.append(key)
    return found


def _outside(name: str, tensor: Tensor, found: RenamedTensors) -> bool:
    """Take a tensor that belongs to no block, or to a list beside the blocks."""
    module, _, part = name.rpartition(".")
    if module in _OUTSIDE and part in ("weight", "bias"):
        found.transformer[f"{_OUTSIDE[module]}.{part}"] = tensor
        return True
    if (match := _MODULATION.fullmatch(name)) is not None:
        chunks = _apart(name, tensor, _PARTS)
        for norm, parts in _OF_NORM.items():
            joined = torch.cat([chunks[number] for number in parts])
            found.transformer[f"transformer_blocks.{match[1]}.{norm}.linear.{match[2]}"] = joined
        return True
    if (match := _HEAD_NORM.fullmatch(name)) is not None:
        norm = f"norm_{match[1][0]}"
        found.transformer[f"transformer_blocks.{match[2]}.attn1.{norm}.{match[3]}"] = tensor
        return True
    return False


def _inside(name: str, tensor: Tensor, found: RenamedTensors) -> bool:
    """Take a tensor of a block."""
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return False
    block, rest = f"transformer_blocks.{layer[1]}", layer[2]
    module, _, part = rest.rpartition(".")
    if module in _IN_BLOCK and part in ("weight", "bias"):
        found.transformer[f"{block}.{_IN_BLOCK[module]}.{part}"] = tensor
    elif (match := _FUSED.fullmatch(rest)) is not None:
        thirds = _apart(name, tensor, 3)
        for target, third in zip(_PROJECTIONS["query_key_value"], thirds, strict=True):
            found.transformer[f"{block}.{target}.{match[1]}"] = third
    elif (match := _OUTPUT.fullmatch(rest)) is not None:
        found.transformer[f"{block}.attn1.to_out.0.{match[1]}"] = tensor
    elif (match := _FACTOR.fullmatch(rest)) is not None:
        targets, number = _PROJECTIONS[match[1]], int(match[3])
        if number >= len(targets):
            return False
        lora = found.motion if match[2] in "AB" else found.content
        side = "lora_A" if match[2] in "AC" else "lora_B"
        lora[f"{block}.{targets[number]}.{side}.weight"] = tensor
    else:
        return False
    return True


def _apart(name: str, tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    if tensor.shape[0] % count:
        raise ValueError(
            f"{name} has {tensor.shape[0]} rows, which are not {count} equal parts: this is no "
            "checkpoint of LayerFlow, or a damaged one"
        )
    return tensor.chunk(count)
