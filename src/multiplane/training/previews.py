"""What the weights make of fixed prompts, drawn while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.patches import PixelPatches
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.text_encoder import TextEncoder
from multiplane.pipelines.tiny import PlaneInput, TinyPipeline
from multiplane.training.sheets import write_sheet

COLUMNS = 8


def preview_sheet(
    denoiser: LayeredTransformer,
    autoencoder: RGBAAutoencoder | PixelPatches,
    encoder: TextEncoder,
    prompts: Sequence[str],
    path: Path,
    steps: int = 16,
) -> None:
    """Draw a sheet of eight columns: each prompt's foreground alone; then background, foreground
    and composite of the prompts "a over b". The seed of a prompt is its index."""
    pipeline = TinyPipeline(denoiser, autoencoder, encoder)
    alone, scenes = [], []
    for index, prompt in enumerate(prompts):
        generator = torch.Generator().manual_seed(index)
        foreground, over, background = prompt.partition(" over ")
        if over:
            wanted = {
                "foreground": PlaneInput(foreground),
                "background": PlaneInput(background),
                "composite": PlaneInput(),
            }
            scenes.append(pipeline(wanted, generator, steps))
        else:
            wanted = {"foreground": PlaneInput(prompt)}
            alone.append(pipeline(wanted, generator, steps)["foreground"])
    rows = [torch.stack(alone[i : i + COLUMNS]) for i in range(0, len(alone), COLUMNS)]
    for start in range(0, len(scenes), COLUMNS):
        part = scenes[start : start + COLUMNS]
        rows += [torch.stack([made[role] for made in part]) for role in part[0]]
    if rows:
        write_sheet(rows, path)
