"""One neuron over fixed features: fitted, judged, and given its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

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
    inputs = torch.from_numpy(((features - mean) / deviation).astype(np.float32))
    wanted = torch.from_numpy(good.astype(np.float32))
    share = float(good.mean())
    cost = torch.where(wanted > 0, 0.5 / share, 0.5 / (1.0 - share))
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=config.rate)
    generator = torch.Generator().manual_seed(config.seed)
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * (1.0 - epoch / config.epochs)
        for rows in torch.randperm(len(inputs), generator=generator).split(config.batch):
            logits = inputs[rows] @ weight + bias
            loss = functional.binary_cross_entropy_with_logits(logits, wanted[rows], cost[rows])
            optimizer.zero_grad()
            (loss + config.decay * weight.square().sum()).backward()
            optimizer.step()
    folded = weight.detach().numpy().astype(np.float64) / deviation
    return folded.astype(np.float32), float(bias.detach()) - float(folded @ mean)


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
