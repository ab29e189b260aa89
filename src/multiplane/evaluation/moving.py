"""Held-out assets that move over held-out photographs, with the truth of every plane and frame; and
what is measured of clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multiplane.core.pixels import to_float, to_u8, unpremultiply
from multiplane.training.feed import CAPTIONS_ALONE, FeedConfig, load_feed
from multiplane.training.moving_scenes import ClipSpan, MovingScenes

PLANES = ("foreground", "background", "composite")


@dataclass(frozen=True, eq=False)
class MovingScene:
    """planes: "foreground", "background" and "composite", (F, S, S, 4) uint8 straight alpha.
    prompts: the captions of the first two."""

    key: str
    planes: Mapping[str, NDArray[np.uint8]]
    prompts: Mapping[str, str]


def moving_scenes(shards: Path, size: int, frames: int, count: int, seed: int) -> list[MovingScene]:
    """Clips drawn by seed from the held-out assets. shards: folder of asset shards. Raises as
    `load_feed`."""
    config = FeedConfig(shards, size, background_size=round(size * 1.6))
    feed, prompts = load_feed(config, "heldout", CAPTIONS_ALONE, torch.device("cpu"))
    span = ClipSpan(frames, 1, frames)
    generator = torch.Generator().manual_seed(seed)
    planes, captions = MovingScenes(feed).scenes(count, span, generator)
    return [
        MovingScene(
            f"moving-{number:02d}",
            {name: _straight(planes[name][number]) for name in PLANES},
            {name: prompts.texts[int(rows[number])] for name, rows in captions.items()},
        )
        for number in range(count)
    ]


def _straight(clip: Tensor) -> NDArray[np.uint8]:
    """(F, 4, S, S) premultiplied -> (F, S, S, 4) uint8 straight."""
    premul = clip.movedim(1, -1).contiguous().numpy().astype(np.float32)
    return to_u8(unpremultiply(premul))


def motion(clip: NDArray[np.generic]) -> float:
    """Mean absolute difference of neighbouring frames, over the premultiplied colour and alpha.
    clip: (F, H, W, 4) straight, of any depth."""
    values = to_float(clip)
    premul = np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)
    return float(np.abs(np.diff(premul, axis=0)).mean())


def alpha_flicker(clip: NDArray[np.generic]) -> float:
    """How much alpha goes to and fro: mean |a[t-1] - 2 a[t] + a[t+1]| over the pixels whose alpha
    ever changes or is soft. What moves evenly has some of it too, so it is read beside that of real
    clips. clip: (F, H, W, 4), F at least 3."""
    alpha = to_float(clip)[..., 3]
    touched = (alpha.max(axis=0) - alpha.min(axis=0) > 0.05) | (
        (alpha > 0.05) & (alpha < 0.95)
    ).any(axis=0)
    if not touched.any():
        return 0.0
    return float(np.abs(np.diff(alpha, n=2, axis=0))[:, touched].mean())
