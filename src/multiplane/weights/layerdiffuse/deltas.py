"""What a file adds to a UNet's tensors, whatever names it was written under."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multiplane.models.unet_keys import rename_to_diffusers, to_diffusers, to_ldm, unflatten
from multiplane.weights.layerdiffuse.published import Content

Format = Literal["forge", "offsets", "lora"]


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """scale * up (out, r) @ down (r, in); of a convolution, with its kernel's axes."""

    up: Tensor
    down: Tensor
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.shape[0], *self.down.shape[1:])

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def full(self, device: torch.device) -> Tensor:
        """The whole delta, float32."""
        up, down = self.up.to(device).float().flatten(1), self.down.to(device).float().flatten(1)
        return (self.scale * (up @ down)).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class FullDelta:
    """A delta of the tensor's own shape."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def full(self, device: torch.device) -> Tensor:
        """The whole delta, float32."""
        return self.tensor.to(device).float()


Delta = LowRankDelta | FullDelta


@dataclass(frozen=True, eq=False)
class UNetDeltas:
    """deltas: by diffusers name. unknown: keys of the file that name nothing in a UNet."""

    format: Format
    deltas: Mapping[str, Delta]
    unknown: tuple[str, ...] = ()

    @property
    def is_lora(self) -> bool:
        return all(isinstance(each, LowRankDelta) for each in self.deltas.values())

    @property
    def content(self) -> Content:
        """Which kind of published file these tensors look like."""
        if any(IN_CONTENT["attention"](key) and ".to_q." in key for key in self.deltas):
            return "attention"
        attends = any(".attentions." in key for key in self.deltas)
        return "body" if attends else "convolutions"

    @property
    def input_channels(self) -> int | None:
        """Channels of the UNet's input that the file asks for; None when it does not touch it."""
        first = self.deltas.get("conv_in.weight")
        return None if first is None else first.shape[1]


_PROJECTION = re.compile(r".+\.attn[12]\.to_(q|k|v|out\.0)\.weight")
_FROZEN = re.compile(r".+\.attn[12]\.to_[qkv]\.weight|(time|add)_embedding\..+")
_CONVOLUTION = re.compile(r".+\.(resnets|downsamplers|upsamplers)\..+|conv_(in|norm_out|out)\..+")

# Whether a tensor of the UNet (diffusers name) belongs to a kind of file.
IN_CONTENT: dict[Content, Callable[[str], bool]] = {
    "attention": lambda key: _PROJECTION.fullmatch(key) is not None,
    "body": lambda key: _FROZEN.fullmatch(key) is None,
    "convolutions": lambda key: _CONVOLUTION.fullmatch(key) is not None,
}


_FORGE = re.compile(r"(.+)::(\w+)::(\d+)")


def is_forge(key: str) -> bool:
    return _FORGE.fullmatch(key) is not None


def forge_deltas(tensors: Mapping[str, Tensor]) -> UNetDeltas:
    """`diffusion_model.<LDM key>::lora::0` (up), `::lora::1` (down) or `::diff::0`."""
    parts: dict[tuple[str, str], dict[int, str]] = {}
    unknown: list[str] = []
    for key in tensors:
        if (found := _FORGE.fullmatch(key)) is None:
            unknown.append(key)
        else:
            parts.setdefault((found[1], found[2]), {})[int(found[3])] = key
    deltas: dict[str, Delta] = {}
    for (key, kind), places in parts.items():
        name = to_diffusers(key)
        if name is not None and kind == "lora" and set(places) == {0, 1}:
            deltas[name] = LowRankDelta(tensors[places[0]], tensors[places[1]])
        elif name is not None and kind == "diff" and set(places) == {0}:
            deltas[name] = FullDelta(tensors[places[0]])
        else:
            unknown.extend(places.values())
    return UNetDeltas("forge", deltas, tuple(unknown))


def to_forge(offsets: Mapping[str, Tensor], attention: Sequence[bool]) -> dict[str, Tensor]:
    """Whole offsets by diffusers names under the keys that `forge_deltas` reads.

    attention: see `to_ldm`. Raises ValueError for a name that is no tensor of a UNet."""
    named = {}
    for name, offset in offsets.items():
        ldm = to_ldm(name, attention)
        if ldm is None:
            raise ValueError(f"{name} has no name in published files: it is no tensor of a UNet")
        named[f"diffusion_model.{ldm}::diff::0"] = offset
    return named


_UNET = re.compile(
    r"(conv_in|conv_out|conv_norm_out|(down|up)_blocks\.\d+|mid_block|\w+_embedding)\..+"
)


def is_offset(key: str) -> bool:
    """Whether a key is a diffusers UNet tensor's own name, with `unet.` before it or not."""
    return _UNET.fullmatch(key.removeprefix("unet.")) is not None


def offset_deltas(tensors: Mapping[str, Tensor]) -> UNetDeltas:
    """Whole offsets under diffusers names, or under LDM names."""
    named = {
        key.removeprefix("unet."): FullDelta(each)
        for key, each in tensors.items()
        if is_offset(key)
    }
    others = {key: FullDelta(each) for key, each in tensors.items() if not is_offset(key)}
    renamed, unknown = rename_to_diffusers(others)
    return UNetDeltas("offsets", {**named, **renamed}, unknown)


_LORA = re.compile(
    r"(?P<module>.+?)(?:"
    r"\.lora_A(?:\.\w+)?\.weight|\.lora_B(?:\.\w+)?\.weight|"
    r"[._]lora[._](?:down|up)\.weight|\.alpha)"
)
_DOWN = re.compile(r"lora_A(\.\w+)?\.weight$|lora[._]down\.weight$")
_PREFIX = re.compile(r"^(base_model\.model\.)?(unet\.)?")


def is_lora(key: str) -> bool:
    return _LORA.fullmatch(key) is not None


def lora_deltas(tensors: Mapping[str, Tensor], alpha: float | None = None) -> UNetDeltas:
    """LoRA files of PEFT (`lora_A`, `lora_B`), diffusers (`lora.down`, `lora.up`) and kohya
    (`lora_unet_*`).

    alpha: for layers without one of their own; None: their rank, so that the scale is 1."""
    found: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for key in tensors:
        match = _LORA.fullmatch(key)
        module = None if match is None else _module(match["module"])
        if module is None:
            unknown.append(key)
            continue
        part = "alpha" if key.endswith(".alpha") else "down" if _DOWN.search(key) else "up"
        found.setdefault(module, {})[part] = key
    deltas: dict[str, Delta] = {}
    for module, keys in found.items():
        if "up" not in keys or "down" not in keys:
            unknown.extend(keys.values())
            continue
        down = tensors[keys["down"]]
        own = float(tensors[keys["alpha"]]) if "alpha" in keys else alpha
        scale = 1.0 if own is None else own / down.shape[0]
        deltas[f"{module}.weight"] = LowRankDelta(tensors[keys["up"]], down, scale)
    return UNetDeltas("lora", deltas, tuple(unknown))


def _module(name: str) -> str | None:
    """The diffusers module that a LoRA's key names; None when it is none of a UNet."""
    if name.startswith("lora_unet_"):
        name = unflatten(name.removeprefix("lora_unet_"))
    name = _PREFIX.sub("", name).replace(".processor.", ".")
    name = name.removesuffix("_lora")
    name = f"{name}.0" if name.endswith(".to_out") else name
    if not is_offset(f"{name}.weight"):
        known = to_diffusers(f"{name}.weight")
        return None if known is None else known.removesuffix(".weight")
    return name
