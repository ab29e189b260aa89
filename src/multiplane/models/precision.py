"""Which number format this machine computes networks in."""

from __future__ import annotations

import torch


def preferred_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies matrices in it, float32 elsewhere."""
    try:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    except AttributeError:
        fast = False
    return torch.bfloat16 if fast else torch.float32
