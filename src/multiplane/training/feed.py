"""From asset shards to pools and a scene feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from multiplane.data.assets import AssetPool, read_assets, read_plates
from multiplane.data.placement import ScenePlacement
from multiplane.models.text_encoder import TextEncoder
from multiplane.training.materials import MATERIALS, captions_of, first_rows, in_material
from multiplane.training.pools import BackgroundPool, ForegroundPool, Prompts
from multiplane.training.scenes import SceneFeed


def _no_states(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(prompts), 0, 0), torch.zeros(len(prompts), 0, dtype=torch.bool)


# Stands in for the sentence encoder where the captions of the assets are wanted and no states.
CAPTIONS_ALONE = cast(TextEncoder, _no_states)


@dataclass(frozen=True)
class FeedConfig:
    """shards: folder of asset shards. size: pixels a side of the planes. style_weights: how often
    each drawing style is drawn; one of weight 0 is not read. A material (`MATERIALS`) counts as a
    style of its own: one asset a root concept of the others, made of it. background_size: pixels a
    side of the square crops kept of the photographs; background_crops: crops a photograph."""

    shards: Path
    size: int = 128
    style_weights: dict[str, float] = field(default_factory=lambda: {"3d": 1.0})
    background_size: int = 176
    background_crops: int = 5


def with_materials(assets: AssetPool, materials: Sequence[str]) -> AssetPool:
    """The pool with the first asset of each root concept in every one of these materials too, which
    is then its style; the pool itself where there are none."""
    if not materials:
        return assets
    first = first_rows(assets.roots)
    pixels = [assets.pixels]
    for material in materials:
        pixels.append(in_material(material, torch.from_numpy(assets.pixels[first])).numpy())
    names = [name for name in materials for _ in first]
    rows = first * len(materials)
    made = [captions_of(n, assets.captions[r][0]) for n, r in zip(names, rows, strict=True)]
    return replace(
        assets,
        pixels=np.concatenate(pixels),
        keys=[*assets.keys, *(f"{assets.keys[r]}-{n}" for n, r in zip(names, rows, strict=True))],
        concepts=[*assets.concepts, *(assets.concepts[row] for row in rows)],
        roots=[*assets.roots, *(assets.roots[row] for row in rows)],
        groups=[*assets.groups, *(assets.groups[row] for row in rows)],
        styles=[*assets.styles, *names],
        captions=[*assets.captions, *made],
        weights=np.concatenate([assets.weights, np.ones(len(rows), assets.weights.dtype)]),
    )


def load_feed(
    config: FeedConfig, split: str, encoder: TextEncoder | None, device: torch.device
) -> tuple[SceneFeed, Prompts]:
    """A feed over one split ("train" or "heldout") and the text states its prompt rows point at.
    Without an encoder there are no captions, and every prompt row is the empty one. Materials are
    of the training split alone, so held-out losses stay those of the assets as they are.

    Pictures of one root concept share its turn (`ForegroundPool.draw`). Raises FileNotFoundError
    without shards, ValueError where they hold nothing of the split or of a style, and where no
    style has a weight that is no material."""
    wanted = [name for name, weight in config.style_weights.items() if weight > 0]
    styles = [name for name in wanted if name not in MATERIALS]
    materials = [name for name in wanted if name in MATERIALS and split == "train"]
    if not styles:
        raise ValueError(
            f"no drawing style has a weight in style_weights {config.style_weights}: give one a "
            'weight, as "3d" = 1.0; materials are made of its assets'
        )
    assets = read_assets(config.shards, ("foreground",), split, config.size, styles)
    if absent := sorted(set(styles) - set(assets.styles)):
        raise ValueError(
            f"{config.shards} holds no {split} foreground of style {', '.join(absent)}: give it no "
            f"weight; there are {', '.join(sorted(set(assets.styles)))}"
        )
    assets = with_materials(assets, materials)
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
