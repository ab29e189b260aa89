"""The two networks of latent transparency from their published files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_vae import CONVENTIONS
from multiplane.models.weights_io import CONFIG
from multiplane.weights.layerdiffuse.files import TransparencyTensors, load_weights


def load_encoder(source: str | Path, convention: str | None = None) -> OffsetEncoder:
    """The offset encoder that `source` names: a folder with its config, or a file, sized by its
    tensors.

    convention: how it is used (`CONVENTIONS`); None: as the folder's config says, by the file's
    name where it is a published one, else as the Flux port (16 latent channels) or the diffusers
    release. Raises ValueError, FileNotFoundError."""
    if convention is not None and convention not in CONVENTIONS:
        raise ValueError(
            f"the convention of an encoder is one of {', '.join(CONVENTIONS)}, got {convention!r}"
        )
    if _has_config(source):
        encoder = OffsetEncoder.from_pretrained(Path(source).expanduser())
        if convention is not None:
            encoder.register_to_config(**asdict(CONVENTIONS[convention]))
        return encoder.eval().requires_grad_(False)
    content = _read(source, "encoder")
    weights = [content[key] for key in _in_order(content)]
    if convention is None:
        convention = _convention_of(source, latent_channels=weights[-1].shape[0])
    # Two convolutions a resolution, then the last one.
    widths = [weight.shape[0] for weight in weights[:-1:2]]
    with torch.device("meta"):
        encoder = OffsetEncoder(widths, weights[-1].shape[0], **asdict(CONVENTIONS[convention]))
    encoder.load_state_dict(content, assign=True)
    return encoder.eval().requires_grad_(False)


def load_decoder(source: str | Path) -> TransparencyDecoder:
    """The transparency decoder that `source` names: a folder with its config, or a file, sized by
    its tensors. Raises ValueError, FileNotFoundError."""
    if _has_config(source):
        decoder = TransparencyDecoder.from_pretrained(Path(source).expanduser())
        return decoder.eval().requires_grad_(False)
    content = _read(source, "decoder")
    levels = _count(content, r"down_blocks\.(\d+)\.")
    widths = [
        content[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)
    ]
    attends = {
        key.split(".")[1] for key in content if re.match(r"down_blocks\.\d+\.attentions", key)
    }
    with torch.device("meta"):
        decoder = TransparencyDecoder(
            widths,
            layers_per_block=_count(content, r"down_blocks\.0\.resnets\.(\d+)\."),
            attention_levels=len(attends),
            latent_channels=content["latent_conv_in.weight"].shape[1],
        )
    decoder.load_state_dict(content, assign=True)
    return decoder.eval().requires_grad_(False)


def _has_config(source: str | Path) -> bool:
    """Whether it is a folder that `save_pretrained` wrote, as training does: its config knows what
    tensors do not show, such as the scale of the offset."""
    return (Path(source).expanduser() / CONFIG).is_file()


def _read(source: str | Path, part: Literal["encoder", "decoder"]) -> Mapping[str, Tensor]:
    loaded = load_weights(source)
    content = loaded.content
    if not isinstance(content, TransparencyTensors) or content.part != part:
        raise ValueError(f"{loaded.name} is no transparency {part}")
    return content.tensors


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    keys = [key for key in tensors if key.endswith(".weight")]
    return sorted(keys, key=lambda key: int(key.split(".")[1]))


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    found = [int(match[1]) for key in tensors if (match := re.match(pattern, key))]
    if not found:
        raise ValueError(f"the transparency decoder's file is not whole: nothing like {pattern}")
    return 1 + max(found)


def _convention_of(source: str | Path, latent_channels: int) -> str:
    """By the published table: a multiplier of 1 is the web interface's."""
    published = load_weights(source).published
    if published is not None and published.multiplier == 1.0:
        return "webui"
    return "flux" if latent_channels == 16 else "diffusers"
