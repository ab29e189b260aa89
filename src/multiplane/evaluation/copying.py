"""Copy rate: how many made pictures sit closer to a training asset than its own kind does.

A made picture g is a copy when its nearest training asset t is nearer to g than to any other
training asset (DESIGN.md section 6). Distance: cosine, on the vectors of `retrieval.described`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multiplane.evaluation.retrieval import Vectors


@dataclass(frozen=True, eq=False)
class CopyReport:
    """nearest: (N,) index of each picture's nearest training asset. distance: (N,) to it.
    spacing: (N,) distance of that asset to its own nearest neighbour. rate: share of pictures with
    distance < spacing."""

    nearest: NDArray[np.intp]
    distance: NDArray[np.float64]
    spacing: NDArray[np.float64]

    @property
    def copied(self) -> NDArray[np.bool_]:
        return self.distance < self.spacing

    @property
    def rate(self) -> float:
        return float(self.copied.mean()) if self.copied.size else 0.0


def copy_report(
    made: Vectors, training: Vectors, concepts: Sequence[str] | None = None
) -> CopyReport:
    """made (N, D) and training (M, D) unit vectors.

    concepts: the training assets' concept ids; when given, an asset's neighbour is looked for
    among other concepts only, which is the stricter reading: near twins of one concept (skin
    tones) lie so close together that nothing could ever count as a copy of them.
    Raises ValueError with fewer than two training assets (or concepts)."""
    if len(training) < 2 or (concepts is not None and len(set(concepts)) < 2):
        raise ValueError("copy rate needs at least two training assets to compare")
    distances = 1.0 - made.astype(np.float64) @ training.astype(np.float64).T
    nearest = distances.argmin(axis=1)
    spacing = np.empty(len(made))
    for row, index in enumerate(nearest):
        among = 1.0 - training.astype(np.float64) @ training[index].astype(np.float64)
        if concepts is None:
            among[index] = np.inf
        else:
            among[np.asarray(concepts) == concepts[index]] = np.inf
        spacing[row] = among.min()
    return CopyReport(nearest, distances[np.arange(len(made)), nearest], spacing)
