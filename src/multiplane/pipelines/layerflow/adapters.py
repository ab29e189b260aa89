"""LoRA adapters of a transformer beside its plain weights, in a saved pipeline."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from multiplane.io.atomic import replacing
from multiplane.models.weights_io import read_tensors, write_tensors

FOLDER = "adapters"  # beside the components of a saved pipeline
INDEX = "adapters.json"
FILE = "pytorch_lora_weights.safetensors"


def adapters_of(transformer: Any) -> list[str]:
    """The names of its LoRAs, in the order they were added."""
    return list(getattr(transformer, "peft_config", None) or {})


@contextmanager
def without_adapters(transformer: Any) -> Iterator[None]:
    """Inside the block the transformer's state dict is that of its plain self. diffusers would
    write a LoRA's tensors among the others, and a model with them does not load again."""
    if transformer is None or not adapters_of(transformer):
        yield
        return

    def plain(module: Any, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
        for name in list(state):
            tensor = state.pop(name)
            if ".lora_" not in name:
                state[name.replace(".base_layer.", ".")] = tensor

    hook = transformer.register_state_dict_post_hook(plain)
    try:
        yield
    finally:
        hook.remove()


def save_adapters(transformer: Any, folder: str | os.PathLike[str]) -> None:
    """Write every LoRA into `folder`, and with what weight it is used."""
    names = adapters_of(transformer)
    if not names:
        return
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict

    active = set(transformer.active_adapters())
    root, index = Path(folder) / FOLDER, {}
    for name in names:
        config = transformer.peft_config[name]
        layers = [each for each in transformer.modules() if isinstance(each, LoraLayer)]
        used = next(layer for layer in layers if name in layer.scaling)
        own = config.lora_alpha / config.r
        index[name] = {
            "rank": config.r,
            "alpha": config.lora_alpha,
            "weight": used.scaling[name] / own if name in active else 0.0,
        }
        tensors = get_peft_model_state_dict(transformer, adapter_name=name)
        write_tensors(
            {key: each.cpu().contiguous() for key, each in tensors.items()}, root / name / FILE
        )
    with replacing(root / INDEX) as partial:
        partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def load_adapters(transformer: Any, folder: str) -> None:
    """Put on what `save_adapters` wrote into `folder`, with the same weights; nothing where there
    is nothing."""
    root = Path(folder) / FOLDER
    if not (root / INDEX).is_file():
        return
    index = json.loads((root / INDEX).read_text(encoding="utf-8"))
    for name, how in index.items():
        add_adapter(transformer, name, read_tensors(root / name / FILE), how["alpha"])
    use_adapters(transformer, {name: how["weight"] for name, how in index.items()})


def add_adapter(
    transformer: Any, name: str, tensors: dict[str, Tensor], alpha: int | None = None
) -> None:
    """Add a LoRA under PEFT's names (`<module>.lora_A.weight`). alpha: None where its scale is in
    the tensors.

    Given explicitly, for a state dict alone carries no alpha, and without it diffusers takes the
    rank: a LoRA of rank 256 and alpha 1 would be 256 times too strong, without an error."""
    from peft import LoraConfig
    from peft.utils import set_peft_model_state_dict

    modules = sorted({key.partition(".lora_")[0] for key in tensors})
    ranks = {m: tensors[f"{m}.lora_A.weight"].shape[0] for m in modules}
    rank = max(ranks.values())
    if set(ranks.values()) != {rank}:
        raise ValueError(f"the LoRA {name} has ranks {sorted(set(ranks.values()))}: one is taken")
    config = LoraConfig(r=rank, lora_alpha=rank if alpha is None else alpha, target_modules=modules)
    transformer.add_adapter(config, adapter_name=name)
    outcome = set_peft_model_state_dict(transformer, tensors, adapter_name=name)
    if outcome.unexpected_keys:
        raise ValueError(f"the LoRA {name} does not fit: {', '.join(outcome.unexpected_keys[:3])}")
    for parameter_name, parameter in transformer.named_parameters():
        if f".{name}." in parameter_name:
            parameter.requires_grad_(False)


def use_adapters(transformer: Any, weights: dict[str, float]) -> None:
    """Use these LoRAs with these weights, no others; gradients stay off."""
    transformer.set_adapters(list(weights), list(weights.values()))
    transformer.requires_grad_(False)
