"""Names of a Stable Diffusion UNet's tensors: LDM (single-file checkpoints) <-> diffusers, by rule.

Both families of the UNet have two layers a block and three or four blocks; inside a transformer
the names are the same. Pure text: no weights, no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

LAYERS = 2  # resnets in a down block; an up block has one more
PREFIXES = ("model.diffusion_model.", "diffusion_model.")

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE = {
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}

_LDM = re.compile(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)")
_LDM_MIDDLE = re.compile(r"middle_block\.([012])\.(.+)")
_DIFFUSERS = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)")
_DIFFUSERS_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_SAMPLER = re.compile(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv\.(.+)")


def without_prefix(key: str) -> str:
    """An LDM key without `diffusion_model.`, which files write in two ways or not at all."""
    for prefix in PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def to_diffusers(key: str) -> str | None:
    """The diffusers name of an LDM tensor (with or without its prefix); None when it is no tensor
    of a Stable Diffusion UNet."""
    key = without_prefix(key)
    module, _, kind = key.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{kind}"
    if found := _LDM_MIDDLE.fullmatch(key):
        part = _MIDDLE[found[1]]
        return _inside(f"mid_block.{part}", found[2])
    if not (found := _LDM.fullmatch(key)):
        return None
    side, index, slot, rest = found[1], int(found[2]), int(found[3]), found[4]
    if side == "input_blocks":
        block, layer = divmod(index - 1, LAYERS + 1)
        if rest.startswith("op."):
            return f"down_blocks.{block}.downsamplers.0.conv.{rest[3:]}"
        place = f"down_blocks.{block}"
    else:
        block, layer = divmod(index, LAYERS + 1)
        if rest.startswith("conv."):
            return f"up_blocks.{block}.upsamplers.0.conv.{rest[5:]}"
        place = f"up_blocks.{block}"
    if slot > 1:
        return None
    return _inside(f"{place}.{'resnets' if slot == 0 else 'attentions'}.{layer}", rest)


def _inside(module: str, rest: str) -> str | None:
    """The tensor `rest` of a resnet or transformer called `module`."""
    if ".attentions." in f"{module}.":
        return f"{module}.{rest}"
    name, _, kind = rest.rpartition(".")
    return f"{module}.{_RESNET[name]}.{kind}" if name in _RESNET else None


def to_ldm(key: str, attention: Iterable[bool]) -> str | None:
    """The LDM name (without prefix) of a diffusers tensor; None when it is no tensor of a Stable
    Diffusion UNet.

    attention: whether each down block has transformers, first to last ((True, True, True, False)
    in SD1.5, (False, True, True) in SDXL); the place of an upsampler depends on it."""
    has_attention = tuple(attention)
    module, _, kind = key.rpartition(".")
    for theirs, ours in _OUTSIDE.items():
        if ours == module:
            return f"{theirs}.{kind}"
    resnet = {ours: theirs for theirs, ours in _RESNET.items()}
    if found := _DIFFUSERS_MIDDLE.fullmatch(key):
        part = f"{found[1]}.{found[2]}"
        slot = next((slot for slot, name in _MIDDLE.items() if name == part), None)
        return None if slot is None else _outside(f"middle_block.{slot}", part, found[3], resnet)
    if found := _SAMPLER.fullmatch(key):
        side, block = found[1], int(found[2])
        if side == "down":
            return f"input_blocks.{(LAYERS + 1) * (block + 1)}.0.op.{found[3]}"
        slot = 2 if has_attention[len(has_attention) - 1 - block] else 1
        return f"output_blocks.{(LAYERS + 1) * block + LAYERS}.{slot}.conv.{found[3]}"
    if not (found := _DIFFUSERS.fullmatch(key)):
        return None
    side, block, part, layer = found[1], int(found[2]), found[3], int(found[4])
    index = (LAYERS + 1) * block + layer + (1 if side == "down" else 0)
    place = f"{'input' if side == 'down' else 'output'}_blocks.{index}"
    return _outside(f"{place}.{0 if part == 'resnets' else 1}", part, found[5], resnet)


def _outside(place: str, part: str, rest: str, resnet: Mapping[str, str]) -> str | None:
    if part.startswith("attentions"):
        return f"{place}.{rest}"
    name, _, kind = rest.rpartition(".")
    return f"{place}.{resnet[name]}.{kind}" if name in resnet else None


def rename_to_diffusers(tensors: Mapping[str, T]) -> tuple[dict[str, T], tuple[str, ...]]:
    """(the tensors under their diffusers names, the keys that name nothing in a UNet)."""
    names = {key: to_diffusers(key) for key in tensors}
    known = {name: tensors[key] for key, name in names.items() if name is not None}
    return known, tuple(key for key, name in names.items() if name is None)


_WORDS = (  # names with an underscore inside; every other underscore of a flat name is a dot
    *("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block"),
    *("transformer_blocks", "time_emb_proj", "time_embedding", "add_embedding", "time_embed"),
    *("label_emb", "in_layers", "out_layers", "emb_layers", "skip_connection", "conv_shortcut"),
    *("conv_norm_out", "conv_in", "conv_out", "proj_in", "proj_out"),
    *("to_out", "to_q", "to_k", "to_v", "linear_1", "linear_2"),
)
_FLAT = re.compile("|".join(_WORDS) + "|[a-z0-9]+")


def unflatten(flat: str) -> str:
    """A module's dotted name from its flat form, as kohya's LoRA files write it:
    `down_blocks_1_attentions_0_proj_in` -> `down_blocks.1.attentions.0.proj_in`."""
    return ".".join(_FLAT.findall(flat))


_SHARED = re.compile(
    r"(down_blocks|up_blocks|mid_block)\.(?:(\d+)\.)?attentions\.(\d+)"
    r"\.transformer_blocks\.(\d+)\.attn([12])"
)


def sharing_order(names: Iterable[str]) -> list[str]:
    """Attention modules of a UNet (diffusers names) as LayerDiffuse numbers them: all of the down
    blocks, all of the up blocks, then the middle; self attention before cross attention. Raises
    ValueError for a name that is no attention of a UNet."""
    sides = ("down_blocks", "up_blocks", "mid_block")

    def place(name: str) -> tuple[int, ...]:
        found = _SHARED.fullmatch(name)
        if found is None:
            raise ValueError(f"{name} is no attention of a Stable Diffusion UNet's transformers")
        numbers = (int(found[number] or 0) for number in range(2, 6))
        return (sides.index(found[1]), *numbers)

    return sorted(names, key=place)
