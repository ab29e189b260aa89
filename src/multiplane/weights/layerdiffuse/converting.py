"""Write a published LayerDiffuse file in a standard form.

LoRA files become a PEFT LoRA that diffusers' `load_lora_weights` reads; offsets become offsets
under diffusers' names; a pickled autoencoder becomes two safetensors files.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiplane.models.weights_io import write_tensors
from multiplane.weights.layerdiffuse.deltas import FullDelta, LowRankDelta, UNetDeltas
from multiplane.weights.layerdiffuse.files import (
    PICKLED,
    SUFFIX,
    SharingTensors,
    load_weights,
)

PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class Converted:
    """files: what was written. notes: what a reader must know, a sentence each."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def convert_weights(source: Path, target: Path) -> Converted:
    """Write `source` to `target` (.safetensors). Pickled files are read here and nowhere else, with
    `weights_only=True`.

    Raises FileNotFoundError; ValueError for a target of another kind, or a file that has no other
    standard form."""
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    if target.suffix.lower() != SUFFIX:
        raise ValueError(f"weights are written as {SUFFIX}, not as {target.name}")
    if source.suffix.lower() in PICKLED:
        return _split_autoencoder(source, target)
    weights = load_weights(source)
    content = weights.content
    if isinstance(content, UNetDeltas):
        return _write_deltas(content, target)
    if isinstance(content, SharingTensors):
        raise ValueError(
            f"{source.name} holds attention sharing, which is no LoRA: it adds attention across "
            "the layers. It is used as it is, there is nothing to convert"
        )
    raise ValueError(
        f"{source.name} is a transparency {content.part} under its standard names: it is used as "
        "it is, there is nothing to convert"
    )


def _write_deltas(content: UNetDeltas, target: Path) -> Converted:
    notes = []
    if content.unknown:
        shown = ", ".join(content.unknown[:3])
        notes.append(f"{len(content.unknown)} keys are of no UNet and were left out ({shown})")
    if content.is_lora:
        tensors = lora_tensors(content)
    else:
        tensors = _offset_tensors(content)
        notes.append(
            "this file is not a LoRA, its offsets have full rank: they were written whole, under "
            "diffusers' names, to be added to the UNet's tensors"
        )
    write_tensors(tensors, target)
    return Converted((target,), tuple(notes))


def lora_tensors(content: UNetDeltas, prefix: str = "unet.") -> dict[str, Tensor]:
    """`unet.<module>.lora_A.weight` (rank, in) and `lora_B.weight` (out, rank), as diffusers and
    PEFT read them. A scale other than 1 goes into lora_B, so that no alpha is needed. Raises
    ValueError for offsets."""
    tensors: dict[str, Tensor] = {}
    for name, delta in content.deltas.items():
        if not isinstance(delta, LowRankDelta):
            raise ValueError(f"{name} has full rank: it is no part of a LoRA")
        module = f"{prefix}{name.removesuffix('.weight')}"
        up = delta.up if delta.scale == 1.0 else (delta.up.float() * delta.scale).to(delta.up.dtype)
        tensors[f"{module}.lora_A.weight"] = delta.down.contiguous()
        tensors[f"{module}.lora_B.weight"] = up.contiguous()
    return tensors


def _offset_tensors(content: UNetDeltas) -> dict[str, Tensor]:
    """Each tensor's whole delta; low-rank ones among them are multiplied out."""
    tensors = {}
    for name, delta in content.deltas.items():
        if isinstance(delta, FullDelta):
            tensors[name] = delta.tensor.contiguous()
        else:
            tensors[name] = delta.full(delta.up.device).to(delta.up.dtype)
    return tensors


def _split_autoencoder(source: Path, target: Path) -> Converted:
    """`encoder.*` and `decoder.*` of a pickled transparent autoencoder, as the Flux port ships it,
    each into a file of its own; `sd_vae.*` is the base model's and is left out."""
    tensors = _unpickled(source)
    files, notes = [], []
    found = {part: f"{part}." for part in PARTS}
    if not any(key.startswith(tuple(found.values())) for key in tensors):
        shown = ", ".join(list(tensors)[:3]) or "nothing"
        raise ValueError(
            f"{source.name} holds neither encoder.* nor decoder.* (its keys: {shown}, ...): only "
            "the transparent autoencoder of a LayerDiffuse port is converted from a pickled file"
        )
    for part, start in found.items():
        inside = {
            key.removeprefix(start): each.contiguous()
            for key, each in tensors.items()
            if key.startswith(start)
        }
        if inside:
            path = target.with_name(f"{target.stem}_{part}{SUFFIX}")
            write_tensors(inside, path)
            files.append(path)
    rest = sorted({key.partition(".")[0] for key in tensors} - set(PARTS))
    if rest:
        notes.append(f"{', '.join(rest)} belong to the base model's own VAE and were left out")
    return Converted(tuple(files), tuple(notes))


def _unpickled(source: Path) -> Mapping[str, Tensor]:
    """A pickled state dict, read without running what is in it."""
    try:
        stored: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{source.name} cannot be read as plain weights ({str(error).splitlines()[0]}): it is "
            "damaged, or holds code, which is never run"
        ) from error
    stored = stored.get("state_dict", stored) if isinstance(stored, Mapping) else {}
    return {key: value for key, value in stored.items() if isinstance(value, Tensor)}
