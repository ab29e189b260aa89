"""Assets on the training device: pixels as uint8, captions as precomputed text states."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.models.planes import premultiply
from multiplane.models.text_encoder import TextEncoder


@dataclass(frozen=True)
class Prompts:
    """Text states of many captions. states: (M, T, C) half; mask: (M, T) bool; texts: the M
    captions. Row 0 is the empty one."""

    states: Tensor
    mask: Tensor
    texts: tuple[str, ...]

    @classmethod
    def encode(cls, encoder: TextEncoder, texts: Sequence[str], batch: int = 256) -> Prompts:
        """Each different text once, in the order they come."""
        texts = ("", *dict.fromkeys(text for text in texts if text))
        parts = [encoder(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        states = torch.cat([part[0] for part in parts]).to(torch.float16)
        return cls(states, torch.cat([part[1] for part in parts]), texts)

    @classmethod
    def none(cls) -> Prompts:
        """The empty caption alone, without states: for training that reads no text."""
        return cls(torch.zeros(1, 0, 0), torch.zeros(1, 0, dtype=torch.bool), ("",))

    def to(self, device: torch.device) -> Prompts:
        return Prompts(self.states.to(device), self.mask.to(device), self.texts)

    def lookup(self) -> dict[str, int]:
        """text -> its row."""
        return {text: row for row, text in enumerate(self.texts)}


@dataclass(frozen=True)
class Turns:
    """Groups of rows that take turns: a group by its largest weight, then one of its rows by
    weight. So the variants of one thing share its turn, and where all weights are alike every
    group comes as often as any other.

    groups: the rows of each. group_sums, row_sums: running sums of their weights."""

    groups: list[list[int]]
    group_sums: list[float]
    row_sums: list[list[float]]

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]], weights: Sequence[float]) -> Turns:
        """weights: one a row, 0 or more. A row of weight 0 is never drawn; groups of nothing else
        are left out. Raises ValueError for weights that are none, or when nothing is left."""
        chosen = {row: weights[row] for group in groups for row in group}
        for row, weight in chosen.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of row {row} must be 0 or more, got {weight}")
        kept = [[row for row in group if chosen[row] > 0] for group in groups]
        kept = [group for group in kept if group]
        if not kept:
            raise ValueError("every weight is 0, so nothing could be drawn")
        largest = [max(chosen[row] for row in group) for group in kept]
        sums = [list(accumulate(chosen[row] for row in group)) for group in kept]
        return cls(kept, list(accumulate(largest)), sums)

    def draw(self, first: float, second: float) -> int:
        """A row, from two numbers drawn uniformly from 0 up to 1."""
        group = _place_in(self.group_sums, first)
        return self.groups[group][_place_in(self.row_sums[group], second)]


def _place_in(sums: Sequence[float], share: float) -> int:
    return min(bisect_right(sums, share * sums[-1]), len(sums) - 1)


@dataclass(frozen=True)
class ForegroundPool:
    """Cut-outs. pixels: (N, 4, S, S) uint8 straight RGBA. boxes: (N, 4) of (x0, y0, x1, y1) as
    canvas fractions of what is more than a tenth opaque. styles: for each drawing style its
    concepts, each as the rows that show it, taking turns by weight. captions: for each row, prompt
    rows."""

    pixels: Tensor
    boxes: Tensor
    styles: dict[str, Turns]
    captions: list[list[int]]

    @classmethod
    def build(
        cls,
        pixels: Tensor,
        concepts: Sequence[str],
        styles: Sequence[str],
        captions: list[list[int]],
        weights: Sequence[float] | None = None,
    ) -> ForegroundPool:
        """pixels: (N, 4, S, S) uint8 straight RGBA; the others have one entry a picture. weights:
        how often each is drawn beside its like; all alike when None."""
        grouped: dict[str, dict[str, list[int]]] = {}
        for row, (concept, style) in enumerate(zip(concepts, styles, strict=True)):
            grouped.setdefault(style, {}).setdefault(concept, []).append(row)
        weights = [1.0] * len(pixels) if weights is None else weights
        turns = {
            style: Turns.of(list(by_concept.values()), weights)
            for style, by_concept in grouped.items()
        }
        return cls(pixels, opaque_boxes(pixels), turns, captions)

    def to(self, device: torch.device) -> ForegroundPool:
        return replace(self, pixels=self.pixels.to(device), boxes=self.boxes.to(device))

    def draw(self, count: int, weights: dict[str, float], generator: torch.Generator) -> Tensor:
        """(count,) rows on CPU: a style by `weights`, then a concept and one of its pictures as
        `Turns` says. Raises ValueError when no style here has a weight."""
        names = [name for name in self.styles if weights.get(name, 0) > 0]
        if not names:
            raise ValueError(f"no style of {sorted(self.styles)} has a weight in {weights}")
        chances = torch.tensor([weights[name] for name in names])
        rolled = torch.multinomial(chances, count, replacement=True, generator=generator).tolist()
        uniform = torch.rand(count, 2, generator=generator).tolist()
        rows = [
            self.styles[names[style]].draw(first, second)
            for style, (first, second) in zip(rolled, uniform, strict=True)
        ]
        return torch.tensor(rows)

    def premultiplied(self, rows: Tensor) -> Tensor:
        """(B,) rows -> (B, 4, S, S) float32 premultiplied in [0, 1] on the pool's device."""
        return premultiply(self.pixels[rows.to(self.pixels.device)].float() / 255)


@dataclass(frozen=True)
class BackgroundPool:
    """Square crops of photographs. pixels: (N, 3, R, R) uint8. photos: for each photograph its
    crops' rows, taking turns by weight. captions: for each row, prompt rows."""

    pixels: Tensor
    photos: Turns
    captions: list[list[int]]

    @classmethod
    def build(
        cls,
        pictures: Sequence[Tensor],
        captions: list[list[int]],
        size: int,
        crops: int,
        weights: Sequence[float] | None = None,
    ) -> BackgroundPool:
        """pictures: (3, H, W) uint8 each. Every picture gives `crops` squares spread over its
        width, at `size` pixels a side; the feed zooms into them further. weights: one a picture;
        all alike when None."""
        weights = [1.0] * len(pictures) if weights is None else weights
        squares, photos, rows, chances = [], [], [], []
        for picture, caption, weight in zip(pictures, captions, weights, strict=True):
            height, width = picture.shape[1:]
            side = min(height, width)
            starts = torch.linspace(0, width - side, crops).round().long().tolist()
            first = len(squares)
            for left in dict.fromkeys(starts):
                square = picture[None, :, :side, left : left + side].float()
                small = F.interpolate(square, size=(size, size), mode="area")
                squares.append(small[0].round().to(torch.uint8))
                rows.append(caption)
                chances.append(weight)
            photos.append(list(range(first, len(squares))))
        return cls(torch.stack(squares), Turns.of(photos, chances), rows)

    def to(self, device: torch.device) -> BackgroundPool:
        return replace(self, pixels=self.pixels.to(device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) rows on CPU: a photograph by weight, then any of its crops."""
        uniform = torch.rand(count, 2, generator=generator).tolist()
        return torch.tensor([self.photos.draw(first, second) for first, second in uniform])


def opaque_boxes(pixels: Tensor, threshold: float = 0.1) -> Tensor:
    """(N, 4, S, S) uint8 -> (N, 4) of (x0, y0, x1, y1) in 0..1 around alpha above `threshold`; the
    whole canvas where nothing is."""
    shown = pixels[:, 3] > threshold * 255
    size = shown.shape[-1]
    boxes = []
    for axis in (1, 2):  # collapse rows, then columns
        line = shown.any(dim=axis)
        start = line.float().argmax(dim=1)
        end = size - line.flip(1).float().argmax(dim=1)
        empty = ~line.any(dim=1)
        boxes.append((start.masked_fill(empty, 0), end.masked_fill(empty, size)))
    (x0, x1), (y0, y1) = boxes
    return torch.stack([x0, y0, x1, y1], dim=1).float() / size
