"""Low-rank adapters on a transformer's layers, by name, with a gate for every sample.

    W z + sum over adapters of gate * alpha / rank * B A z

(LoRA, Hu et al., arXiv 2106.09685, equation 3; two adapters side by side as in LayerFlow, arXiv
2506.04228, section 3.3). A gate of 0 switches an adapter off for that sample; an adapter removed
leaves the network it was added to, to the bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiplane.core.config import from_table, to_table
from multiplane.io.atomic import replacing
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.weights_io import CONFIG, read_tensors, write_tensors

WEIGHTS = "adapter.safetensors"

# Layers of a block that take adapters, and the equal parts of their output; "frame" ones are of the
# frame layer behind the block.
PARTS = {"qkv": 3, "out": 1, "up": 2, "down": 1, "frame_qkv": 3, "frame_out": 1}


@dataclass(frozen=True)
class LoRAConfig:
    """rank: of each factor pair. alpha: its output counts alpha / rank. blocks: which blocks of the
    transformer have it; none named: all. layers: of a block, by name; the attention's by default,
    "up" and "down" are its hidden layer's, "frame_qkv" and "frame_out" the attention's over the
    frames. Raises ValueError."""

    rank: int = 8
    alpha: float = 8.0
    blocks: tuple[int, ...] = ()
    layers: tuple[str, ...] = ("qkv", "out")

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"the rank must be at least 1, got {self.rank}")
        if not self.layers:
            raise ValueError(f"an adapter needs a layer: name some of {', '.join(PARTS)}")
        if unknown := sorted(set(self.layers) - set(PARTS)):
            raise ValueError(f"no layer {unknown[0]!r}: a block has {', '.join(PARTS)}")


class LowRank(nn.Module):
    """`parts` factor pairs beside a linear layer whose output is that many equal parts (query, key
    and value of one matrix each have a pair of their own). Starts at 0: B is zero, A uniform as
    Kaiming with sqrt(5)."""

    def __init__(self, inner: int, outer: int, config: LoRAConfig, parts: int) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        downs = [nn.Linear(inner, config.rank, bias=False) for _ in range(parts)]
        ups = [nn.Linear(config.rank, outer // parts, bias=False) for _ in range(parts)]
        for down, up in zip(downs, ups, strict=True):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            nn.init.zeros_(up.weight)
        self.down, self.up = nn.ModuleList(downs), nn.ModuleList(ups)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inner) -> (..., outer)."""
        pairs = zip(self.down, self.up, strict=True)
        return self.scale * torch.cat([up(down(x)) for down, up in pairs], dim=-1)

    def product(self) -> Tensor:
        """(outer, inner): the matrix it stands for."""
        pairs = zip(self.down.parameters(), self.up.parameters(), strict=True)
        return self.scale * torch.cat([up @ down for down, up in pairs])


class AdaptedLinear(nn.Module):
    """A linear layer with adapters beside it. gates: the network's, (B,) or (1,) by name; an
    adapter without a gate counts in full."""

    def __init__(self, base: nn.Linear, gates: dict[str, Tensor]) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.gates = gates

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., inner) -> (B, ..., outer). Adapters without a gate go into the matrix, which
        costs less than a path of their own beside it."""
        weight, gated = self.base.weight, []
        for name, adapter in self.adapters.items():
            gate = self.gates.get(name)
            if gate is None:
                assert isinstance(adapter, LowRank)
                weight = weight + adapter.product()
            else:
                # frames lie in the batch, each sample's one after the other
                every = gate.to(x).repeat_interleave(len(x) // len(gate))
                gated.append(adapter(x) * every.view(-1, *[1] * (x.ndim - 1)))
        return sum(gated, F.linear(x, weight, self.base.bias))


def _place(network: LayeredTransformer, index: int, name: str) -> tuple[nn.Module, str]:
    """The module and its attribute that layer `name` of block `index` is. Raises ValueError where
    the network has no frame layers."""
    if not name.startswith("frame_"):
        return network.blocks[index], name
    if network.frames is None:
        raise ValueError(
            f"no layer {name!r}: this network has no frame layers; set frame_layers = true in its "
            f"[model], or name others of {', '.join(PARTS)}"
        )
    return network.frames.layers[index], name.removeprefix("frame_")


def _adapted(network: LayeredTransformer) -> Iterable[AdaptedLinear]:
    return (module for module in network.modules() if isinstance(module, AdaptedLinear))


def adapter_names(network: LayeredTransformer) -> list[str]:
    """Adapters of the network in the order they were added."""
    return list(dict.fromkeys(name for layer in _adapted(network) for name in layer.adapters))


def add_lora(network: LayeredTransformer, name: str, config: LoRAConfig) -> None:
    """Put a new adapter beside the chosen layers of the chosen blocks. Raises ValueError, and
    changes nothing, for a name taken or a block or layer that is not there."""
    if name in adapter_names(network):
        raise ValueError(f"the network has an adapter {name!r} already: remove_lora it first")
    blocks: Sequence[int] = config.blocks or range(len(network.blocks))
    if beyond := [index for index in blocks if not 0 <= index < len(network.blocks)]:
        raise ValueError(f"no block {beyond[0]}: the network has {len(network.blocks)}")
    places = [
        (*_place(network, index, layer), PARTS[layer])
        for index in blocks
        for layer in config.layers
    ]
    for owner, place, parts in places:
        layer = getattr(owner, place)
        if isinstance(layer, nn.Linear):
            layer = AdaptedLinear(layer, network.gates)
            setattr(owner, place, layer)
        inner, outer = layer.base.in_features, layer.base.out_features
        adapter = LowRank(inner, outer, config, parts)
        layer.adapters[name] = adapter.to(layer.base.weight.device)


def remove_lora(network: LayeredTransformer, name: str) -> None:
    """Take an adapter out; the last one leaves plain linear layers. Raises KeyError."""
    if name not in adapter_names(network):
        raise KeyError(f"no adapter {name!r}; the network has {adapter_names(network)}")
    network.gates.pop(name, None)
    for owner in [*network.modules()]:
        for place, layer in [*owner.named_children()]:
            if isinstance(layer, AdaptedLinear) and name in layer.adapters:
                del layer.adapters[name]
                if not layer.adapters:
                    setattr(owner, place, layer.base)


def set_gate(network: LayeredTransformer, name: str, gate: Tensor) -> None:
    """How much the adapter counts in each sample of the next batches: (B,), or (1,) for all of
    them; 0 off, 1 in full."""
    network.gates[name] = gate


def lora_state(network: LayeredTransformer, name: str) -> dict[str, Tensor]:
    """The adapter's tensors: `blocks.3.qkv.up.0.weight` ..."""
    inside = f".adapters.{name}."
    return {
        key.replace(inside, "."): value
        for key, value in network.state_dict().items()
        if inside in key
    }


def save_lora(network: LayeredTransformer, name: str, config: LoRAConfig, folder: Path) -> None:
    """Write the adapter with its rank and alpha, so that nobody has to guess its scale."""
    state = {
        key: value.detach().to("cpu").contiguous()
        for key, value in lora_state(network, name).items()
    }
    write_tensors(state, folder / WEIGHTS)
    with replacing(folder / CONFIG) as partial:
        partial.write_text(json.dumps(to_table(config), indent=2) + "\n", encoding="utf-8")


def load_lora(network: LayeredTransformer, name: str, folder: Path) -> None:
    """Add the adapter of a folder written by `save_lora`. Raises FileNotFoundError, or ValueError
    where it does not fit."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {CONFIG}: point at a folder of save_lora")
    config = from_table(LoRAConfig, json.loads(path.read_text(encoding="utf-8")), str(path))
    saved = read_tensors(folder / WEIGHTS)
    add_lora(network, name, config)
    own = lora_state(network, name)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in saved.items()}:
        remove_lora(network, name)
        raise ValueError(f"{folder} is an adapter of another network: its tensors do not fit")
    for key, value in own.items():
        value.copy_(saved[key])
