"""ControlNets beside LayerDiffuse: they steer the streams whose plane has a control picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from torch import Tensor

from multiplane.pipelines.layerdiffuse.text import Branch


@dataclass(frozen=True)
class ControlArguments:
    """How ControlNets are used, each number one or a list of one a net, as diffusers has them.

    scale: of the residuals. start, end: part of the steps it acts in."""

    scale: float | Sequence[float] = 1.0
    start: float | Sequence[float] = 0.0
    end: float | Sequence[float] = 1.0

    def per_net(self, count: int) -> list[tuple[float, float, float]]:
        """(scale, start, end) of each net. Raises ValueError for lists of another length, or a
        start that is not before the end."""
        columns = []
        for name, value in (("scale", self.scale), ("start", self.start), ("end", self.end)):
            row = list(value) if isinstance(value, Sequence) else [value] * count
            if len(row) != count:
                raise ValueError(f"{len(row)} values of control {name} for {count} ControlNets")
            columns.append(row)
        rows = list(zip(*columns, strict=True))
        for _, start, end in rows:
            if not 0.0 <= start < end <= 1.0:
                raise ValueError(f"control runs from {start} to {end}: give 0 <= start < end <= 1")
        return rows


@dataclass(frozen=True)
class ControlGuide:
    """net: a diffusers ControlNetModel or MultiControlNetModel. images: one (N, 3, H, W) in [0, 1]
    a net, zeros for streams it does not steer. steered: (N,) 1 for streams that are steered.
    rows: (scale, start, end) of each net."""

    net: Any
    images: Sequence[Tensor]
    steered: Tensor
    rows: Sequence[tuple[float, float, float]]

    def residuals(
        self, noisy: Tensor, time: Tensor, branch: Branch, span: tuple[float, float]
    ) -> dict[str, Any]:
        """What the UNet adds to its skips and its middle, by its argument names.

        noisy: (k N, 4, h, w) scaled latents for k halves of guidance. span: where in the run the
        step begins and ends, 0..1."""
        scales = [
            scale if start <= span[0] and span[1] <= end else 0.0 for scale, start, end in self.rows
        ]
        if not any(scales):
            return {}
        halves = noisy.shape[0] // self.steered.shape[0]
        images = [torch.cat([image] * halves) for image in self.images]
        several = isinstance(self.net, MultiControlNetModel)
        added = {key: value for key, value in branch.added.items() if key != "image_embeds"}
        down, middle = self.net(
            noisy,
            time,
            encoder_hidden_states=branch.embeds,
            controlnet_cond=images if several else images[0],
            conditioning_scale=scales if several else scales[0],
            added_cond_kwargs=added or None,
            return_dict=False,
        )
        mask = torch.cat([self.steered] * halves).to(middle).view(-1, 1, 1, 1)
        return {
            "down_block_additional_residuals": [one * mask for one in down],
            "mid_block_additional_residual": middle * mask,
        }


def nets_in(net: Any) -> int:
    """How many ControlNets there are."""
    return len(net.nets) if isinstance(net, MultiControlNetModel) else 1


def per_plane(images: Any, streams: Sequence[str]) -> Mapping[str, Any]:
    """Control pictures by the plane they steer; a picture without a plane steers the first stream.

    Raises ValueError for a plane that is not made."""
    named = images if isinstance(images, Mapping) else {streams[0]: images}
    for plane in named:
        if plane not in streams:
            raise ValueError(
                f"a control picture steers {plane!r}, which this mode does not make: it makes "
                f"{', '.join(streams)}"
            )
    return named
