"""Where an object stands in a scene, how it is lit and how its shadow falls.

One set of numbers, shared by the numpy composer (evaluation scenes) and the one on the training
device.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScenePlacement:
    """Ranges a scene draws from, uniformly.

    scale: object height as a share of the canvas height. ground: its foot line, share of the height
    from the top. tint: how much of the background's light and tint it takes. shadow_strength: alpha
    of the contact shadow at its middle. shadow_softness: 0 crisp, 1 wide."""

    scale: tuple[float, float] = (0.45, 0.9)
    ground: tuple[float, float] = (0.78, 0.97)
    tint: tuple[float, float] = (0.1, 0.6)
    shadow_strength: tuple[float, float] = (0.2, 0.55)
    shadow_softness: tuple[float, float] = (0.2, 1.0)
