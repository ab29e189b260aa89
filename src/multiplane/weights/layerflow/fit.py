"""Does a checkpoint fit the CogVideoX it says it is?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from torch import Tensor

NORM_EPS = 1e-6  # of the published code; diffusers' own config of the 2B model has 1e-5


@dataclass(frozen=True)
class PublishedShape:
    """What the shapes of tensors do not say. rows, columns: video tokens of a latent (480 x 720
    pixels). prompt_tokens: of one prompt."""

    rows: int = 30
    columns: int = 45
    prompt_tokens: int = 226


def architecture_of(tensors: Mapping[str, Tensor], shape: PublishedShape) -> dict[str, Any]:
    """The transformer's configuration, read off its tensors (diffusers names); what they do not
    show is as in CogVideoX-2B."""
    found: dict[str, Any] = {
        "norm_eps": NORM_EPS,
        "max_text_seq_length": shape.prompt_tokens,
    }
    width = _size(tensors, "patch_embed.proj.weight", 0)
    head = _size(tensors, "transformer_blocks.0.attn1.norm_q.weight", 0)
    if width and head:
        found |= {"num_attention_heads": width // head, "attention_head_dim": head}
    patch = _size(tensors, "patch_embed.proj.weight", 2)
    numbers = [int(key.split(".")[1]) for key in tensors if key.startswith("transformer_blocks.")]
    for name, value in (
        ("num_layers", max(numbers, default=-1) + 1),
        ("time_embed_dim", _size(tensors, "time_embedding.linear_1.weight", 0)),
        ("text_embed_dim", _size(tensors, "patch_embed.text_proj.weight", 1)),
        ("in_channels", _size(tensors, "patch_embed.proj.weight", 1)),
        ("patch_size", patch),
    ):
        if value:
            found[name] = value
    outputs = _size(tensors, "proj_out.weight", 0)
    if outputs and patch:
        found["out_channels"] = outputs // patch**2
    side = patch or 2
    return {**found, "sample_height": shape.rows * side, "sample_width": shape.columns * side}


def missing_from(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> list[str]:
    """The transformer's tensors that are not among `tensors`.

    Raises ValueError for one whose shape is another."""
    with torch.device("meta"):
        expected = CogVideoXTransformer3DModel(**config).state_dict()
    for name, tensor in tensors.items():
        if name not in expected:
            raise ValueError(f"{name} is no tensor of a transformer with these others")
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} and a transformer with these other "
                f"tensors takes {tuple(expected[name].shape)}: the checkpoint is damaged, or made "
                "for another base than CogVideoX-2B"
            )
    return [name for name in expected if name not in tensors]


def check_lora(name: str, lora: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError for factors that do not fit each other or their projection."""
    for key, down in lora.items():
        module, _, rest = key.partition(".lora_A.")
        if not rest:
            continue
        up, base = lora.get(f"{module}.lora_B.weight"), tensors.get(f"{module}.weight")
        if up is None:
            raise ValueError(f"{name}: {module} has one factor of two: the checkpoint is damaged")
        made = (up.shape[0], down.shape[1])
        if up.shape[1] != down.shape[0] or (base is not None and made != tuple(base.shape)):
            takes = "" if base is None else f" of {tuple(base.shape)}"
            raise ValueError(
                f"{name}: the factors of {module} are {tuple(up.shape)} and {tuple(down.shape)}, "
                f"which is no change{takes}: the checkpoint is damaged"
            )


def _size(tensors: Mapping[str, Tensor], name: str, axis: int) -> int | None:
    tensor = tensors.get(name)
    return None if tensor is None or tensor.ndim <= axis else tensor.shape[axis]
