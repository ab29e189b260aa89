"""Where a denoising run begins: its noise, its times, and what is kept of given latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import retrieve_timesteps
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

Generators: TypeAlias = "torch.Generator | list[torch.Generator] | None"


def generators_for(generator: Generators, count: int, streams: int) -> Generators:
    """The generators a scheduler draws from, for `count` pictures of `streams` streams.

    A picture's own generator serves its streams one after the other, so a picture does not depend
    on what it is batched with. Raises ValueError when the list is not one a picture."""
    if isinstance(generator, Sequence):
        if len(generator) != count:
            raise ValueError(
                f"{len(generator)} generators for {count} pictures: give one, or one a picture"
            )
        each: Sequence[torch.Generator] = generator
    elif generator is None or streams == 1:
        return generator
    else:
        each = [generator] * count
    return [one for one in each for _ in range(streams)]


def draw(shape: tuple[int, ...], generator: Generators, like: Tensor) -> Tensor:
    """Standard normal noise (N, C, h, w); generator: as `generators_for` returns it."""
    return randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Times:
    """timesteps: the ones to run, most noise first. whole: whether none was skipped, so that
    nothing is left of what the run starts from."""

    timesteps: Tensor
    whole: bool


def times(
    scheduler: Any,
    steps: int,
    strength: float,
    device: torch.device,
    timesteps: list[int] | None = None,
    sigmas: list[float] | None = None,
) -> Times:
    """Set `scheduler` up for the last `strength` of its steps, as diffusers counts them.

    Raises ValueError for a strength outside 0..1, one that leaves no step, or steps below 1."""
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must be 0..1, got {strength}")
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, got {steps}")
    retrieve_timesteps(scheduler, steps, device, timesteps, sigmas)
    every: Tensor = scheduler.timesteps
    order = getattr(scheduler, "order", 1)
    if timesteps is not None or sigmas is not None:
        steps = len(every) // order
    if strength == 1.0:
        skipped = 0
    else:
        skipped = max(steps - min(int(steps * strength), steps), 0) * order
    if strength > 0.0 and skipped == len(every):
        raise ValueError(
            f"strength {strength} of {steps} steps is less than one step, so nothing would change: "
            f"use more steps, or strength {1 / steps:.2g} or more"
        )
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return Times(every[skipped:], strength == 1.0)


@dataclass(frozen=True)
class Kept:
    """Latents that a run must arrive at in places (inpainting).

    clean: (N, C, h, w) scaled. noise: what the run began with. mask: (N, 1, h, w), 1 where kept."""

    clean: Tensor
    noise: Tensor
    mask: Tensor

    def settle(self, latents: Tensor, scheduler: Any, next_time: Tensor | None) -> Tensor:
        """`latents` with the kept places as they stand at `next_time`; None: at the end."""
        known = self.clean
        if next_time is not None:
            known = scheduler.add_noise(self.clean, self.noise, next_time.reshape(1))
        return torch.where(self.mask > 0.5, known.to(latents.dtype), latents)


def begin(scheduler: Any, run: Times, noise: Tensor, clean: Tensor | None) -> Tensor:
    """The latents a run starts from: pure noise when it is whole, otherwise `clean` with the first
    time's noise; with no step to run, `clean` itself."""
    if run.whole or clean is None:
        return noise * scheduler.init_noise_sigma
    if len(run.timesteps) == 0:
        return clean
    return scheduler.add_noise(clean, noise, run.timesteps[:1])
