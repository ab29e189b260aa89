"""Photographs to take apart, small and made here, and the ways a picture file can be bad."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from multiplane.data.layer_photos import work


def photo(colour: tuple[int, int, int], size: int = 96, seed: int = 0) -> Image.Image:
    """A ball on a meadow under a sky, in the noise of a camera."""
    down = np.linspace(0, 1, size)[:, None, None]
    sky, grass = np.array([150, 190, 235]), np.array([80, 120, 60])
    ground = np.where(down < 0.55, sky * (1 - 0.2 * down), grass * (0.7 + 0.5 * down))
    noise = np.random.default_rng(seed).normal(0, 3, (size, size, 3))
    pixels = np.clip(np.broadcast_to(ground, (size, size, 3)) + noise, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((size * 0.28, size * 0.3, size * 0.72, size * 0.74), fill=colour)
    draw.ellipse((size * 0.38, size * 0.36, size * 0.48, size * 0.46), fill="white")
    return picture


COLOURS = {"red": (210, 30, 30), "yellow": (240, 200, 20), "violet": (120, 20, 150)}
POISON = {
    "broken": "cut short",
    "cmyk": "CMYK",
    "empty": "empty file",
    "flat": "no clear subject",
    "huge": "pixels",
    "tiny": "too small",
    "clear": "transparent",
}


def photo_folder(folder: Path, poison: bool = False) -> Path:
    """Three captioned photographs, each in its own way; with one bad file of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, colour) in enumerate(COLOURS.items()):
        photo(colour, seed=number).save(folder / f"{name}-ball.png")
    (folder / "red-ball.txt").write_text("a red ball on a meadow\nsecond line\n", "utf-8")
    (folder / "violet-ball.json").write_text(json.dumps({"caption": "a violet ball"}), "utf-8")
    if poison:
        add_poison(folder)
    return folder


def quick_matte(picture: np.ndarray) -> np.ndarray:
    """Where the ball of `photo` is, without a network."""
    height, width = picture.shape[:2]
    down, across = np.mgrid[:height, :width].astype(np.float32)
    away = np.hypot((down + 0.5) / height - 0.52, (across + 0.5) / width - 0.5)
    return np.clip((0.22 - away) * width, 0, 1).astype(np.float32)


def add_poison(folder: Path) -> None:
    """One bad file for every entry of POISON."""
    whole = png_bytes(photo((0, 0, 200)))
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    Image.new("CMYK", (96, 96)).save(folder / "cmyk.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (96, 96), (120, 130, 140)).save(folder / "flat.png")
    Image.new("1", (21_000, 64)).save(folder / "huge.png")
    photo((9, 9, 9)).resize((12, 12)).save(folder / "tiny.png")
    clear = photo((9, 9, 9)).convert("RGBA")
    clear.putalpha(100)
    clear.save(folder / "clear.png")


def png_bytes(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def photo_tar(path: Path) -> Path:
    """The photographs of `photo_folder` as a webdataset tar, and one sample without a caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members: list[tuple[str, bytes]] = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        members.append((f"{number:03d}.png", png_bytes(photo(colour, seed=number))))
        members.append((f"{number:03d}.txt", f"a {name} ball".encode()))
    members.append(("003.png", png_bytes(photo((1, 2, 3)))))
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def dies_over_violet(task: work.Task) -> work.Outcome:
    """Works as a process of the pool does, but is killed over one of the pictures."""
    if task.source.name.startswith("violet"):
        os.kill(os.getpid(), signal.SIGKILL)
    return work._work(task)
