"""The matrix that a linear layer of a diffusers model multiplies by, user LoRAs included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class LinearWeight:
    """A layer's effective weight, not yet computed.

    base: the (out, in) matrix. additions: (up (out, r), down (r, in), scale) of each active
    adapter. sources: every tensor it is made of."""

    base: Tensor
    bias: Tensor | None
    additions: tuple[tuple[Tensor, Tensor, float], ...] = ()

    @property
    def sources(self) -> tuple[Tensor, ...]:
        factors = [each for up, down, _ in self.additions for each in (up, down)]
        return (self.base, *factors) if self.bias is None else (self.base, self.bias, *factors)

    def matrix(self) -> Tensor:
        """(out, in) float32 on the device of the base."""
        weight = self.base.float()
        for up, down, scale in self.additions:
            weight = weight + scale * (up.float() @ down.float()).to(weight.device)
        return weight

    def state(self) -> tuple[object, ...]:
        """Changes whenever the effective weight may have changed."""
        scales = [scale for _, _, scale in self.additions]
        return (*map(fingerprint, self.sources), *scales, self.base.dtype, self.base.device)


def fingerprint(tensor: Tensor) -> tuple[int, int]:
    """Changes whenever a tensor is replaced, moved, cast or written to. Cheap: it is asked of every
    weight at every call."""
    return (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)


def linear_weight(layer: nn.Module) -> LinearWeight | None:
    """What `layer` multiplies by; None when that is no plain matrix (quantised weights, DoRA and
    other adapters), so that the layer itself has to be called."""
    if type(layer) is nn.Linear:
        return LinearWeight(layer.weight, layer.bias) if _is_plain(layer.weight) else None
    base = getattr(layer, "base_layer", None)  # PEFT wraps the layer it adapts
    if type(base) is not nn.Linear or not _is_plain(base.weight):
        return None
    merged, disabled = (
        bool(getattr(layer, "merged", 0)),
        bool(getattr(layer, "disable_adapters", 0)),
    )
    if merged and disabled:  # the layer takes its adapters out when it is called
        return None
    if merged or disabled:
        return LinearWeight(base.weight, base.bias)
    additions = []
    for name in getattr(layer, "active_adapters", ()):
        if name not in getattr(layer, "lora_A", {}):
            continue
        factors = _factors(layer, name)
        if factors is None:
            return None
        additions.append(factors)
    return LinearWeight(base.weight, base.bias, tuple(additions))


def _is_plain(weight: Tensor) -> bool:
    """Whether the numbers are here to read: no meta tensor (offloaded), no packed integers."""
    return weight.is_floating_point() and not weight.is_meta


def _factors(layer: Any, adapter: str) -> tuple[Tensor, Tensor, float] | None:
    """(up, down, scale) of a plain LoRA; None for its variants (DoRA, with bias, ...)."""
    up, down = layer.lora_B[adapter], layer.lora_A[adapter]
    plain = type(up) is nn.Linear and type(down) is nn.Linear and up.bias is None
    if not plain or adapter in layer.lora_variant or not _is_plain(up.weight):
        return None
    return up.weight, down.weight, float(layer.scaling[adapter])
