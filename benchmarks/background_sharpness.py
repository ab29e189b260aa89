"""Where backgrounds lose their detail: photographs, the same through the autoencoder of `tiny` and
back, and backgrounds it makes from their captions.

    python benchmarks/background_sharpness.py shards/assets

*Sharpness*: mean absolute difference of neighbouring pixels, across and down. *Across / down*: the
share of the two; below that of photographs, what is there is stripes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import multiplane
from multiplane.data.assets import Plate, read_plates
from multiplane.pipelines.tiny import PlaneInput, TinyFamily, TinyPipeline

COUNT = 20


def middle(plate: Plate, size: int) -> Tensor:
    """(4, size, size) in 0..1, opaque: the square in the middle of a photograph."""
    pixels = torch.from_numpy(plate.pixels).float() / 255
    side = min(pixels.shape[1:])
    left = (pixels.shape[2] - side) // 2
    square = pixels[None, :, :side, left : left + side]
    color = F.interpolate(square, size=(size, size), mode="area")[0]
    return torch.cat([color, torch.ones_like(color[:1])])


def made(pipeline: TinyPipeline, caption: str, seed: int) -> Tensor:
    """(4, S, S): the background of a scene whose foreground is left to the model."""
    planes = {"background": PlaneInput(caption), "foreground": PlaneInput()}
    return pipeline(planes, torch.Generator().manual_seed(seed))["background"]


def told(pictures: Tensor) -> str:
    """Sharpness and across / down of (B, 4, S, S)."""
    across, down = (float(pictures[:, :3].diff(dim=axis).abs().mean()) for axis in (-1, -2))
    return f"sharpness {across + down:.4f}, across / down {across / down:.2f}"


def main(shards: Path) -> None:
    family = multiplane.load("tiny").family
    assert isinstance(family, TinyFamily)
    pipeline = family.pipeline
    for split in ("train", "heldout"):
        plates = read_plates(shards, split, pipeline.size)[:COUNT]
        real = torch.stack([middle(plate, pipeline.size) for plate in plates])
        with torch.inference_mode():
            coded = pipeline.decode(pipeline.encode(real))
        own = [made(pipeline, plate.captions[0], seed) for seed, plate in enumerate(plates)]
        for name, pictures in (
            ("photographs", real),
            ("encoded and decoded", coded),
            ("made from their captions", torch.stack(own)),
        ):
            print(f"{split}, {len(plates)} {name}: {told(pictures)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    main(parser.parse_args().shards)
