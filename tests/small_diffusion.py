"""Stable Diffusion UNets of the published layout at tiny widths, with random weights."""

from __future__ import annotations

from typing import Any

import torch


def small_sd15_unet(seed: int = 0, **changes: Any) -> Any:
    """SD1.5's blocks: 32 attentions, transformers in all but the last down block."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16, 16),
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(**{**config, **changes}).eval().requires_grad_(False)


def small_sdxl_unet(seed: int = 0, **changes: Any) -> Any:
    """SDXL's blocks: none, two and ten transformers deep in the release, two at most here."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "cross_attention_dim": 20,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 32,
    }
    return UNet2DConditionModel(**{**config, **changes}).eval().requires_grad_(False)
