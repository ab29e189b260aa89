"""Scenes as named planes with a caption each: composed fresh from asset shards with exact truth, or
read from scene shards (`multiplane data layer-pairs`)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multiplane.core.pixels import resize
from multiplane.data.assets import shard_paths
from multiplane.models.planes import premultiply
from multiplane.training.feed import CAPTIONS_ALONE, FeedConfig, load_feed
from multiplane.training.pools import Prompts
from multiplane.training.scenes import SceneFeed

PLANES = ("foreground", "background", "composite")
HELDOUT_EVERY = 16


@dataclass(frozen=True)
class LayerScenes:
    """planes: by name, (B, 4, S, S) premultiplied in [0, 1]; the background and the composite are
    opaque. captions: B a plane."""

    planes: dict[str, Tensor]
    captions: dict[str, list[str]]


class SceneSource(Protocol):
    def draw(self, count: int, generator: torch.Generator) -> LayerScenes:
        """`count` scenes; all chance comes from the generator, one on CPU."""
        ...


@dataclass(frozen=True)
class StoredConfig:
    """shards: folder of scene shards of the split "train". size: pixels a side; a scene's middle
    square is brought to it."""

    shards: Path
    size: int = 512


@dataclass(frozen=True)
class SceneConfig:
    """Where scenes come from, one of the two. composed: objects and photographs, put together anew
    at every step; busy: share of the backgrounds that hold other objects already. stored: scenes
    that were made before."""

    composed: FeedConfig | None = None
    stored: StoredConfig | None = None
    busy: float = 0.5

    def __post_init__(self) -> None:
        if (self.composed is None) == (self.stored is None):
            raise ValueError("give the scenes as one table, composed or stored")

    @property
    def size(self) -> int:
        """Pixels a side of every plane."""
        source = self.composed or self.stored
        assert source is not None
        return source.size


@dataclass(frozen=True)
class ComposedScenes:
    """The composite is over(foreground, background) to the last bit, and is called "a red apple in
    a misty valley"."""

    feed: SceneFeed
    prompts: Prompts
    busy: float

    def draw(self, count: int, generator: torch.Generator) -> LayerScenes:
        """See `SceneSource`."""
        scenes = self.feed.scenes(count, self.busy, generator)
        texts = self.prompts.texts
        front, back = (
            [texts[row] for row in rows.tolist()]
            for rows in (scenes.foreground_prompt, scenes.background_prompt)
        )
        whole = [f"{one} in {other}" for one, other in zip(front, back, strict=True)]
        planes = (scenes.foreground, scenes.background, scenes.composite)
        return LayerScenes(
            {name: plane.clamp(0, 1) for name, plane in zip(PLANES, planes, strict=True)},
            dict(zip(PLANES, (front, back, whole), strict=True)),
        )


@dataclass(frozen=True)
class _Record:
    """Where a scene's members lie in its shard: (first byte, length) by suffix."""

    path: Path
    members: dict[str, tuple[int, int]]

    def read(self, suffix: str) -> bytes:
        start, length = self.members[suffix]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)


class StoredScenes:
    """Scenes of shards, found by an index and decoded as they are drawn. Every sixteenth is held
    out of training: what the split "heldout" draws from."""

    def __init__(self, config: StoredConfig, split: str, device: torch.device) -> None:
        """Raises FileNotFoundError without shards, ValueError where they hold too few scenes."""
        records = _records(shard_paths(config.shards, ("scene",), "train"))
        held = [index % HELDOUT_EVERY == HELDOUT_EVERY - 1 for index in range(len(records))]
        self.records = [
            record for record, out in zip(records, held, strict=True) if out == (split == "heldout")
        ]
        if not self.records:
            raise ValueError(
                f"{config.shards} holds {len(records)} scenes: give at least {HELDOUT_EVERY}, one "
                "of which is held out"
            )
        self.size, self.device = config.size, device

    def draw(self, count: int, generator: torch.Generator) -> LayerScenes:
        """See `SceneSource`."""
        rows = torch.randint(0, len(self.records), (count,), generator=generator).tolist()
        chosen = [self.records[row] for row in rows]
        words = [json.loads(record.read("json")) for record in chosen]
        planes = {
            name: premultiply(
                torch.stack([_pixels(one.read(f"{name}.png"), self.size) for one in chosen])
            ).to(self.device)
            for name in PLANES
        }
        keys = dict(zip(PLANES, ("foreground", "background", "caption"), strict=True))
        captions = {name: [str(one[key]) for one in words] for name, key in keys.items()}
        return LayerScenes(planes, captions)


def _records(paths: Sequence[Path]) -> list[_Record]:
    found: dict[tuple[Path, str], dict[str, tuple[int, int]]] = {}
    for path in paths:
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                place = (info.offset_data, info.size)
                found.setdefault((path, key), {})[suffix] = place
    return [_Record(path, members) for (path, _), members in found.items()]


def _pixels(data: bytes, size: int) -> Tensor:
    """(4, size, size) straight in [0, 1]."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    square = np.asarray(picture.crop((left, top, left + side, top + side)))
    fitted = resize(square, (size, size), "area" if side > size else "lanczos")
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).float() / 255


def load_scenes(config: SceneConfig, split: str, device: torch.device) -> SceneSource:
    """The scenes of one split, "train" or "heldout". Raises FileNotFoundError or ValueError."""
    if config.stored is not None:
        return StoredScenes(config.stored, split, device)
    assert config.composed is not None
    feed, prompts = load_feed(config.composed, split, CAPTIONS_ALONE, device)
    return ComposedScenes(feed, prompts, config.busy)
