"""A known moving picture for the tests and benchmarks of clip formats: a soft-edged disc and a
translucent blob that move over each other, with colour under alpha 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from multiplane.core.clip import LayerClip, Rate
from multiplane.core.document import Layer, LayerDocument, Provenance


def frame(number: int, size: tuple[int, int], dtype: type = np.uint8) -> np.ndarray:
    """(H, W, 4) straight alpha. Smooth colours, also where nothing is seen."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    side = min(width, height)
    disc = np.hypot(x - width * 0.4 - number * side / 60, y - height * 0.5)
    blob = np.hypot(x - width * 0.6 + number * side / 90, (y - height * 0.45) * 1.3)
    alpha = np.clip((side * 0.25 - disc) / (side * 0.03) + 0.5, 0, 1)
    alpha = np.maximum(alpha, 0.6 * np.exp(-((blob / (side * 0.2)) ** 2)))
    alpha[blob > side * 0.45] = np.where(disc < side * 0.3, alpha, 0)[blob > side * 0.45]
    wave = 0.5 + 0.4 * np.sin((x + 2 * number) / side * 4 + np.array([0, 2, 4])[:, None, None])
    full = np.iinfo(dtype).max
    pixels = np.stack([*wave, alpha], axis=2) * full
    return np.round(pixels).astype(dtype)


def frames(count: int, size: tuple[int, int], dtype: type = np.uint8) -> list[np.ndarray]:
    return [frame(number, size, dtype) for number in range(count)]


def single(
    count: int,
    size: tuple[int, int] = (64, 48),
    fps: Rate = "24000/1001",
    dtype: type = np.uint8,
    provenance: Provenance | None = None,
) -> LayerClip:
    """The moving picture alone: a clip of one layer called "disc"."""

    def opened() -> Iterator[LayerDocument]:
        for number in range(count):
            layer = Layer("disc", frame(number, size, dtype), role="foreground")
            yield LayerDocument(size, (layer,), provenance=provenance)

    return LayerClip.of(opened, fps, frames=count)


def layered(count: int, size: tuple[int, int] = (64, 48), fps: Rate = 24) -> LayerClip:
    """The moving picture over a background that drifts."""
    width, height = size

    def opened() -> Iterator[LayerDocument]:
        for number in range(count):
            ground = np.full((height, width, 4), 255, np.uint8)
            ramp = np.linspace(40, 200, width)[None, :] + 2 * number
            ground[..., :3] = np.round(np.stack([ramp, ramp * 0.7, 240 - ramp * 0.5], axis=2))
            yield LayerDocument(
                size,
                (
                    Layer("ground", ground, role="background"),
                    Layer("disc", frame(number, size), role="foreground"),
                ),
            )

    return LayerClip.of(opened, fps, frames=count)


def stack(clip: LayerClip, name: str | None = None) -> np.ndarray:
    """(T, H, W, 4) of one layer of a clip, of its only one without a name."""
    return np.stack(
        [document.find(name).pixels if name else document.leaves()[0].pixels for document in clip]
    )


def errors(found: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float]:
    """(alpha maximum, alpha mean, colour maximum, colour mean) in steps of 8 bits; colour where
    alpha is at least 16."""
    scale = 255 / np.iinfo(true.dtype).max
    distance = np.abs(found.astype(np.float64) - true.astype(np.float64)) * scale
    seen = true[..., 3] * scale >= 16
    alpha, colour = distance[..., 3], distance[..., :3][seen]
    colour = colour if colour.size else np.zeros(1)
    return float(alpha.max()), float(alpha.mean()), float(colour.max()), float(colour.mean())
