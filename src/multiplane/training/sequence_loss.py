"""Training a video transformer on sequences of layers: v-prediction, given clips clean in place.

LayerFlow (arXiv 2506.04228, section 3.2) trains a set of weights a task. Here the planes that are
given are drawn anew for every batch (`multiplane.training.given_planes`), so that one set learns
every task, and the clean clips say which it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from multiplane.models.layer_embedding import (
    LayerEmbedding,
    TokenGrid,
    added_to_tokens,
    token_table,
)
from multiplane.models.subclips import PLANES, SubclipLayout, prompted_planes

# CogVideoX-2B's noise: what diffusers' scheduler of either kind is made with.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "snr_shift_scale": 3.0,
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
    "clip_sample": False,
}
DROPPED = 0.1  # of the prompts, each by itself


def prompts_of_task(
    text: Tensor, given: Collection[str], generator: torch.Generator, dropped: float = DROPPED
) -> Tensor:
    """Text states (N, 3, T, C), a prompt a plane in the order of `PLANES`, -> (N, prompts * T, C)
    of the prompts that are read when `given` planes are given, each dropped (zeros) with chance
    `dropped`, independently of the others, so that guidance works."""
    read = [PLANES.index(plane) for plane in prompted_planes(given)]
    own = text[:, read]
    kept = torch.rand(own.shape[:2], generator=generator) >= dropped
    return (own * kept.to(own)[:, :, None, None]).flatten(1, 2)


def sequence_loss(
    transformer: Any,
    embedding: LayerEmbedding | None,
    scheduler: Any,
    layout: SubclipLayout,
    latents: Tensor,
    text: Tensor,
    given: Collection[str],
    generator: torch.Generator,
) -> Tensor:
    """(N,) mean square error of v over the latents that are not given, a time drawn for each sample
    and shared by all of its tokens.

    latents: scaled sequences (N, layout.latents, C, h, w). text: as `prompts_of_task` returns it.
    given: planes that stand clean at their places. scheduler: made with `SCHEDULE`. With x = a z +
    s e the target is v = a e - s z; |v - v'|^2 is the published |z - z'|^2 / (1 - a^2)."""
    count = len(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    steps = scheduler.config.num_train_timesteps
    times = torch.randint(steps, (count,), generator=generator).to(latents.device)
    mask = layout.given_latents(given).to(latents.device)
    noised = scheduler.add_noise(latents, noise, times)
    noised = torch.where(mask[:, None, None, None], latents, noised)
    patch = transformer.config.patch_size
    tokens = text.shape[1] // len(prompted_planes(given))
    grid = TokenGrid(
        text.shape[1] // tokens,
        tokens,
        layout.latents,
        latents.shape[3] // patch,
        latents.shape[4] // patch,
    )
    table = token_table(transformer, embedding, grid, latents.device)
    with added_to_tokens(transformer, table):
        predicted = transformer(noised, text.to(noised), times, return_dict=False)[0]
    target = scheduler.get_velocity(latents, noise, times)
    error = (predicted.float() - target.float()).square()
    return error[:, ~mask].mean(dim=(1, 2, 3, 4))
