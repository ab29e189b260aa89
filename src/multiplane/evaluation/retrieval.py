"""Concept retrieval: does a made foreground look like what it was asked to be?

A gallery holds one drawing a base concept, from a drawing family no model was trained on. A made
foreground is a hit when the drawing of its concept is among the k nearest. The same figure for
real assets of the same concepts is the ceiling; k / N is the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multiplane.evaluation.judges import Features, framed

Array = NDArray[np.floating]
Vectors = NDArray[np.float32]  # (N, D)

# Every picture is described on each of these and the unit vectors are averaged: a white sheep and
# a black cat must not vanish, and what a background adds is taken out again.
BACKGROUNDS = ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def unit(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; a zero row stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def looks(
    pictures: Sequence[Array],
    features: Features,
    backgrounds: Sequence[tuple[float, float, float]] = BACKGROUNDS,
) -> Vectors:
    """(B, N, D) raw features of straight-alpha pictures (H, W, 4) 0..1: the object framed, laid
    over each of the B backgrounds. Row 0, on grey, is also what KID is measured on."""
    if not backgrounds:
        raise ValueError("describing a picture needs at least one background colour")
    frames = [framed(picture) for picture in pictures]
    return np.stack(
        [
            features.of(
                [f[..., :3] + np.float32(color) * (1.0 - f[..., 3:4]) for f in frames]  # pyright: ignore[reportArgumentType]
            )
            for color in backgrounds
        ]
    )


def described(raw: Vectors) -> Vectors:
    """(B, N, D) of `looks` -> (N, D) unit vectors: the mean over backgrounds of unit vectors."""
    return unit(np.mean([unit(vectors) for vectors in raw], axis=0))


@dataclass(frozen=True, eq=False)
class Gallery:
    """The gallery's drawings where another drawing family can be compared with them.

    Each family is centred on its own mean (the gallery's; the training assets' for everything made
    in their style) and projected on the gallery's leading principal directions, each damped by the
    root of its spread. Nothing is fitted to what is being scored. With real assets this lifts top-5
    from 56 to 67 % (see docs/evaluation.md).
    """

    vectors: Vectors  # (N, K) unit
    concepts: tuple[str, ...]
    query_mean: NDArray[np.float32]  # (D,)
    basis: NDArray[np.float32]  # (D, K)

    @classmethod
    def fit(
        cls, drawings: Vectors, concepts: Sequence[str], training: Vectors, components: int = 512
    ) -> Gallery:
        """drawings (N, D): `described` of the gallery. training (M, D): of the training assets."""
        mean = drawings.mean(axis=0)
        basis = damped_directions(drawings - mean, components)
        placed = unit(np.asarray((drawings - mean) @ basis, np.float32))
        return cls(placed, tuple(concepts), training.mean(axis=0), basis)

    def nearest(self, queries: Vectors, k: int = 5) -> list[list[str]]:
        """The concepts of the k drawings nearest to each query (N, D), best first."""
        placed = unit(np.asarray((queries - self.query_mean) @ self.basis, np.float32))
        order = np.argsort(-(placed @ self.vectors.T), axis=1, kind="stable")[:, :k]
        return [[self.concepts[index] for index in row] for row in order]

    def hits(self, queries: Vectors, concepts: Sequence[str], k: int = 5) -> NDArray[np.bool_]:
        """(N,) whether the drawing of a query's concept is among its k nearest.

        Raises ValueError naming concepts that the gallery lacks."""
        missing = sorted(set(concepts) - set(self.concepts))
        if missing:
            raise ValueError(
                f"the gallery holds no picture of {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''}: ask only for concepts it shows"
            )
        rows = self.nearest(queries, k)
        return np.array([name in row for name, row in zip(concepts, rows, strict=True)], bool)

    def floor(self, k: int = 5) -> float:
        """The chance of a hit for a ranking that knows nothing: k / N."""
        return min(k / len(self.concepts), 1.0)


def damped_directions(centred: Vectors, components: int) -> NDArray[np.float32]:
    """(D, K) leading principal directions of (N, D), each divided by the root of its spread."""
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(components, int((spread > 1e-5 * spread[0]).sum()))
    return (directions[:kept].T / np.sqrt(spread[:kept] / spread[0])).astype(np.float32)
