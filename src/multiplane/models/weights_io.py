"""A network in a diffusers-style folder: config.json and diffusion_pytorch_model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from multiplane.core.config import from_table

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"

N = TypeVar("N", bound=nn.Module)


def save_network(
    network: nn.Module,
    folder: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the network's weights in `dtype` and its config table."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    table = {"_class_name": type(network).__name__, **config}
    (folder / CONFIG).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def load_network(kind: Callable[[Any], N], config_kind: type[Any], folder: Path) -> N:
    """Build `kind(config)` from the folder and load its weights as float32.

    Raises FileNotFoundError for a missing file, ValueError for a tensor that does not fit."""
    from safetensors.torch import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no {name}: point at a folder written by save_pretrained"
            )
    table = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    table.pop("_class_name", None)
    network = kind(from_table(config_kind, table, str(folder / CONFIG)))
    state = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit its config.json: {error}") from error
    return network.eval()
