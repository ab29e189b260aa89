"""The noise-prediction loss against its formula, with a UNet that says what it was asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from multiplane.training.diffusion_loss import (
    SCHEDULE,
    drop_captions,
    noise_loss,
    preview_schedule,
    training_schedule,
)


class Asked:
    """Predicts zeros and remembers its input."""

    def __call__(self, noisy: torch.Tensor, times: torch.Tensor, **rest: Any):
        self.noisy, self.times, self.states = noisy, times, rest["encoder_hidden_states"]
        return (torch.zeros_like(noisy),)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_noise_is_added_by_the_schedule_and_the_error_is_of_the_noise() -> None:
    unet, latents = Asked(), torch.randn(5, 4, 8, 8, generator=generator())
    states = torch.randn(5, 3, 12)
    losses = noise_loss(unet, training_schedule(), latents, states, generator())  # pyright: ignore
    drawn = generator()
    times = torch.randint(0, 1000, (5,), generator=drawn)
    noise = torch.randn(latents.shape, generator=drawn)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, dim=0)[times][:, None, None, None]
    wanted = kept.sqrt() * latents.double() + (1 - kept).sqrt() * noise.double()
    assert torch.equal(unet.times, times)
    torch.testing.assert_close(unet.noisy.double(), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses, noise.square().flatten(1).mean(dim=1))
    assert torch.equal(unet.states, states)


def test_captions_are_dropped_at_their_rate() -> None:
    states = torch.ones(2000, 2, 3)
    kept = drop_captions(states, 0.1, generator())
    gone = (kept == 0).all(dim=2).all(dim=1)
    assert 0.07 < float(gone.float().mean()) < 0.13
    assert torch.equal(kept[~gone], states[~gone])
    assert torch.equal(drop_captions(states, 0.0, generator()), states)


def test_sampling_and_training_share_the_schedule() -> None:
    ours, theirs = preview_schedule(), training_schedule()
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)


def test_another_prediction_is_refused() -> None:
    schedule = DDPMScheduler(**{**SCHEDULE, "prediction_type": "v_prediction"})
    with pytest.raises(ValueError, match="prediction_type epsilon"):
        noise_loss(Asked(), schedule, torch.zeros(1, 4, 8, 8), torch.zeros(1, 1, 1), generator())  # pyright: ignore


def test_streams_of_a_scene_share_its_time() -> None:
    unet, latents = Asked(), torch.randn(6, 4, 8, 8, generator=generator())
    schedule, states = training_schedule(), torch.randn(6, 3, 12)
    losses = noise_loss(unet, schedule, latents, states, generator(), streams=3)  # pyright: ignore
    drawn = generator()
    times = torch.randint(0, 1000, (2,), generator=drawn)
    noise = torch.randn(latents.shape, generator=drawn)
    assert unet.times.tolist() == [int(times[0])] * 3 + [int(times[1])] * 3
    torch.testing.assert_close(losses, noise.square().flatten(1).mean(dim=1))
