"""Merge a file's deltas into a UNet, so that it can be undone and switched at any step.

Both sets of the touched tensors stay in memory: the merged ones in the UNet, the originals beside
(as many bytes again: 1.9 GB for SDXL's attention, 3.6 GB for its whole body, 0.7 GB for its
convolutions, in half precision). Taking a delta off again by subtraction would not give the
original bits back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from multiplane.weights.layerdiffuse.deltas import IN_CONTENT, Delta, UNetDeltas
from multiplane.weights.layerdiffuse.files import LoadedWeights
from multiplane.weights.layerdiffuse.fit import base_of_deltas, base_of_unet, unet_tensors

log = logging.getLogger(__name__)

WEIGHT_RANGE = (0.0, 2.0)
FIRST = "conv_in.weight"


@dataclass(frozen=True)
class FitReport:
    """How a file fits a UNet. merged: tensors changed. unknown: keys that name nothing in the UNet.
    missing: tensors of the UNet that a file of this kind should change and this one does not."""

    file: str
    merged: int
    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.unknown and not self.missing

    def __str__(self) -> str:
        def some(keys: tuple[str, ...]) -> str:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            return ", ".join(keys[:3]) + more

        parts = [f"{self.file}: {self.merged} tensors merged"]
        if self.unknown:
            parts.append(f"{len(self.unknown)} keys fit nothing in the UNet ({some(self.unknown)})")
        if self.missing:
            parts.append(f"{len(self.missing)} expected ones are missing ({some(self.missing)})")
        return "; ".join(parts)


class UNetMerge:
    """A merge that is in the UNet, and what was there before. Made by `merge`."""

    def __init__(self, unet: nn.Module, others: dict[str, Tensor], report: FitReport) -> None:
        self.unet = unet
        self.report = report
        self.merged = True
        # Of each touched tensor the one that is not in the UNet. By name: offloading and its end
        # make new parameters.
        self._others = others

    @property
    def bytes(self) -> int:
        """Memory that the other set of tensors takes."""
        return sum(each.nbytes for each in self._others.values())

    def switch(self, merged: bool) -> None:
        """Put the merged or the original tensors into the UNet: pointers change, nothing is copied
        while both are on one device and of one type."""
        if merged == self.merged:
            return
        with writable(self.unet):
            tensors = unet_tensors(self.unet)
            for name, other in self._others.items():
                parameter = tensors[name]
                self._others[name] = parameter.data
                parameter.data = other.to(parameter.data)
        _follow_input_channels(self.unet)
        self.merged = merged

    @contextmanager
    def original(self) -> Iterator[None]:
        """The UNet as it was before the merge, for as long as the block runs."""
        before = self.merged
        self.switch(False)
        try:
            yield
        finally:
            self.switch(before)

    def remove(self) -> None:
        """Give the UNet its own tensors back and forget the merged ones."""
        self.switch(False)
        self._others = {}


@contextmanager
def writable(unet: nn.Module) -> Iterator[None]:
    """The UNet's tensors in memory for as long as the block runs, where sequential offloading
    (accelerate's `cpu_offload`) leaves empty ones in the modules; afterwards offloaded again.
    Nothing is copied. A UNet that is not offloaded in this way is left alone."""
    hooks: list[Any] = [getattr(module, "_hf_hook", None) for module in unet.modules()]
    offloading = [hook for hook in hooks if getattr(hook, "offload", False)]
    if not offloading:
        yield
        return
    from accelerate import cpu_offload
    from accelerate.hooks import remove_hook_from_module

    remove_hook_from_module(unet, recurse=True)
    try:
        yield
    finally:
        cpu_offload(unet, offloading[0].execution_device)


def merge(unet: nn.Module, weights: LoadedWeights, weight: float = 1.0) -> UNetMerge:
    """Add `weight` times the file's deltas to the UNet's tensors; conv_in grows to the file's input
    channels, the new ones starting from zero.

    weight: 0 to 2, the same for all. What the file holds too much or too little against our table
    is in the report and logged. Raises ValueError, before anything has changed, when the file is no
    change of a UNet, when a tensor does not fit, or when the weight is out of range."""
    if not isinstance(weights.content, UNetDeltas):
        raise ValueError(
            f"{weights.name} is no change of a UNet's own weights: attention-sharing files go into "
            "AttentionSharing.from_published, encoder and decoder into the transparent autoencoder"
        )
    low, high = WEIGHT_RANGE
    if not low <= weight <= high:
        raise ValueError(f"the weight of {weights.name} must be from {low} to {high}, got {weight}")
    with writable(unet):
        tensors = unet_tensors(unet)
        report = check_fit(unet, weights)
        merged = {
            name: _added(tensors[name].data, delta, weight)
            for name, delta in weights.content.deltas.items()
            if name in tensors
        }
        others = {name: tensors[name].data for name in merged}
        for name, tensor in merged.items():
            tensors[name].data = tensor
    _follow_input_channels(unet)
    if not report.complete:
        log.warning("%s", report)
    return UNetMerge(unet, others, report)


def _added(base: Tensor, delta: Delta, weight: float) -> Tensor:
    """base + weight * delta in float32, as base's type; input channels padded with zeros."""
    change = delta.full(base.device)
    wide = base.float()
    if change.shape[1:2] != base.shape[1:2]:
        wide = F.pad(wide, (0, 0, 0, 0, 0, change.shape[1] - base.shape[1]))
    return (wide + weight * change).to(base.dtype)


def check_fit(unet: nn.Module, weights: LoadedWeights) -> FitReport:
    """How the deltas fit; nothing is changed. Raises ValueError for a tensor of another shape, or a
    file for another base model."""
    content = weights.content
    if not isinstance(content, UNetDeltas):
        raise ValueError(f"{weights.name} holds no deltas of a UNet")
    tensors = unet_tensors(unet)
    unknown = tuple(name for name in content.deltas if name not in tensors)
    here, there = base_of_unet(unet), base_of_deltas(content)
    problem = ""
    for name, delta in content.deltas.items():
        if name in tensors and not _fits(name, delta.shape, tuple(tensors[name].shape)):
            shape = tuple(tensors[name].shape)
            problem = f"{name} is {shape} here and {delta.shape} in the file"
            break
    if not problem and unknown and there.blocks != here.blocks:
        problem = f"{unknown[0]} is not there"
    if not problem and len(unknown) == len(content.deltas):
        problem = "none of its tensors is there"
    if problem:
        raise ValueError(
            f"{weights.name} is for {there}; the UNet given is {here}: {problem}. Use "
            f"the base model that the file was made for, or a file made for {here.name}"
        )
    for name in content.deltas:
        _check_writable(weights.name, name, tensors.get(name))
    kind = weights.published.content if weights.published else content.content
    belongs = IN_CONTENT.get(kind, lambda key: False)
    missing = tuple(key for key in tensors if belongs(key) and key not in content.deltas)
    merged = len(content.deltas) - len(unknown)
    return FitReport(weights.name, merged, (*content.unknown, *unknown), missing)


def _fits(name: str, delta: tuple[int, ...], tensor: tuple[int, ...]) -> bool:
    if name == FIRST and len(delta) == 4:  # may have more input channels than the UNet
        return delta[1] >= tensor[1] and (delta[0], *delta[2:]) == (tensor[0], *tensor[2:])
    return delta == tensor


def _check_writable(file: str, name: str, tensor: Tensor | None) -> None:
    if tensor is not None and (tensor.is_meta or not tensor.is_floating_point()):
        state = "not loaded (offloaded, or on the meta device)" if tensor.is_meta else "quantised"
        raise ValueError(
            f"{file} cannot be merged: {name} of the UNet is {state}; merge before the UNet is "
            "offloaded or quantised"
        )


def _follow_input_channels(unet: nn.Module) -> None:
    """Make conv_in and the UNet's config say what conv_in's weight takes."""
    first: Any = unet.get_submodule("conv_in")
    first = getattr(first, "base_layer", first)
    channels = first.weight.shape[1]
    if first.in_channels != channels:
        first.in_channels = channels
        unet.register_to_config(in_channels=channels)  # pyright: ignore[reportCallIssue]
