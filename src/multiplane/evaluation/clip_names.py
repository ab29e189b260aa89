"""Do the things in clips look like what was asked, and do they stay themselves?

The first, middle and last frame of a clip's foreground are looked at as single foregrounds are
(`evaluation.retrieval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float
from multiplane.evaluation.assets import ReferenceAssets
from multiplane.evaluation.judges import Features
from multiplane.evaluation.prompts import FixedPrompt, by_set
from multiplane.evaluation.retrieval import Vectors, described, looks
from multiplane.evaluation.sheets import evenly

LOOKED_AT = 3
TOP = 5


def clip_vectors(clips: Sequence[NDArray[np.generic]], features: Features) -> Vectors:
    """Foregrounds (F, H, W, 4) straight -> (N, 3, D) unit vectors of their first, middle and last
    frames."""
    frames = [to_float(clip[place]) for clip in clips for place in evenly(len(clip), LOOKED_AT)]
    found = described(looks(frames, features))
    return found.reshape(len(clips), LOOKED_AT, -1)


def named(
    assets: ReferenceAssets, vectors: Vectors, prompts: Sequence[FixedPrompt]
) -> dict[str, Any]:
    """Of all prompts and of each set: the share of frames whose concept's drawing is among the five
    nearest, of real assets of the same concepts, and by chance. vectors: (N, 3, D) of
    `clip_vectors`. Raises ValueError for a concept that the gallery lacks."""
    gallery = assets.gallery
    concepts = [prompt.concept for prompt in prompts]
    asked = [concept for concept in concepts for _ in range(LOOKED_AT)]
    made = gallery.hits(vectors.reshape(len(asked), -1), asked, TOP).reshape(-1, LOOKED_AT)
    real = gallery.hits(assets.real_vectors(concepts), concepts, TOP)

    def rates(chosen: NDArray[np.bool_]) -> dict[str, float]:
        return {
            "clips": int(chosen.sum()),
            "top5": float(made[chosen].mean()),
            "ceiling": float(real[chosen].mean()),
            "floor": gallery.floor(TOP),
        }

    return by_set(prompts, rates)


def staying(vectors: Vectors) -> dict[str, float]:
    """Likeness (cosine) of first and last frames, mean over clips, and of first frames with other
    clips' last ones, by which to read it; nothing of a single clip. vectors: (N, 3, D) unit."""
    if len(vectors) < 2:
        return {}
    likeness = vectors[:, 0] @ vectors[:, -1].T
    own = np.eye(len(vectors), dtype=bool)
    return {
        "first to last": float(likeness[own].mean()),
        "first to last of others": float(likeness[~own].mean()),
    }
