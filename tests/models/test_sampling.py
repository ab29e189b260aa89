"""Samplers against flows whose answer is known."""

from itertools import pairwise

import pytest
import torch

from multiplane.models.sampling import euler, heun, time_steps


def no_settle(z: torch.Tensor, _: float) -> torch.Tensor:
    return z


def no_report(*_: object) -> None:
    return None


@pytest.mark.parametrize("sampler", [euler, heun])
def test_a_perfect_prediction_is_reached_exactly(sampler) -> None:
    target = torch.randn(4)
    made = sampler(lambda z, t: target, torch.randn(4), time_steps(3), no_settle, no_report)
    torch.testing.assert_close(made, target)


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence_on_a_gaussian(sampler, order: int) -> None:
    """For data N(0, s^2) the posterior mean is linear in z; the flow ends at s times the noise."""
    s = 0.5

    def predict(z: torch.Tensor, t: float) -> torch.Tensor:
        return z * (t * s * s) / (t * t * s * s + (1 - t) ** 2)

    noise = torch.tensor([1.0, -2.0], dtype=torch.float64)
    errors = []
    for steps in (20, 40):
        made = sampler(predict, noise, time_steps(steps), no_settle, no_report)
        errors.append(float((made - s * noise).abs().max()))
    assert errors[0] / errors[1] > 2**order * 0.8
    assert errors[1] < 0.05


def test_times_run_from_start_to_one_and_the_shift_bends_them() -> None:
    plain, bent = time_steps(10, 0.3), time_steps(10, 0.3, shift=3.0)
    assert plain[0] == pytest.approx(0.3)
    assert plain[-1] == bent[-1] == 1
    assert all(b <= p for p, b in zip(plain, bent, strict=True))
    with pytest.raises(ValueError, match="at least 1 step"):
        time_steps(0)
    with pytest.raises(ValueError, match="below 1, got 1"):
        time_steps(4, 1.0)
    with pytest.raises(ValueError, match=r"above 0, got 0\.0"):
        time_steps(4, shift=0.0)


@pytest.mark.parametrize("shift", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("start", [0.0, 0.15, 0.7])
def test_times_begin_exactly_at_start_whatever_the_shift(start: float, shift: float) -> None:
    """A plane is held on its known path until `start`: a step beyond it would leave noise there."""
    times = time_steps(6, start, shift)
    assert times[0] == start
    assert times[-1] == 1.0
    assert all(a < b for a, b in pairwise(times))


def test_the_shift_is_that_of_the_paper() -> None:
    """Equation 23 with alpha = shift and s = 1 - t: s' = alpha s / (1 + (alpha - 1) s)."""
    for even, bent in zip(time_steps(8), time_steps(8, shift=2.5), strict=True):
        s = 1 - even
        assert 1 - bent == pytest.approx(2.5 * s / (1 + 1.5 * s))


def test_steps_are_reported_in_order() -> None:
    seen: list[tuple[int, int]] = []
    euler(
        lambda z, t: z,
        torch.zeros(1),
        time_steps(4),
        no_settle,
        lambda s, n, x: seen.append((s, n)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
