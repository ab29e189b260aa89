"""Assets on the training device: pixels as uint8, captions as precomputed text states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    def to(self, device: torch.device) -> Prompts:
        return Prompts(self.states.to(device), self.mask.to(device), self.texts)

    def lookup(self) -> dict[str, int]:
        """text -> its row."""
        return {text: row for row, text in enumerate(self.texts)}


@dataclass(frozen=True)
class ForegroundPool:
    """Cut-outs. pixels: (N, 4, S, S) uint8 straight RGBA. boxes: (N, 4) of (x0, y0, x1, y1) as
    canvas fractions of what is more than a tenth opaque. styles: for each drawing style its
    concepts, each as the rows that show it. captions: for each row, prompt rows."""

    pixels: Tensor
    boxes: Tensor
    styles: dict[str, list[list[int]]]
    captions: list[list[int]]

    @classmethod
    def build(
        cls,
        pixels: Tensor,
        concepts: Sequence[str],
        styles: Sequence[str],
        captions: list[list[int]],
    ) -> ForegroundPool:
        """pixels: (N, 4, S, S) uint8 straight RGBA; the others have one entry a picture."""
        grouped: dict[str, dict[str, list[int]]] = {}
        for row, (concept, style) in enumerate(zip(concepts, styles, strict=True)):
            grouped.setdefault(style, {}).setdefault(concept, []).append(row)
        rows = {style: list(by_concept.values()) for style, by_concept in grouped.items()}
        return cls(pixels, opaque_boxes(pixels), rows, captions)

    def to(self, device: torch.device) -> ForegroundPool:
        pixels, boxes = self.pixels.to(device), self.boxes.to(device)
        return ForegroundPool(pixels, boxes, self.styles, self.captions)

    def draw(self, count: int, weights: dict[str, float], generator: torch.Generator) -> Tensor:
        """(count,) rows on CPU: a style by weight, then a concept, then one of its pictures, each
        uniform. Raises ValueError when no style here has a weight."""
        names = [name for name in self.styles if weights.get(name, 0) > 0]
        if not names:
            raise ValueError(f"no style of {sorted(self.styles)} has a weight in {weights}")
        chances = torch.tensor([weights[name] for name in names])
        rolled = torch.multinomial(chances, count, replacement=True, generator=generator).tolist()
        uniform = torch.rand(count, 2, generator=generator).tolist()
        rows = []
        for style, (first, second) in zip(rolled, uniform, strict=True):
            concepts = self.styles[names[style]]
            pictures = concepts[int(first * len(concepts))]
            rows.append(pictures[int(second * len(pictures))])
        return torch.tensor(rows)

    def premultiplied(self, rows: Tensor) -> Tensor:
        """(B,) rows -> (B, 4, S, S) float32 premultiplied in [0, 1] on the pool's device."""
        return premultiply(self.pixels[rows.to(self.pixels.device)].float() / 255)


@dataclass(frozen=True)
class BackgroundPool:
    """Square crops of photographs. pixels: (N, 3, R, R) uint8. photos: for each photograph its
    crops' rows. captions: for each row, prompt rows."""

    pixels: Tensor
    photos: list[list[int]]
    captions: list[list[int]]

    @classmethod
    def build(
        cls, pictures: Sequence[Tensor], captions: list[list[int]], size: int, crops: int
    ) -> BackgroundPool:
        """pictures: (3, H, W) uint8 each. Every picture gives `crops` squares spread over its
        width, at `size` pixels a side; the feed zooms into them further."""
        squares, photos, rows = [], [], []
        for picture, caption in zip(pictures, captions, strict=True):
            height, width = picture.shape[1:]
            side = min(height, width)
            starts = torch.linspace(0, width - side, crops).round().long().tolist()
            first = len(squares)
            for left in dict.fromkeys(starts):
                square = picture[None, :, :side, left : left + side].float()
                small = F.interpolate(square, size=(size, size), mode="area")
                squares.append(small[0].round().to(torch.uint8))
                rows.append(caption)
            photos.append(list(range(first, len(squares))))
        return cls(torch.stack(squares), photos, rows)

    def to(self, device: torch.device) -> BackgroundPool:
        return BackgroundPool(self.pixels.to(device), self.photos, self.captions)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) rows on CPU: a photograph, then one of its crops, each uniform."""
        uniform = torch.rand(count, 2, generator=generator).tolist()
        rows = []
        for first, second in uniform:
            crops = self.photos[int(first * len(self.photos))]
            rows.append(crops[int(second * len(crops))])
        return torch.tensor(rows)


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
