"""One neuron over fixed features: fitted, judged, and given its threshold. numpy alone: a neuron
needs no more, and it is there at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class FitConfig:
    """epochs: as in Text2Layer. decay: weight of the squared weights in the loss; the paper names
    none, but with more features than examples a neuron needs some."""

    epochs: int = 100
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-2
    seed: int = 0


def fit_neuron(
    features: Array, good: NDArray[np.bool_], config: FitConfig
) -> tuple[NDArray[np.float32], float]:
    """(weight (D,), bias) of a logistic neuron over features (N, D); both answers weigh the same.

    Trained on features of mean 0 and deviation 1; both are folded back, so the result reads
    features as they come. Raises ValueError when one of the answers is missing."""
    if good.all() or not good.any():
        raise ValueError("a neuron needs examples of both answers, good and bad")
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    inputs = ((features - mean) / deviation).astype(np.float32)
    share = float(good.mean())
    cost = np.where(good, 0.5 / share, 0.5 / (1.0 - share)).astype(np.float32)
    adam = _Adam(inputs.shape[1] + 1)
    rng = np.random.default_rng(config.seed)
    for epoch in range(config.epochs):
        rate = config.rate * (1.0 - epoch / config.epochs)
        order = rng.permutation(len(inputs))
        for start in range(0, len(order), config.batch):
            rows = order[start : start + config.batch]
            weight, bias = adam.values[:-1], adam.values[-1]
            with np.errstate(over="ignore"):
                said = 1.0 / (1.0 + np.exp(-(inputs[rows] @ weight + bias)))
            # Of the binary cross-entropy, by its logits.
            slope = cost[rows] * (said - good[rows]) / len(rows)
            gradient = np.append(slope @ inputs[rows] + 2.0 * config.decay * weight, slope.sum())
            adam.step(gradient.astype(np.float32), rate)
    folded = adam.values[:-1].astype(np.float64) / deviation
    return folded.astype(np.float32), float(adam.values[-1]) - float(folded @ mean)


class _Adam:
    """Kingma and Ba 2014, algorithm 1, from zeros."""

    def __init__(self, size: int, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.values, self._mean, self._square = np.zeros((3, size), np.float32)
        self._betas, self._steps = betas, 0

    def step(self, gradient: NDArray[np.float32], rate: float) -> None:
        first, second = self._betas
        self._steps += 1
        self._mean += np.float32(1 - first) * (gradient - self._mean)
        self._square += np.float32(1 - second) * (gradient**2 - self._square)
        mean = self._mean / np.float32(1 - first**self._steps)
        square = self._square / np.float32(1 - second**self._steps)
        self.values -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))


def roc_auc(scores: Array, good: NDArray[np.bool_]) -> float:
    """How often a good example scores above a bad one, ties counted half (Mann and Whitney)."""
    above, below = scores[good], np.sort(scores[~good])
    if not above.size or not below.size:
        raise ValueError("the area under the curve needs good and bad examples")
    less = np.searchsorted(below, above, "left")
    less_or_equal = np.searchsorted(below, above, "right")
    return float((less + less_or_equal).mean() / 2 / below.size)


def threshold_at_precision(scores: Array, good: NDArray[np.bool_], precision: float) -> float:
    """The lowest threshold from which on at least `precision` of what passes is good.

    Raises ValueError when no threshold does."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(good[order])
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    enough = last_of_ties & (hits / np.arange(1, len(order) + 1) >= precision)
    if not enough.any():
        raise ValueError(f"no threshold reaches a precision of {precision}: the scores say nothing")
    return float(ranked[np.flatnonzero(enough)[-1]])
