"""Plain names for cut-out objects: their colour and where they stand. Nothing here recognises."""

from __future__ import annotations

import colorsys

import numpy as np

from multiplane.core.pixels import Float

_HUES = (  # upper bound of the hue in degrees, name
    (15, "red"),
    (40, "orange"),
    (68, "yellow"),
    (165, "green"),
    (200, "teal"),
    (255, "blue"),
    (290, "purple"),
    (340, "pink"),
    (361, "red"),
)


def colour_word(colour: Float, alpha: Float) -> str:
    """The commonest colour of an object, as a painter would call it. colour: (H, W, 3) sRGB 0..1.

    alpha: (H, W). Every covered pixel votes for the word of its own colour."""
    covered = alpha > 0.5
    pixels = colour[covered] if covered.any() else colour.reshape(-1, 3)
    cells = np.clip((pixels * 8).astype(np.int32), 0, 7)
    numbers, counts = np.unique(cells @ np.array([64, 8, 1]), return_counts=True)
    votes: dict[str, int] = {}
    for number, count in zip(numbers, counts, strict=True):
        centre = (np.array([number // 64, number // 8 % 8, number % 8]) + 0.5) / 8
        word = _word_of(*centre)
        votes[word] = votes.get(word, 0) + int(count)
    return max(votes, key=lambda word: (votes[word], word))


def _word_of(red: float, green: float, blue: float) -> str:
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.2:
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.8 else "grey"
    name = next(word for bound, word in _HUES if hue * 360 < bound)
    if name in ("red", "orange", "yellow") and value < 0.65 and saturation < 0.8:
        return "brown"
    return name


def place_word(alpha: Float) -> str:
    """ "left", "right", "top", "bottom", "centre" or two of them, by the middle of what is
    covered."""
    total = float(alpha.sum(dtype=np.float64))
    if total < 1e-6:
        return "centre"
    height, width = alpha.shape
    x = float(alpha.sum(axis=0, dtype=np.float64) @ (np.arange(width) + 0.5)) / total / width
    y = float(alpha.sum(axis=1, dtype=np.float64) @ (np.arange(height) + 0.5)) / total / height
    across = "left" if x < 0.4 else "right" if x > 0.6 else ""
    down = "top" if y < 0.35 else "bottom" if y > 0.65 else ""
    return " ".join(word for word in (down, across) if word) or "centre"
