"""The published sampler, against its reference run and against an exact solution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multiplane.models.kdiffusion import (
    denoiser,
    dpmpp_2m,
    karras_sigmas,
    nearest_step,
    start_state,
    training_sigmas,
)
from parity_rule import case


def toy(gain: float, x: Tensor, step: Tensor) -> Tensor:
    """The noise that the reference run predicted."""
    time = step.reshape(-1, 1, 1, 1) / 1000
    return gain * (0.8 * torch.tanh(x) + 0.1 * x) + 0.05 * time


@pytest.mark.parity
def test_reference() -> None:
    stored = case("kdiffusion_a")
    sigmas = karras_sigmas(8)
    torch.testing.assert_close(training_sigmas(), stored["all_sigmas"], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(sigmas, stored["sigmas"], atol=1e-5, rtol=1e-6)
    assert torch.equal(nearest_step(sigmas[:-1]), stored["timesteps"])
    start = start_state(stored["initial"], stored["noise"], sigmas)
    torch.testing.assert_close(start, stored["start"], atol=1e-5, rtol=1e-4)
    seen: list[Tensor] = []
    denoise = denoiser(lambda x, t: toy(1.0, x, t), 5.0, lambda x, t: toy(0.7, x, t))
    out = dpmpp_2m(denoise, start, sigmas, lambda step, total, clean: seen.append(clean))
    torch.testing.assert_close(torch.stack(seen), stored["denoised"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out, stored["out"], atol=1e-4, rtol=1e-4)


def test_a_point_is_found_exactly_and_a_gaussian_better_with_more_steps() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas = karras_sigmas(6)
    out = dpmpp_2m(lambda x, sigma: torch.full_like(x, 0.25), noise * sigmas[0], sigmas)
    assert torch.equal(out, torch.full_like(out, 0.25))

    def error(steps: int) -> float:
        """Normal data of deviation s: the flow keeps x / sqrt(s^2 + sigma^2)."""
        spread, sigmas = 0.5, karras_sigmas(steps)
        start = noise * (spread**2 + sigmas[0] ** 2) ** 0.5
        out = dpmpp_2m(lambda x, sigma: x * spread**2 / (spread**2 + sigma[0] ** 2), start, sigmas)
        return float((out - noise * spread).abs().max())

    assert error(40) < error(20) / 2 < error(10) / 4
    assert error(40) < 0.01


def test_strength_keeps_the_end() -> None:
    part = karras_sigmas(7, 0.7)
    assert torch.equal(part, karras_sigmas(10)[-8:])
    assert part[-1] == 0


@pytest.mark.parametrize(("steps", "strength"), [(0, 1.0), (5, 0.0), (5, 1.5)])
def test_what_is_no_schedule(steps: int, strength: float) -> None:
    with pytest.raises(ValueError, match=r"at least 1 step|above 0 and at most 1"):
        karras_sigmas(steps, strength)
