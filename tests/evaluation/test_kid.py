"""KID against brute force and a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from multiplane.evaluation.kid import kid, squared_mmd


def _brute_force(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(np.dot(x, y)) / len(x) + 1.0) ** 3

    n, m = len(a), len(b)
    within_a = [kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j]
    within_b = [kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j]
    across = [kernel(x, y) for x in a for y in b]
    return float(np.mean(within_a) + np.mean(within_b) - 2 * np.mean(across))


def test_squared_mmd_is_the_double_sum() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(7, 5)), random.normal(0.4, 1.2, size=(9, 5))
    assert squared_mmd(a, b) == pytest.approx(_brute_force(a, b), rel=1e-10)


def test_two_constant_sets_have_a_closed_form() -> None:
    # every row of a is x, of b is y: k(x, x) + k(y, y) - 2 k(x, y)
    a, b = np.full((4, 2), 1.0), np.full((6, 2), 2.0)
    assert squared_mmd(a, b) == pytest.approx((1 + 1) ** 3 + (4 + 1) ** 3 - 2 * (2 + 1) ** 3)


def test_alike_sets_score_near_zero_and_shifted_ones_above() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(200, 8)), random.normal(size=(200, 8))
    alike, shifted = kid(a, b, seed=1), kid(a, b + 1.0, seed=1)
    assert abs(alike.value) < 0.2
    assert shifted.value > 10 * abs(alike.value)
    assert (alike.size, alike.subsets) == (50, 50)


def test_full_subsets_are_the_plain_estimate() -> None:
    random = np.random.default_rng(5)
    a, b = random.normal(size=(12, 4)), random.normal(size=(12, 4))
    result = kid(a, b, subsets=3, size=100)
    assert result.size == 12
    assert result.value == pytest.approx(squared_mmd(a, b))
    assert result.spread == pytest.approx(0.0, abs=1e-12)


def test_one_picture_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two"):
        squared_mmd(np.zeros((1, 3)), np.zeros((4, 3)))
