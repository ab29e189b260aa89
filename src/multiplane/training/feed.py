"""From asset shards to pools and a scene feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from multiplane.data.assets import read_assets, read_plates
from multiplane.data.placement import ScenePlacement
from multiplane.models.text_encoder import TextEncoder
from multiplane.training.pools import BackgroundPool, ForegroundPool, Prompts
from multiplane.training.scenes import SceneFeed


def _no_states(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(prompts), 0, 0), torch.zeros(len(prompts), 0, dtype=torch.bool)


# Stands in for the sentence encoder where the captions of the assets are wanted and no states.
CAPTIONS_ALONE = cast(TextEncoder, _no_states)


@dataclass(frozen=True)
class FeedConfig:
    """shards: folder of asset shards. size: pixels a side of the planes. style_weights: how often
    each drawing style is drawn; one of weight 0 is not read. background_size: pixels a side of the
    square crops kept of the photographs; background_crops: crops a photograph."""

    shards: Path
    size: int = 128
    style_weights: dict[str, float] = field(default_factory=lambda: {"3d": 1.0})
    background_size: int = 176
    background_crops: int = 5


def load_feed(
    config: FeedConfig, split: str, encoder: TextEncoder | None, device: torch.device
) -> tuple[SceneFeed, Prompts]:
    """A feed over one split ("train" or "heldout") and the text states its prompt rows point at.
    Without an encoder there are no captions, and every prompt row is the empty one.

    Pictures of one root concept share its turn (`ForegroundPool.draw`). Raises FileNotFoundError
    without shards, ValueError where they hold nothing of the split or of a style."""
    styles = [name for name, weight in config.style_weights.items() if weight > 0]
    assets = read_assets(config.shards, ("foreground",), split, config.size, styles)
    if absent := sorted(set(styles) - set(assets.styles)):
        raise ValueError(
            f"{config.shards} holds no {split} foreground of style {', '.join(absent)}: give it no "
            f"weight; there are {', '.join(sorted(set(assets.styles)))}"
        )
    plates = read_plates(config.shards, split, config.background_size)
    texts = [text for captions in assets.captions for text in captions]
    texts += [text for plate in plates for text in plate.captions]
    prompts = Prompts.encode(encoder, texts) if encoder else Prompts.none()
    rows = prompts.lookup()

    def indexed(captions: Sequence[str]) -> list[int]:
        """The plain caption counts twice among its variants."""
        if encoder is None:
            return [0]
        return [rows[text] for text in (captions[0], *captions) if text]

    foregrounds = ForegroundPool.build(
        torch.from_numpy(assets.pixels),
        assets.roots,
        assets.styles,
        [indexed(captions) for captions in assets.captions],
        assets.weights.tolist(),
    )
    backgrounds = BackgroundPool.build(
        [torch.from_numpy(plate.pixels) for plate in plates],
        [indexed(plate.captions) for plate in plates],
        config.background_size,
        config.background_crops,
        [plate.weight for plate in plates],
    )
    feed = SceneFeed(
        foregrounds.to(device), backgrounds.to(device), config.style_weights, ScenePlacement()
    )
    return feed, prompts.to(device)
