import pytest
import torch

from multiplane.training.losses import (
    as_clipped,
    expected_composite_error,
    gradient_error,
    logit_normal_times,
    velocity_loss,
)


def test_expected_composite_error_is_the_integral_over_backgrounds() -> None:
    g = torch.Generator().manual_seed(0)
    predicted, target = torch.rand(2, 3, 4, 6, 6, generator=g, dtype=torch.float64).unbind(0)
    backgrounds = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    error = 0.0
    for b in backgrounds.tolist():
        shown = [p[:, :3] + (1 - p[:, 3:]) * b for p in (predicted, target)]
        error += float((shown[0] - shown[1]).square().mean()) / 2000
    assert float(expected_composite_error(predicted, target)) == pytest.approx(error, rel=1e-5)


def test_gradient_error_ignores_a_constant() -> None:
    picture = torch.rand(1, 4, 8, 8)
    assert float(gradient_error(picture + 0.3, picture)) == pytest.approx(0, abs=1e-6)
    assert float(gradient_error(picture.flip(-1), picture)) > 0.01


def test_velocity_loss_equals_the_velocity_error_on_wanted_tokens() -> None:
    g = torch.Generator().manual_seed(1)
    clean, predicted, noise = torch.randn(3, 2, 2, 1, 5, 3, 3, generator=g).unbind(0)
    t = torch.tensor([0.2, 0.7])
    wanted = torch.zeros(2, 2, 1, 3, 3, dtype=torch.bool)
    wanted[:, 1] = True
    time = t.view(2, 1, 1, 1, 1, 1)
    z = time * clean + (1 - time) * noise
    velocity = (predicted - z) / (1 - time)
    expected = (velocity - (clean - noise))[:, 1].square().flatten(1).mean(dim=1)
    torch.testing.assert_close(velocity_loss(predicted, clean, t, wanted), expected)


def test_times_have_the_median_of_the_logit_normal() -> None:
    times = logit_normal_times(20_000, -0.6, 1.0, torch.Generator().manual_seed(0))
    assert float(times.median()) == pytest.approx(1 / (1 + 2.718281828**0.6), abs=0.01)
    assert 0 < float(times.min()) < float(times.max()) < 1


def test_overshooting_clear_and_solid_costs_nothing() -> None:
    target = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 0.5])
    predicted = torch.tensor([-0.2, 0.2, 1.2, 0.8, -0.2, 1.2], requires_grad=True)
    error = (as_clipped(predicted, target) - target).abs()
    assert torch.allclose(error, torch.tensor([0.0, 0.2, 0.0, 0.2, 0.7, 0.7]))
    error.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.tolist() == [0, 1, 0, -1, -1, 1]
