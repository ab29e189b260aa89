"""A network in a diffusers-style folder: config.json and diffusion_pytorch_model.safetensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from multiplane.core.config import from_table
from multiplane.io.atomic import replacing

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"

N = TypeVar("N", bound=nn.Module)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on CPU. Raises FileNotFoundError, or ValueError for a
    file that is cut short or none of its kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: its folder is not whole, copy it again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read, copy it again: {error}") from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; it appears whole or not at all."""
    from safetensors.torch import save_file

    with replacing(path) as partial:
        save_file(dict(tensors), partial, metadata={"format": "pt"})


def save_network(
    network: nn.Module,
    folder: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    without: str | None = None,
) -> None:
    """Write the network's weights in `dtype` and its config table, the latter with the name of the
    network's class. without: tensors whose name begins so stay out."""
    state = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.state_dict().items()
        if without is None or not name.startswith(without)
    }
    write_tensors(state, folder / WEIGHTS)
    table = {"_class_name": type(network).__name__, **config}
    with replacing(folder / CONFIG) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def write_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a folder beside `folder`, then put it in its place: a folder of several
    files appears whole."""
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_wanted(kind: Callable[[Any], N], config: Any, folder: Path) -> N:
    """`load_network` for training to go on from, where it must be of this configuration. Raises
    ValueError where it is of another."""
    network: Any = load_network(kind, type(config), folder)
    if network.config != config:
        raise ValueError(
            f"{folder} holds {network.config}, not {config}: start from a folder of that "
            "configuration, or change yours to its"
        )
    return network.train()


def load_network(kind: Callable[[Any], N], config_kind: type[Any], folder: Path) -> N:
    """Build `kind(config)` from the folder, with its weights as float32, in evaluation mode.

    config_kind: the dataclass of its config. Raises FileNotFoundError for a missing file,
    ValueError for a config key or a tensor that does not fit."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}: point at a folder written by save_network"
        )
    table = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    table.pop("_class_name", None)
    network = kind(from_table(config_kind, table, str(folder / CONFIG)))
    state = {name: value.float() for name, value in read_tensors(folder / WEIGHTS).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit its config.json: {error}") from error
    return network.eval()
