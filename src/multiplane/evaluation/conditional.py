"""Conditional use: is a given plane looked at?

The held-out denoising loss with the true given plane over the loss with another scene's in its
place. A ratio of 1 says that the plane is ignored; the lower, the more is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from multiplane.models.layered_transformer import LayeredTransformer
    from multiplane.training.rows import RowBatch


@dataclass(frozen=True)
class ConditionalUse:
    """true, shuffled: mean losses. ratio = true / shuffled. lower: share of the scenes on which the
    true plane gave the lower loss (one half says nothing is learned from it)."""

    true: float
    shuffled: float
    ratio: float
    lower: float


def conditional_use(true: Sequence[float], shuffled: Sequence[float]) -> ConditionalUse:
    """From the two losses of every scene, in the same order. Raises ValueError without scenes."""
    if not true or len(true) != len(shuffled):
        raise ValueError(
            f"needs the same scenes twice, at least one: got {len(true)} and {len(shuffled)} losses"
        )
    mean_true, mean_shuffled = sum(true) / len(true), sum(shuffled) / len(shuffled)
    lower = sum(a < b for a, b in zip(true, shuffled, strict=True)) / len(true)
    return ConditionalUse(mean_true, mean_shuffled, mean_true / mean_shuffled, lower)


def shuffled_planes(clean: Tensor, planes: Sequence[int]) -> Tensor:
    """clean (B, P, ...) with the planes at these positions taken from the next sample."""
    mixed = clean.clone()
    for position in planes:
        mixed[:, position] = clean[:, position].roll(1, dims=0)
    return mixed


def losses(
    denoiser: LayeredTransformer,
    batch: RowBatch,
    t: Tensor,
    noise: Tensor,
    shuffled: Sequence[int] = (),
) -> Tensor:
    """(B,) velocity losses of a row's wanted planes at times t (B,), 1 = data; the given planes at
    the positions `shuffled` come from the next sample. noise: like `batch.clean`; pass the same
    noise to compare."""
    import torch

    from multiplane.training.losses import velocity_loss

    seen = shuffled_planes(batch.clean, shuffled)
    time = t.view(-1, 1, 1, 1, 1, 1)
    state = torch.where(batch.given[:, :, :, None], seen, time * batch.clean + (1 - time) * noise)
    with torch.inference_mode():
        predicted = denoiser(
            state, t, batch.text, batch.has_text, batch.given, batch.layout, torch.ones_like(t)
        )
    return velocity_loss(predicted, batch.clean, t, ~batch.given)


def spread_times(count: int, generator: torch.Generator) -> Tensor:
    """(count,) times spread evenly over 0.1..0.9, in a random order, so that no kind of scene is
    always seen at one time."""
    import torch

    return torch.linspace(0.1, 0.9, count)[torch.randperm(count, generator=generator)]
