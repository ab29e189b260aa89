"""Scenes as Text2Layer's triplets (F, B, m) with their captions, from the scene feed.

F holds colour where m > 0.1 and nothing elsewhere (section III-C of arXiv 2307.09781); "nothing" is
mid grey here, 0 in [-1, 1], the value that pulls a soft edge least. Differs from the paper in the
source of the colours: the scenes' own instead of a photograph's pixels, so no background shines
through F at soft edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multiplane.models.cat2i_autoencoder import TwoLayers
from multiplane.models.planes import from_model, to_model, unpremultiply
from multiplane.training.losses import psnr
from multiplane.training.pools import Prompts
from multiplane.training.scenes import SceneFeed

SHOWN_FROM = 0.1
BUSY = 0.5
# (foreground, background, composite) premultiplied in [0, 1], generator -> foreground, background
Fault = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def two_layers(foreground: Tensor, background: Tensor) -> TwoLayers:
    """(B, 4, H, W) premultiplied in [0, 1], the background opaque -> F, B, I in [-1, 1] and m; I is
    the exact composite."""
    mask = foreground[:, 3:]
    straight = unpremultiply(foreground)[:, :3]
    color = torch.where(mask > SHOWN_FROM, to_model(straight), torch.zeros_like(straight))
    behind = background[:, :3]
    image = foreground[:, :3] + (1 - mask) * behind
    return TwoLayers(color, to_model(behind), mask, to_model(image))


@dataclass(frozen=True)
class TwoLayerBatch:
    """layers: with their image. captions: "a red apple in a misty valley"."""

    layers: TwoLayers
    captions: list[str]


def draw_two_layers(
    feed: SceneFeed,
    prompts: Prompts | None,
    count: int,
    generator: torch.Generator,
    fault: Fault | None = None,
) -> TwoLayerBatch:
    """`count` scenes; half of the backgrounds hold other objects already. One caption says the
    whole scene; without prompts all are empty. fault: what spoils some of them."""
    scenes = feed.scenes(count, BUSY, generator)
    foreground, background = scenes.foreground.clamp(0, 1), scenes.background.clamp(0, 1)
    if fault is not None:
        foreground, background = fault(foreground, background, generator)
    captions = [""] * count
    if prompts is not None:
        rows = zip(
            scenes.foreground_prompt.tolist(), scenes.background_prompt.tolist(), strict=True
        )
        captions = [f"{prompts.texts[front]} in {prompts.texts[back]}" for front, back in rows]
    return TwoLayerBatch(two_layers(foreground, background), captions)


def mask_iou(made: Tensor, true: Tensor, threshold: float = 0.5) -> float:
    """Mean over (B, 1, H, W) masks of intersection over union at `threshold`; 0 where both are
    empty."""
    a, b = made >= threshold, true >= threshold
    union = (a | b).flatten(1).sum(dim=1)
    both = (a & b).flatten(1).sum(dim=1)
    return float((both / union.clamp(min=1)).mean())


def layer_figures(made: TwoLayers, true: TwoLayers) -> dict[str, float]:
    """How well planes came back: PSNR in dB over all pixels (the foreground's over those with
    m > 0.1), mask error and IoU."""
    held = (true.mask > SHOWN_FROM).expand_as(true.foreground)
    return {
        "foreground psnr": psnr(
            from_model(made.foreground)[held], from_model(true.foreground)[held]
        ),
        "background psnr": psnr(from_model(made.background), from_model(true.background)),
        "composite psnr": psnr(from_model(made.composite()), from_model(true.composite())),
        "mask mae": float((made.mask - true.mask).abs().mean()),
        "mask iou": mask_iou(made.mask, true.mask),
    }
