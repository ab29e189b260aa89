"""Scenes drawn once, encoded once, and trained on many times: for comparisons in which every model
must see the same scenes, and for machines on which encoding costs as much as training."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiplane.models.layer_codecs import LayerCodec
from multiplane.models.text_encoder import TextEncoder
from multiplane.models.weights_io import read_tensors, write_tensors
from multiplane.training.pools import Prompts
from multiplane.training.run import step_generator
from multiplane.training.scenes import SceneFeed
from multiplane.training.two_layers import Fault, draw_two_layers

logger = logging.getLogger(__name__)
BATCH = 64


@dataclass(frozen=True)
class LatentPool:
    """latents: (N, C, h, w) and states: (N, T, C) of the captions, both half precision on CPU."""

    latents: Tensor
    states: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def draw(
        self, count: int, generator: torch.Generator, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """(latents, states) of `count` scenes, uniform with replacement, float32 on `device`."""
        rows = torch.randint(0, len(self), (count,), generator=generator)
        return self.latents[rows].float().to(device), self.states[rows].float().to(device)


@torch.no_grad()
def draw_pool(
    feed: SceneFeed,
    prompts: Prompts,
    encoder: TextEncoder,
    codec: LayerCodec,
    count: int,
    seed: int,
    captions_folder: Path,
    fault: Fault | None = None,
) -> LatentPool:
    """`count` scenes of the feed. Captions that another pool has already encoded are read from
    `captions_folder`."""
    latents, captions = [], []
    for index in range(-(-count // BATCH)):
        batch = draw_two_layers(feed, prompts, BATCH, step_generator(seed, index, 0), fault)
        latents.append(codec.encode(batch.layers).half().cpu())
        captions += batch.captions
    states = caption_states(encoder, captions[:count], captions_folder)
    return LatentPool(torch.cat(latents)[:count].contiguous(), states)


def caption_states(encoder: TextEncoder, captions: Sequence[str], folder: Path) -> Tensor:
    """(N, T, C) half-precision states of captions, kept in `folder` by their text."""
    key = hashlib.sha256("\n".join(captions).encode()).hexdigest()[:16]
    path = folder / f"captions-{key}.safetensors"
    if path.is_file():
        return read_tensors(path)["states"]
    parts = [
        encoder(captions[start : start + BATCH])[0].half().cpu()
        for start in range(0, len(captions), BATCH)
    ]
    states = torch.cat(parts)
    write_tensors({"states": states}, path)
    return states


def kept_pool(folder: Path, settings: dict[str, Any], draw: Any) -> LatentPool:
    """The pool that `draw()` makes, kept in `folder` under a digest of `settings` (whatever it
    depends on), so that a resumed run does not make it again."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"latents-{key}.safetensors"
    if path.is_file():
        found = read_tensors(path)
        return LatentPool(found["latents"], found["states"])
    pool = draw()
    write_tensors({"latents": pool.latents, "states": pool.states}, path)
    logger.info("encoded %d scenes into %s", len(pool), path)
    return pool
