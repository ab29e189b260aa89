"""One picture on its way into a shard, and the split that keeps concepts apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["foreground", "background", "gallery"]
Split = Literal["train", "heldout"]

HELDOUT_SHARE = 0.07


@dataclass(frozen=True)
class Asset:
    """What is known of one picture before it is read.

    concept: what it shows, one id for every variant of it. root: the wider concept the held-out
    split goes by, so that near twins ("man surfing", "woman surfing") never part. weight: how
    often training should draw it beside the others of its kind. made: the model, prompt and seed
    of a picture that no person made. needs_colour: refuse it when it is black line art.
    """

    key: str
    path: Path
    kind: Kind
    concept: str
    root: str
    caption: str
    captions: tuple[str, ...]
    tags: tuple[str, ...]
    group: str
    source: str
    licence: str
    style: str
    split: Split
    weight: float = 1.0
    horizon: float | None = None
    made: Mapping[str, Any] | None = None
    needs_colour: bool = False

    def to_json(self) -> dict[str, Any]:
        """The sample's metadata; the path it was read from stays out."""
        fields = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("path", "needs_colour")
        }
        return {name: value for name, value in fields.items() if value is not None}


def split_of(root: str, share: float = HELDOUT_SHARE) -> Split:
    """The split of a concept root: the same on every machine, whatever else is in the set."""
    digest = hashlib.sha256(f"multiplane heldout {root}".encode()).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"
