"""DPM-Solver++ (2M) on Karras sigmas, as the published LayerDiffuse command line samples.

Plain functions around a noise prediction; diffusers' schedulers differ from it by their rounding of
sigmas to time steps. Equations: Karras et al. (arXiv 2206.00364), 5; Lu et al. (arXiv 2211.01095),
algorithm 2. State x = clean + sigma * noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RHO = 7.0
TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012  # Stable Diffusion's "scaled linear" schedule

# (scaled state (B, ...), time steps (B,) int64) -> predicted noise (B, ...)
PredictNoise = Callable[[Tensor, Tensor], Tensor]
# (scaled state (B, ...), time steps (B,)) -> clean (B, ...)

Denoise = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, int, Tensor], None]


def training_sigmas() -> Tensor:
    """(1000,) float32, sigma of every training step: sqrt((1 - abar) / abar), 0.0292 to 14.6146."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    kept = torch.cumprod(1.0 - betas, dim=0)
    return ((1.0 - kept) / kept).sqrt().float()


def karras_sigmas(steps: int, strength: float = 1.0) -> Tensor:
    """(steps + 1,) float32 falling sigmas, the last 0.

    strength: how much of the way is gone; below 1 the schedule of int(steps / strength) steps is
    made and only its end used (image to image). Raises ValueError."""
    if steps < 1:
        raise ValueError(f"sampling takes at least 1 step, got {steps}")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"the strength must be above 0 and at most 1, got {strength}")
    known = training_sigmas()
    low, high = known[0] ** (1 / RHO), known[-1] ** (1 / RHO)
    ramp = torch.linspace(0, 1, int(steps / strength))
    sigmas = (high + ramp * (low - high)) ** RHO
    return torch.cat([sigmas, sigmas.new_zeros(1)])[-(steps + 1) :]


def nearest_step(sigma: Tensor) -> Tensor:
    """The training step (int64) whose sigma is nearest on a logarithmic scale, for each of `sigma`
    (any shape, above 0)."""
    distance = sigma.log().reshape(-1, 1) - training_sigmas().log().to(sigma.device)
    return distance.abs().argmin(dim=1).reshape(sigma.shape)


def start_state(initial: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Where sampling starts: the initial latents (zeros for text to image) plus the first sigma's
    noise; no further normalisation."""
    return initial + noise * sigmas[0].to(initial)


def denoiser(
    predict: PredictNoise, guidance: float = 1.0, unconditional: PredictNoise | None = None
) -> Denoise:
    """Clean state from noise predictions: x - sigma * eps of x / sqrt(sigma^2 + 1), with guidance
    eps_u + guidance * (eps_c - eps_u) where an unconditional prediction is given."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        wide = sigma.reshape(-1, *(1,) * (x.ndim - 1))
        scaled, step = x / (wide**2 + 1).sqrt(), nearest_step(sigma)
        noise = predict(scaled, step)
        if unconditional is not None:
            plain = unconditional(scaled, step)
            noise = plain + guidance * (noise - plain)
        return x - noise * wide

    return denoise


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Sample from x (B, ...) at sigmas[0] to sigmas[-1]; the first step, and the last when it ends
    at 0, are of first order. on_step: told (step, steps, clean) after each."""
    times = -sigmas.log()  # lambda
    previous: Tensor | None = None
    for index in range(len(sigmas) - 1):
        sigma, following = sigmas[index], sigmas[index + 1]
        clean = denoise(x, sigma.to(x.device).expand(len(x)))
        step = times[index + 1] - times[index]
        target = clean
        if previous is not None and following > 0:
            ratio = (times[index] - times[index - 1]) / step
            target = (1 + 1 / (2 * ratio)) * clean - (1 / (2 * ratio)) * previous
        x = (following / sigma) * x - torch.expm1(-step) * target
        previous = clean
        if on_step is not None:
            on_step(index + 1, len(sigmas) - 1, clean)
    return x
