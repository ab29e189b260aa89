"""Held-out scenes beside what a LayerDiffuse pipeline makes for their captions and given planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multiplane.models.planes import premultiply, unpremultiply
from multiplane.pipelines.layerdiffuse.modes import Mode
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from multiplane.training.layer_scenes import SceneSource
from multiplane.training.run import step_generator
from multiplane.training.sheets import write_sheet


@dataclass(frozen=True)
class Previews:
    """count: scenes on a sheet, 0 for none. steps, guidance: of the sampling."""

    count: int = 0
    steps: int = 25
    guidance: float = 7.0


def draw_previews(
    config: Previews, pipeline: LayeredPipeline, mode: Mode, source: SceneSource, path: Path
) -> None:
    """Two rows a scene: its planes, what is given first; below, the given planes again and those
    that the pipeline made. The same scenes at every step, the seed of one is its index."""
    scenes = source.draw(config.count, step_generator(2, 0, 0))
    names = (*mode.conditions, *mode.streams)
    size = scenes.planes[names[0]].shape[-1]
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for index in range(config.count):
        truth = {name: scenes.planes[name][index : index + 1].float().cpu() for name in names}
        output: Any = pipeline(
            None,
            mode.name,
            {name: unpremultiply(truth[name]) for name in mode.conditions},
            plane_prompts={name: scenes.captions[name][index] for name in mode.streams},
            height=size,
            width=size,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance,
            stop_at=1.0,
            generator=torch.Generator().manual_seed(index),
            output_type="pt",
        )
        planes = {name: premultiply(one.float().cpu()) for name, one in output.planes.items()}
        for row in (truth, {**truth, **planes}):
            rows.append(torch.cat([row[name] for name in names]))
    write_sheet(rows, path)
