"""Training a latent diffusion model by predicting the noise.

L = E |eps - f(z_t, t)|^2 with t uniform over the training times (DDPM, Ho et al., arXiv 2006.11239,
equation 14; Text2Layer, arXiv 2307.09781, section IV-C).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

# Stable Diffusion's noise schedule.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}


def training_schedule() -> DDPMScheduler:
    """The schedule that noise is added by."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(**SCHEDULE)


def preview_schedule() -> DDIMScheduler:
    """DDIM over the same times, as Stable Diffusion configures it."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def drop_captions(states: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Token states (B, T, C) with each caption gone (zeros) by chance `rate`, which is what teaches
    a model to be guided. generator: on CPU."""
    kept = torch.rand(len(states), generator=generator) >= rate
    return states * kept.to(states.device)[:, None, None]


def noise_loss(
    unet: UNet2DConditionModel,
    schedule: DDPMScheduler,
    latents: Tensor,
    states: Tensor,
    generator: torch.Generator,
    streams: int = 1,
) -> Tensor:
    """(B,) mean squared errors of the predicted noise.

    latents: (B, C, h, w), of about unit variance. states: (B, T, C). generator: on CPU; draws the
    times, then the noise. streams: as many neighbours in the batch are of one scene and share its
    time, each with noise of its own. Raises ValueError for a schedule of another prediction."""
    if schedule.config["prediction_type"] != "epsilon":
        raise ValueError(
            f"this loss is of the predicted noise, the schedule is for "
            f"{schedule.config['prediction_type']}: give one with prediction_type epsilon"
        )
    count = schedule.config["num_train_timesteps"]
    drawn = torch.randint(0, count, (len(latents) // streams,), generator=generator)
    times = drawn.repeat_interleave(streams).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    noisy = schedule.add_noise(latents, noise, times)  # pyright: ignore[reportArgumentType]
    predicted = unet(noisy, times, encoder_hidden_states=states, return_dict=False)[0]
    return (predicted.float() - noise).square().flatten(1).mean(dim=1)
