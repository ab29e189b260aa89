"""One attention-sharing unit: the published forward, by reference data and by its parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from multiplane.models.attention_sharing import (
    Projections,
    SharedAttention,
    SharingConditions,
    UnitConfig,
)
from parity_rule import case, fill

WIDTH, HEADS, RANK = 32, 4, 8
CASES = {
    "self_f1": UnitConfig(WIDTH, None, 1, RANK),
    "cross_f3_over": UnitConfig(WIDTH, 24, 3, RANK),
    "self_f2_ctrl": UnitConfig(WIDTH, None, 2, RANK, control=True),
}


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def projections(stored: dict[str, Tensor]) -> Projections:
    q, k, v = (linear(stored[f"original.to_{name}.weight"]) for name in "qkv")
    out = linear(stored["original.to_out.0.weight"], stored["original.to_out.0.bias"])
    return Projections(q, k, v, out, HEADS)


def conditions_of(stored: dict[str, Tensor], frames: int) -> SharingConditions:
    overwrite = tuple(stored.get(f"cond_overwrite{stream}") for stream in range(frames))
    signals = {8: stored["control"]} if "control" in stored else {}
    return SharingConditions(stored["cond_mark"], overwrite, signals)


def random_unit(config: UnitConfig, seed: int = 0) -> SharedAttention:
    generator = torch.Generator().manual_seed(seed)
    unit = SharedAttention(config)
    for value in unit.parameters():
        value.data = torch.randn(value.shape, generator=generator) * 0.2
    return unit


def random_projections(context: int = WIDTH, seed: int = 1) -> Projections:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    stored = {
        "original.to_q.weight": draw(WIDTH, WIDTH),
        "original.to_k.weight": draw(WIDTH, context),
        "original.to_v.weight": draw(WIDTH, context),
        "original.to_out.0.weight": draw(WIDTH, WIDTH),
        "original.to_out.0.bias": draw(WIDTH),
    }
    return projections(stored)


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parity
@pytest.mark.parametrize("tag", CASES)
@pytest.mark.parametrize("trained", [False, True], ids=["merged", "by factors"])
def test_reference(tag: str, trained: bool) -> None:
    stored, config = case(f"attn_share_{tag}"), CASES[tag]
    unit = fill(SharedAttention(config), prefix="unit.")
    with torch.set_grad_enabled(trained):
        out = unit(
            stored["h"],
            stored.get("context"),
            projections(stored),
            conditions_of(stored, config.frames),
        )
    torch.testing.assert_close(out, stored["out"], atol=1e-5, rtol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize("tag", CASES)
def test_merged_is_near_exact_arithmetic(tag: str) -> None:
    stored, config = case(f"attn_share_{tag}"), CASES[tag]
    unit = fill(SharedAttention(config), prefix="unit.")
    merged = unit(
        stored["h"],
        stored.get("context"),
        projections(stored),
        conditions_of(stored, config.frames),
    )
    exact = {key: value.double() for key, value in stored.items()}
    with torch.enable_grad():
        truth = unit.double()(
            exact["h"],
            exact.get("context"),
            projections(exact),
            conditions_of(exact, config.frames),
        )
    assert (merged - truth).abs().max() < 5e-6  # the reference itself is up to 7.6e-6 away


def test_a_new_unit_is_the_plain_attention() -> None:
    unit, attention = SharedAttention(UnitConfig(WIDTH, 24, 2, RANK)), random_projections(24)
    hidden, text = torch.randn(4, 6, WIDTH), torch.randn(4, 5, 24)
    q, k, v = attention.to_q(hidden), attention.to_k(text), attention.to_v(text)
    split = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v)]
    scores = split[0] @ split[1].transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
    plain = attention.to_out((scores.softmax(-1) @ split[2]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(unit(hidden, text, attention), plain, atol=1e-6, rtol=1e-5)


def test_a_batch_of_pictures_is_each_picture_alone() -> None:
    unit, attention = random_unit(CASES["cross_f3_over"]), random_projections(24)
    hidden, text = torch.randn(6, 16, WIDTH), torch.randn(6, 7, 24)
    together = unit(hidden, text, attention)
    for picture in (slice(0, 3), slice(3, 6)):
        alone = unit(hidden[picture], text[picture], attention)
        torch.testing.assert_close(together[picture], alone, atol=2e-6, rtol=1e-5)


def test_streams_see_each_other_and_pictures_do_not() -> None:
    unit, attention = random_unit(UnitConfig(WIDTH, None, 2, RANK)), random_projections()
    hidden = torch.randn(4, 6, WIDTH)
    before, hidden[1] = unit(hidden, None, attention), torch.randn(6, WIDTH)
    moved = (unit(hidden, None, attention) - before).abs().amax((1, 2))
    assert moved[0] > 1e-3
    assert moved[2:].max() < 1e-6


def test_the_merged_weights_follow_every_change() -> None:
    unit, attention = random_unit(UnitConfig(WIDTH, None, 2, RANK)), random_projections()
    hidden = torch.randn(2, 6, WIDTH)

    def agree() -> Tensor:
        fast = unit(hidden, None, attention)
        with torch.enable_grad():
            exact = unit(hidden, None, attention)
        torch.testing.assert_close(fast, exact, atol=1e-5, rtol=1e-4)
        return fast

    seen = [agree()]
    attention.to_q.get_parameter("weight").mul_(1.5)  # a base weight
    seen.append(agree())
    unit.get_parameter("to_v_lora.1.up.weight").add_(0.3)  # a training step
    seen.append(agree())
    unit.get_parameter("temporal_n.bias").data = torch.randn(WIDTH)  # a tensor put in its place
    seen.append(agree())
    assert all(not torch.allclose(a, b) for a, b in pairwise(seen))


def test_text_and_control_kept_between_steps_follow_their_change() -> None:
    unit = random_unit(UnitConfig(WIDTH, 24, 2, RANK, control=True))
    attention, hidden = random_projections(24), torch.randn(2, 8, WIDTH)
    texts = [torch.randn(2, 7, 24) for _ in range(2)]
    told = [
        SharingConditions(None, (torch.randn(1, 7, 24),), {8: torch.randn(1, 256, 4, 2)})
        for _ in range(2)
    ]
    for text in (*texts, texts[0].mul_(2)):
        for conditions in (*told, told[0]):
            fast = unit(hidden, text, attention, conditions)
            with torch.enable_grad():
                exact = unit(hidden, text, attention, conditions)
            torch.testing.assert_close(fast, exact, atol=2e-5, rtol=1e-4)


def test_every_factor_gets_a_gradient() -> None:
    unit, attention = random_unit(UnitConfig(WIDTH, 24, 2, RANK, True)), random_projections(24)
    conditions = SharingConditions(signals={8: torch.randn(1, 256, 4, 2)})
    with torch.enable_grad():
        out = unit(torch.randn(2, 8, WIDTH), torch.randn(2, 7, 24), attention, conditions)
        out.square().mean().backward()
    silent = [name for name, p in unit.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("batch", "conditions", "message"),
    [
        (3, SharingConditions(), "multiple of 2"),
        (2, SharingConditions(overwrite=(torch.zeros(1, 9, 24),)), "as many tokens"),
        (2, SharingConditions(overwrite=(None, None, torch.zeros(1, 7, 24))), "one a stream"),
        (2, SharingConditions(signals={64: torch.zeros(1, 256, 8, 8)}), "none for it"),
    ],
)
def test_what_does_not_fit_is_refused(
    batch: int, conditions: SharingConditions, message: str
) -> None:
    controlled = bool(conditions.signals)
    unit = random_unit(UnitConfig(WIDTH, 24, 2, RANK, controlled))
    with pytest.raises(ValueError, match=message):
        unit(
            torch.zeros(batch, 8, WIDTH),
            torch.zeros(batch, 7, 24),
            random_projections(24),
            conditions,
        )
