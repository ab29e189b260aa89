"""The neuron against scipy's own optimum, its figures against other formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from multiplane.training.one_neuron import (
    FitConfig,
    fit_neuron,
    roc_auc,
    threshold_at_precision,
)


def clouds(seed: int, count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping clouds of unlike scales, a third of them good."""
    rng = np.random.default_rng(seed)
    good = np.arange(count) % 3 == 0
    features = rng.normal(size=(count, 4)) + good[:, None] * np.array([1.5, 0, -1.0, 0])
    return (features * np.array([1, 10, 0.1, 3]) + 5).astype(np.float32), good


def test_the_fit_is_the_optimum_of_the_weighed_logistic_loss() -> None:
    features, good = clouds(0)
    config = FitConfig(epochs=400, rate=2e-2, decay=1e-2)
    weight, bias = fit_neuron(features, good, config)
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    inputs = ((features - mean) / deviation).astype(np.float64)
    cost = np.where(good, 0.5 / good.mean(), 0.5 / (1 - good.mean()))

    def loss(each: np.ndarray) -> float:
        logits = inputs @ each[:4] + each[4]
        right = np.where(good, logits, -logits)
        return float((cost * np.logaddexp(0, -right)).mean() + 1e-2 * (each[:4] ** 2).sum())

    best = optimize.minimize(loss, np.zeros(5)).x
    np.testing.assert_allclose(weight * deviation, best[:4], atol=0.03)
    assert bias + float(weight @ mean) == pytest.approx(best[4], abs=0.03)


def test_same_seed_same_neuron_and_both_answers_are_needed() -> None:
    features, good = clouds(1)
    one, other = (fit_neuron(features, good, FitConfig(epochs=3)) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    with pytest.raises(ValueError, match="both answers"):
        fit_neuron(features, np.ones(len(good), bool), FitConfig())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), levels=st.integers(2, 30))
def test_the_area_is_that_of_mann_and_whitney(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores, good = rng.integers(0, levels, 40) / levels, rng.random(40) < 0.4
    if good.all() or not good.any():
        return
    u = stats.mannwhitneyu(scores[good], scores[~good]).statistic
    assert roc_auc(scores, good) == pytest.approx(u / (good.sum() * (~good).sum()))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), precision=st.sampled_from([0.5, 0.7, 0.9]))
def test_the_threshold_is_the_lowest_that_is_precise_enough(seed: int, precision: float) -> None:
    rng = np.random.default_rng(seed)
    scores, good = rng.integers(0, 12, 40) / 12, rng.random(40) < 0.6
    reached = {
        limit: good[scores >= limit].mean() >= precision for limit in np.unique(scores).tolist()
    }
    if not any(reached.values()):
        with pytest.raises(ValueError, match="precision"):
            threshold_at_precision(scores, good, precision)
        return
    expected = min(limit for limit, enough in reached.items() if enough)
    assert threshold_at_precision(scores, good, precision) == expected
