"""What stands still while planes are made: given, kept and held tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multiplane.models.sampling import euler, heun, time_steps
from multiplane.pipelines.tiny.state import KnownState, PlaneInput
from small_world import DENOISER, SIZE

CELL = SIZE // DENOISER.grid


def encode(planes: Tensor) -> Tensor:
    """The mean of each cell, once a channel: what one token sees of its pixels."""
    return torch.nn.functional.avg_pool2d(planes, CELL)


def prepared(*inputs: PlaneInput) -> KnownState:
    generator = torch.Generator().manual_seed(0)
    return KnownState.prepare(DENOISER, inputs, encode, generator, torch.device("cpu"))


def a_picture(seed: int = 1) -> Tensor:
    return torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def sampled(state: KnownState, steps: int = 6, sampler=euler) -> Tensor:
    """Run a sampler whose network predicts 9 everywhere."""
    times = time_steps(steps, state.start)
    z = state.settle(state.noise, times[0])
    return sampler(lambda z, t: torch.full_like(z, 9.0), z, times, state.settle, lambda *_: None)


def keep_mask(columns: float) -> Tensor:
    """(S, S): this many columns of tokens are kept, from the left."""
    mask = torch.zeros(SIZE, SIZE)
    mask[:, : round(columns * CELL)] = 1
    return mask


def test_the_noise_is_the_generators_alone() -> None:
    one = prepared(PlaneInput(), PlaneInput())
    two = prepared(PlaneInput(pixels=a_picture()), PlaneInput(pixels=a_picture(), strength=0.5))
    assert torch.equal(one.noise, two.noise)
    assert one.start == 0.0


@pytest.mark.parametrize("sampler", [euler, heun])
def test_given_planes_never_move_and_wanted_ones_arrive(sampler) -> None:
    state = prepared(PlaneInput(pixels=a_picture()), PlaneInput())
    assert state.given[0, 0].all()
    assert not state.given[0, 1].any()
    made = sampled(state, sampler=sampler)
    assert torch.equal(made[0, 0, 0], encode(a_picture()[None])[0])
    torch.testing.assert_close(made[0, 1], torch.full_like(made[0, 1], 9.0))


def test_kept_tokens_are_given_and_tokens_kept_by_less_than_half_are_wanted() -> None:
    state = prepared(PlaneInput(pixels=a_picture(), keep=keep_mask(2.25)))
    assert state.given[0, 0, 0].all(dim=0).tolist() == [True, True, False, False]
    made = sampled(state)[0, 0, 0]
    known = encode(a_picture()[None])[0]
    assert torch.equal(made[..., :2], known[..., :2])
    torch.testing.assert_close(made[..., 2:], torch.full_like(made[..., 2:], 9.0))


def test_a_token_kept_by_more_than_half_ends_between() -> None:
    """The last step goes all the way to the prediction, then back by the share that is kept."""
    state = prepared(PlaneInput(pixels=a_picture(), keep=keep_mask(1.75)))
    assert not state.given[..., 1:].any()
    made, known = sampled(state)[0, 0, 0], encode(a_picture()[None])[0]
    torch.testing.assert_close(made[..., 1], 0.75 * known[..., 1] + 0.25 * 9.0)


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
def test_strength_starts_late_on_the_noised_picture(strength: float) -> None:
    state = prepared(PlaneInput(pixels=a_picture(), strength=strength))
    assert state.start == pytest.approx(1 - strength)
    start = state.settle(state.noise, state.start)
    known = encode(a_picture()[None])[0]
    expected = (1 - strength) * known + strength * state.noise[0, 0, 0]
    torch.testing.assert_close(start[0, 0, 0], expected)
    assert float(sampled(state).mean()) == pytest.approx(9.0)


def test_strength_zero_gives_the_picture_back() -> None:
    state = prepared(PlaneInput(pixels=a_picture(), strength=0.0))
    torch.testing.assert_close(sampled(state)[0, 0, 0], encode(a_picture()[None])[0])


def test_planes_of_several_strengths_are_let_go_each_at_its_time() -> None:
    """Sampling starts with the freest; the others stay on their paths until theirs."""
    strengths = (0.25, 0.5)
    pictures = [a_picture(seed) for seed in (1, 2)]
    state = prepared(
        *(PlaneInput(pixels=p, strength=s) for p, s in zip(pictures, strengths, strict=True))
    )
    assert state.start == 0.5
    far = torch.full_like(state.noise, 5.0)
    for t, held in (
        (0.5, [True, True]),
        (0.7, [True, False]),
        (0.75, [True, False]),
        (0.8, [False] * 2),
    ):
        settled = state.settle(far, t)
        for index, is_held in enumerate(held):
            path = t * encode(pictures[index][None])[0] + (1 - t) * state.noise[0, index, 0]
            expected = path if is_held else far[0, index, 0]
            torch.testing.assert_close(settled[0, index, 0], expected)


def test_a_plane_from_nothing_beside_one_of_some_strength_starts_at_noise() -> None:
    state = prepared(PlaneInput(), PlaneInput(pixels=a_picture(), strength=0.4))
    assert state.start == 0.0
    assert torch.equal(state.settle(state.noise, 0.0), state.noise)


def test_keep_and_strength_together() -> None:
    """Kept tokens stand; the rest starts from the noised picture."""
    state = prepared(PlaneInput(pixels=a_picture(), keep=keep_mask(2), strength=0.5))
    assert state.start == 0.5
    start, known = state.settle(state.noise, 0.5)[0, 0, 0], encode(a_picture()[None])[0]
    assert torch.equal(start[..., :2], known[..., :2])
    expected = 0.5 * known[..., 2:] + 0.5 * state.noise[0, 0, 0, ..., 2:]
    torch.testing.assert_close(start[..., 2:], expected)
