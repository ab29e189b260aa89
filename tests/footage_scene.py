"""A known piece of footage: a red ball with a soft edge over a textured ground, before a camera
that stands or pans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import Float, to_u8
from multiplane.io.clips import write_clip

FPS = 12


@dataclass(frozen=True, eq=False)
class Shot:
    """frames: (F, H, W, 4) uint8 opaque. alpha: (F, H, W). plate: (F, H, W, 3)."""

    frames: np.ndarray
    alpha: Float
    plate: Float

    def clip(self) -> LayerClip:
        size = (self.frames.shape[2], self.frames.shape[1])
        return LayerClip.of([LayerDocument(size, (Layer("shot", f),)) for f in self.frames], FPS)

    def written(self, path: Path) -> Path:
        write_clip(self.clip(), path)
        return path


def ground(height: int, width: int, seed: int = 3) -> Float:
    """(height, width, 3): smooth blobs of green and blue, no red among them."""
    import cv2

    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0))
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * np.array([0.35, 0.9, 0.9])).astype(np.float32)


def shot(
    count: int = 6,
    size: tuple[int, int] = (96, 64),
    pan: int = 0,
    step: float = 9.0,
    radius: float = 11.0,
) -> Shot:
    """pan: pixels a frame that the camera moves right; step: that the ball moves right in the
    picture."""
    width, height = size
    wide = ground(height, width + pan * count)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames, alphas, plates = [], [], []
    for number in range(count):
        away = np.hypot(x - 20 - step * number, y - height / 2)
        alpha = np.clip((radius - away) / 4 + 0.5, 0, 1).astype(np.float32)
        plate = wide[:, pan * number : pan * number + width]
        shown = alpha[..., None] * np.array([0.9, 0.12, 0.1]) + (1 - alpha[..., None]) * plate
        frames.append(np.dstack([to_u8(shown), np.full((height, width), 255, np.uint8)]))
        alphas.append(alpha)
        plates.append(plate)
    return Shot(np.stack(frames), np.stack(alphas), np.stack(plates))


def red(picture: Float) -> Float:
    """What stands for the network: how red, coarsely."""
    return np.clip((picture[..., 0] - picture[..., 1:].max(axis=2)) * 3.0 - 0.3, 0, 1).astype(
        np.float32
    )


def run_and_die(source: Path, output: Path, step: int) -> None:
    """Take footage apart, and be killed as by kill -9 at a step of the progress."""
    import os
    import signal

    from multiplane.engine.footage import decompose_footage
    from multiplane.pipelines.cutout.footage.looks import Looks
    from multiplane.pipelines.cutout.footage.settings import FootageSettings

    def die(done: int, total: int, shown: object) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = FootageSettings(complete="diffuse")
    looks = Looks(settings, lambda name, threads: red)
    decompose_footage(source, output, looks=looks, progress=die, complete="diffuse")
