"""Landscape photographs as background plates, captioned by hand (tables/plates.tsv).

Only photographs listed in the table enter: cockpits, engines, people and share-alike pictures are
left out there, file by file.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from multiplane.data.captions import varied
from multiplane.data.records import Asset, split_of

# Photographs are few: a larger share is held out, so that evaluation scenes do not repeat much.
HELDOUT_PLATES = 0.12
MEDIUM_PHOTO = ("a photo of {}", "{}, landscape", "{} in the background")


def read_table() -> dict[str, tuple[float, tuple[str, ...]]]:
    """photo name -> (horizon as a share of the height from the top, captions)."""
    text = (resources.files("multiplane.data") / "tables" / "plates.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: (float(horizon), tuple(captions)) for name, horizon, *captions in rows}


def plate_assets(photos: Path, *, source: str, licence: str) -> Iterator[Asset]:
    """Every photograph of the table that is in the folder `photos` (NAME@2x.jpg)."""
    for name, (horizon, phrases) in sorted(read_table().items()):
        captions = [caption for phrase in phrases for caption in varied(phrase, (), MEDIUM_PHOTO)]
        yield Asset(
            key=f"plate-{name}",
            path=photos / f"{name}@2x.jpg",
            kind="background",
            concept=name,
            root=name,
            caption=phrases[0],
            captions=tuple(dict.fromkeys((*phrases, *captions))),
            tags=(name.rstrip("0123456789"),),
            group="landscape",
            source=source,
            licence=licence,
            style="photo",
            split=split_of(name, HELDOUT_PLATES),
            horizon=horizon,
        )
