"""Conditional use on a network that is known to look, and on one that is known not to."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from multiplane.evaluation.conditional import (  # noqa: E402
    conditional_use,
    losses,
    shuffled_planes,
    spread_times,
)
from multiplane.models.layered_transformer import PlaneLayout  # noqa: E402
from multiplane.training.rows import RowBatch  # noqa: E402


def _batch(count: int = 6) -> RowBatch:
    """Two planes where the second equals the first: whoever looks at the first knows the second."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, 1, 1, 3, 2, 2, generator=generator)
    clean = torch.cat([first, first], dim=1)
    given = torch.zeros(count, 2, 1, 2, 2, dtype=torch.bool)
    given[:, 0] = True
    text, has_text = torch.zeros(count, 2, 1, 4), torch.zeros(count, 2, 1, dtype=torch.bool)
    return RowBatch(clean, given, text, has_text, PlaneLayout.of(["background", "composite"]))


def _looking(state, t, text, has_text, given, layout, given_time):
    """Predicts that the wanted plane is what the given one shows."""
    return state[:, :1].expand(-1, 2, -1, -1, -1, -1)


def _blind(state, t, text, has_text, given, layout, given_time):
    return torch.zeros_like(state)


def test_a_network_that_looks_scores_zero_and_a_blind_one_scores_one() -> None:
    batch = _batch()
    t = torch.full((6,), 0.5)
    noise = torch.randn(batch.clean.shape, generator=torch.Generator().manual_seed(1))

    def ratio(network) -> tuple[float, float]:
        true = losses(network, batch, t, noise).tolist()
        shuffled = losses(network, batch, t, noise, (0,)).tolist()
        use = conditional_use(true, shuffled)
        return use.ratio, use.lower

    assert ratio(_looking) == (0.0, 1.0)
    assert ratio(_blind) == (1.0, 0.0)


def test_the_wanted_plane_is_noised_and_the_given_one_is_clean() -> None:
    batch = _batch()
    seen = {}

    def watching(state, t, text, has_text, given, layout, given_time):
        seen["state"], seen["given_time"] = state, given_time
        return state

    t = torch.full((6,), 0.25)
    noise = torch.full_like(batch.clean, 8.0)
    losses(watching, batch, t, noise, (0,))
    assert torch.equal(seen["state"][1:, 0], batch.clean[:-1, 0])  # the neighbour's, clean
    assert torch.allclose(seen["state"][:, 1], 0.25 * batch.clean[:, 1] + 0.75 * 8.0)
    assert (seen["given_time"] == 1).all()


def test_shuffling_moves_only_the_named_plane() -> None:
    clean = torch.arange(12.0).reshape(3, 4)
    mixed = shuffled_planes(clean, (2,))
    assert mixed[:, 2].tolist() == [10.0, 2.0, 6.0]
    assert torch.equal(mixed[:, [0, 1, 3]], clean[:, [0, 1, 3]])


def test_ratio_by_hand() -> None:
    use = conditional_use([1.0, 3.0], [2.0, 2.5])
    assert use.ratio == pytest.approx(2.0 / 2.25)
    assert use.lower == 0.5
    with pytest.raises(ValueError, match="1 and 2"):
        conditional_use([1.0], [1.0, 2.0])


def test_times_are_spread_evenly() -> None:
    times = spread_times(9, torch.Generator().manual_seed(0))
    assert times.sort().values.tolist() == pytest.approx([0.1 * k for k in range(1, 10)])
