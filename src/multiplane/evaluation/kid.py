"""Kernel Inception Distance (Binkowski et al. 2018, arXiv 1801.01401), on features we name.

The figure depends on the feature net: with EfficientNet-Lite0 features it compares with our own
tables and with nobody's Inception KID.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Kid:
    """value: mean over the subsets of the unbiased squared MMD (may lie below 0 where the two sets
    are alike). spread: standard deviation over the subsets. size: pictures in a subset."""

    value: float
    spread: float
    subsets: int
    size: int


def polynomial_kernel(
    a: NDArray[np.floating], b: NDArray[np.floating]
) -> NDArray[np.float64]:  # (N, D), (M, D) -> (N, M)
    """(a . b / D + 1)^3, section 4 of the paper."""
    dimension = a.shape[1]
    return (a.astype(np.float64) @ b.astype(np.float64).T / dimension + 1.0) ** 3


def squared_mmd(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The unbiased estimate of squared MMD between two sets of features (N, D) and (M, D).

    Raises ValueError with fewer than two rows in either."""
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        raise ValueError(f"squared MMD needs at least two pictures a side, got {n} and {m}")
    within_a, within_b = polynomial_kernel(a, a), polynomial_kernel(b, b)
    across = polynomial_kernel(a, b).mean()
    mean_a = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    mean_b = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(mean_a + mean_b - 2.0 * across)


def kid(
    made: NDArray[np.floating],
    real: NDArray[np.floating],
    subsets: int = 50,
    size: int = 50,
    seed: int = 0,
) -> Kid:
    """KID of two sets of features over `subsets` draws of `size` rows from each, without
    replacement within a draw; a smaller set lowers `size` for both."""
    size = min(size, len(made), len(real))
    random = np.random.default_rng(seed)
    values = [
        squared_mmd(
            made[random.choice(len(made), size, replace=False)],
            real[random.choice(len(real), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(values)), float(np.std(values)), subsets, size)
