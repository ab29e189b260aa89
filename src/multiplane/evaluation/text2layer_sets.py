"""What Text2Layer's protocol (arXiv 2307.09781, section V-B) compares with: two sets of real
composites, and captions that stay the same for every model.

`filtered` stands for LL2I-E: held-out scenes as the filters would pass them, one whole object in
its place. `unfiltered` stands for LA, pictures of the source before any filter: scenes of any
drawing style, objects far too small, landscapes without an object. Neither was ever trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from multiplane.core.request import LayerRequest, Plane, Task
from multiplane.data.placement import ScenePlacement
from multiplane.evaluation.prompts import FixedPrompt
from multiplane.evaluation.scenes import joint_prompt
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.run import step_generator
from multiplane.training.scenes import SceneFeed

SEED = 2307_09781
BATCH = 32
BUSY = 0.5
SCENE = Task.of("-> foreground background composite")
FLAT = Task.of("-> composite")
Pictures = list[NDArray[np.float32]]  # (H, W, 3) sRGB 0..1 each


def reference_sets(assets: Path, side: int, count: int) -> dict[str, Pictures]:
    """`count` composites of each set at side x side pixels, drawn by a fixed seed."""

    def feed(styles: dict[str, float]) -> SceneFeed:
        config = FeedConfig(assets, side, styles, round(1.375 * side))
        return load_feed(config, "heldout", None, torch.device("cpu"))[0]

    same = feed({"3d": 1.0})
    tiny_objects = SceneFeed(
        same.foregrounds, same.backgrounds, same.style_weights, ScenePlacement(scale=(0.08, 0.2))
    )
    share = count // 4
    return {
        "filtered": _composites(same, count, 0),
        "unfiltered": [
            *_composites(same, count - 3 * share, 1),
            *_composites(feed({"clipart": 1.0}), share, 2),
            *_composites(tiny_objects, share, 3),
            *_composites(same, share, 4, plain=True),
        ],
    }


def _composites(feed: SceneFeed, count: int, part: int, plain: bool = False) -> Pictures:
    """plain: only what stands behind the object."""
    found: Pictures = []
    for index in range(-(-count // BATCH)):
        scenes = feed.scenes(BATCH, BUSY, step_generator(SEED + part, index, 0))
        planes = scenes.background if plain else scenes.composite
        found += list(planes[:, :3].clamp(0, 1).permute(0, 2, 3, 1).contiguous().numpy())
    return found[:count]


def caption_of(prompt: FixedPrompt) -> str:
    """The one caption a scene is asked for with, as in training."""
    return joint_prompt(prompt.foreground, prompt.background)


def request_for(prompt: FixedPrompt, tasks: frozenset[Task], side: int, model: str) -> LayerRequest:
    """The caption as a request for what these weights make: a scene, else a flat picture; the seed
    is the prompt's place in its set. Raises ValueError for weights that make neither."""
    flat = LayerRequest(
        composite=Plane(wanted=True, prompt=caption_of(prompt)),
        size=(side, side),
        seed=prompt.number,
        model=model,
    )
    if SCENE in tasks:
        return replace(
            flat,
            foregrounds=(Plane(wanted=True, prompt=prompt.foreground),),
            background=Plane(wanted=True, prompt=prompt.background),
            composite=Plane(wanted=True),
        )
    if FLAT in tasks:
        return flat
    raise ValueError(
        f"{model!r} makes neither {str(SCENE)!r} nor {str(FLAT)!r}, so it cannot answer captions"
    )


def names(prompts: Sequence[FixedPrompt]) -> list[str]:
    """What the outputs are called: `train-00`, `heldout-03`, `combined-15`."""
    return [prompt.name for prompt in prompts]
