"""Where a diffusers pipeline computes, in which numbers, and what waits in memory meanwhile."""

from __future__ import annotations

from typing import Any, Literal

import torch

Dtype = Literal["auto", "float16", "bfloat16", "float32"]
Offload = Literal["none", "model", "sequential"]
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def dtype_of(
    name: Dtype, device: torch.device, accelerated: torch.dtype = torch.float16
) -> torch.dtype:
    """The number format called `name`; "auto" is `accelerated`, on the CPU float32."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else accelerated
    return _DTYPES[name]


def place(pipeline: Any, offload: Offload, device: torch.device) -> None:
    """Move `pipeline` to `device`, or let its parts wait in memory until used: "model" a component
    at a time, "sequential" a layer at a time.

    Raises ValueError for offloading where there is no accelerator to spare."""
    if offload == "none":
        pipeline.to(device)
    elif device.type == "cpu":
        raise ValueError(
            f"offload = {offload!r} moves parts between memory and an accelerator, and the "
            'device is the CPU: set offload = "none"'
        )
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
