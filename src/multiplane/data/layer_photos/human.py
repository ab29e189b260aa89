"""What people decided about masks and completions, as examples for the quality classifiers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from multiplane.core.pixels import Float, to_float
from multiplane.data.browse import Item, find_items
from multiplane.data.labels import read_labels
from multiplane.data.layer_photos.examples import Example


def labelled_examples(
    pictures: Path, labels: Path, question: Literal["mask", "completion"]
) -> Iterator[Example]:
    """One example for each decision that is not "skip". pictures: the folder or shards that were
    labelled; an item needs `composite` and a mask (`mask`, or the alpha of `foreground`) for the
    one question, `background` for the other.

    Raises FileNotFoundError, and ValueError naming an item that is not there or lacks a plane."""
    items = {item.key: item for item in find_items(pictures)}
    for label in read_labels(labels, question).values():
        if label.answer == "skip":
            continue
        if label.item not in items:
            raise ValueError(
                f"{labels} speaks of {label.item!r}, which is not in {pictures}: name the folder "
                "that was labelled"
            )
        item = items[label.item]
        fault = "" if label.answer == "good" else "by hand"
        good = label.answer == "good"
        if question == "completion":
            yield Example(_plane(item, "background"), None, good, fault, item.key)
        else:
            yield Example(_plane(item, "composite"), _mask(item), good, fault, item.key)


def _mask(item: Item) -> Float:
    if "mask" in item.planes:
        return _read(item, "mask", "L")
    return _read(item, "foreground", "RGBA")[..., 3]


def _plane(item: Item, name: str) -> Float:
    return _read(item, name, "RGB")


def _read(item: Item, name: str, mode: str) -> Float:
    if name not in item.planes:
        raise ValueError(f"{item.key} has no plane {name!r}; it has {', '.join(item.planes)}")
    with Image.open(io.BytesIO(item.planes[name].read())) as picture:
        return to_float(np.asarray(picture.convert(mode)))
