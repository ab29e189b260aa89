"""The weights of an attention-sharing unit, merged once for inference.

Each stream's projections become one matrix W + up @ down, and those that read the same states are
put side by side. In the temporal part everything before its softmax is linear in the normalised
states, so the norm's gain and bias and `temporal_i` go into the query, key and value matrices; with
one stream the softmax is over one element and the whole part is a single matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiplane.models.linear_weights import LinearWeight, fingerprint, linear_weight

if TYPE_CHECKING:
    from multiplane.models.attention_sharing import Projections, SharedAttention

_SOURCES = ("to_q", "to_k", "to_v", "to_out")


@dataclass(frozen=True, eq=False)
class MergedUnit:
    """Matrices are stored (in, out), streams first.

    first: (f, C, 3 C) query, key, value of a self attention, or (f, C, C) the query of a cross
    attention. text: (f, Cc, 2 C) its key and value, else None. out (f, C, C), out_bias (C,).
    before (C, 3 C), before_bias: query, key, value of the temporal part, from normalised states;
    (C, C) the whole part when `after` is None. after (C, C), after_bias: its output."""

    first: Tensor
    text: Tensor | None
    out: Tensor
    out_bias: Tensor
    before: Tensor
    before_bias: Tensor
    after: Tensor | None
    after_bias: Tensor | None

    def weights(self, name: str) -> Tensor:
        """One projection's matrices (f, in, out); "text" for key and value side by side."""
        width = self.out.shape[-1]
        if name == "to_out":
            return self.out
        if self.text is None:
            place = _SOURCES.index(name)
            return self.first[..., place * width : (place + 1) * width]
        if name == "text":
            return self.text
        if name == "to_q":
            return self.first
        return self.text[..., :width] if name == "to_k" else self.text[..., width:]

    def across(self, normal: Tensor, heads: int) -> Tensor:
        """The temporal part's output (f, places, C) from layer-normalised states (no gain)."""
        from multiplane.models.attention_sharing import across_streams

        flat = torch.addmm(self.before_bias, normal.flatten(0, 1), self.before)
        if self.after is None or self.after_bias is None:
            return flat.view_as(normal)
        states = flat.view(*normal.shape[:2], -1)
        q, k, v = states.chunk(3, dim=-1)
        attended = across_streams(q, k, v, heads)
        return torch.addmm(self.after_bias, attended.flatten(0, 1), self.after).view_as(normal)


def _layers(attention: Projections) -> list[LinearWeight] | None:
    found = [linear_weight(getattr(attention, name)) for name in _SOURCES]
    layers = [each for each in found if each is not None]
    plain = len(layers) == len(found) and all(each.bias is None for each in layers[:3])
    return layers if plain else None


def _dtype(weight: Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def unit_state(unit: SharedAttention, attention: Projections) -> tuple[object, ...] | None:
    """Equal as long as merged weights stay right; None when they cannot be merged (a frozen layer
    has no plain matrix here)."""
    layers = _layers(attention)
    if layers is None:
        return None
    own = [fingerprint(holder[name]) for holder, name in unit.holders]
    return (*own, _dtype(layers[0].base), *(each.state() for each in layers))


@torch.no_grad()
def merge_unit(unit: SharedAttention, attention: Projections) -> MergedUnit:
    """Merge in float32; kept in the dtype and on the device of the frozen weights."""
    layers = _layers(attention)
    if layers is None:
        raise ValueError("this attention has no plain weights to merge: call its layers instead")
    base = layers[0].base
    place, dtype = base.device, _dtype(base)

    def streams(name: str) -> Tensor:
        """(f, in, out) float32."""
        frozen = layers[_SOURCES.index(name)].matrix()
        factors = unit.get_submodule(f"{name}_lora").children()
        changed = [
            frozen
            + each.get_parameter("up.weight").to(place).float()
            @ each.get_parameter("down.weight").to(place).float()
            for each in factors
        ]
        return torch.stack(changed).transpose(1, 2)

    q, k, v, out = (streams(name) for name in _SOURCES)
    crosses = unit.config.context is not None
    bias = layers[3].bias
    before, before_bias, after, after_bias = _temporal(unit, place)

    def keep(x: Tensor) -> Tensor:
        return x.to(place, dtype).contiguous()

    return MergedUnit(
        first=keep(q if crosses else torch.cat([q, k, v], dim=-1)),
        text=keep(torch.cat([k, v], dim=-1)) if crosses else None,
        out=keep(out),
        out_bias=keep(out.new_zeros(out.shape[-1]) if bias is None else bias),
        before=keep(before),
        before_bias=keep(before_bias),
        after=None if after is None else keep(after),
        after_bias=None if after_bias is None else keep(after_bias),
    )


def _temporal(
    unit: SharedAttention, place: torch.device
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """(before, before_bias, after, after_bias) of `MergedUnit`, float32.

    Products are taken in float64: three matrices deep, float32 sums would show. Apple's devices
    have none, so there they are taken on the CPU."""
    exact = torch.device("cpu") if place.type == "mps" else place

    def get(name: str) -> Tensor:
        return unit.get_parameter(f"temporal_{name}").to(exact).double()

    def with_input(name: str) -> tuple[Tensor, Tensor]:
        """`temporal_<name>` after `temporal_i` after the norm's gain and bias."""
        weight = get(f"{name}.weight") @ get("i.weight")
        bias = get(f"{name}.weight") @ get("i.bias") + get(f"{name}.bias")
        return weight * get("n.weight"), bias + weight @ get("n.bias")

    if unit.config.frames == 1:
        weight, bias = with_input("v")
        whole = get("o.weight") @ weight
        return whole.T.float(), (get("o.weight") @ bias + get("o.bias")).float(), None, None
    parts = [with_input(name) for name in "qkv"]
    before = torch.cat([weight for weight, _ in parts]).T.float()
    before_bias = torch.cat([bias for _, bias in parts]).float()
    return before, before_bias, get("o.weight").T.float(), get("o.bias").float()
