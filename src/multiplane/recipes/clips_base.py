"""The base under the three stages: a small video transformer on ordinary, flat clips.

    python -m multiplane.recipes.clips_base config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.clips_base config.toml

It stands where LayerFlow has CogVideoX: it knows captions and motion, and nothing of layers. Its
clips are composites, panning photographs and things that move before a plain colour; in some,
frames are given and the rest is to be made. As video models do, it begins on stills. A killed run
started again goes on from its newest checkpoint.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.models.layered_transformer import LayeredTransformer, LayeredTransformerConfig
from multiplane.models.planes import over
from multiplane.models.weights_io import save_network
from multiplane.recipes.command import path_argument
from multiplane.training.clip_stage import NETWORK, ClipStage, begin
from multiplane.training.clips import PLANES, ClipBatch, ClipTraining, as_rows
from multiplane.training.run import RunConfig


@dataclass(frozen=True)
class Config:
    """photographs, plain: shares of clips without an object, and with one before a plain colour.
    given_frames: share of clips of which some frames are given. stills: the first steps, on single
    frames, as many as there are in the clips of a step."""

    run: RunConfig
    data: ClipTraining
    model: LayeredTransformerConfig = field(
        default_factory=lambda: LayeredTransformerConfig(channels=1024, grid=4)
    )
    photographs: float = 0.5
    plain: float = 0.0
    given_frames: float = 0.3
    stills: int = 0

    def __post_init__(self) -> None:
        check_flat(self.photographs, self.plain, self.stills)


def check_flat(photographs: float, plain: float, stills: int) -> None:
    """Raises ValueError where there are fewer than none, or the shares are more than all clips."""
    if min(photographs, plain, stills) < 0 or photographs + plain > 1:
        raise ValueError(
            "photographs and plain are shares of 0 or more, together at most 1, and stills a "
            f"number of steps; got {photographs}, {plain} and {stills}"
        )


def flat_clips(
    batch: ClipBatch, photographs: float, plain: float, generator: torch.Generator
) -> ClipBatch:
    """The batch with its composites replaced, captions included: in a share of samples by their
    backgrounds, in another by their foregrounds before a plain colour, black for every second."""
    count, device = len(batch.prompts), batch.composite.device
    drawn = torch.rand(count, generator=generator)
    bare, solid = drawn < photographs, drawn >= 1 - plain
    color = torch.rand(count, 1, 4, 1, 1, generator=generator)
    color = color * (torch.rand(count, generator=generator) < 0.5)[:, None, None, None, None]
    color[:, :, 3] = 1
    composite, prompts = batch.composite, batch.prompts.clone()
    before = over(batch.foreground, color.to(device).expand_as(batch.foreground))
    for chosen, plane, shown in (
        (bare, "background", batch.background),
        (solid, "foreground", before),
    ):
        mask = chosen.to(device)[:, None, None, None, None]
        composite = torch.where(mask, shown, composite)
        prompts[chosen, PLANES.index("composite")] = prompts[chosen, PLANES.index(plane)]
    return replace(batch, composite=composite, prompts=prompts)


def draw_given_frames(given: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """given: (B, 1, F, h, w) bool, of nothing given. In a share of samples each frame is given by
    the toss of a coin; one frame at least is wanted."""
    count, _, frames = given.shape[:3]
    some = torch.rand(count, 1, generator=generator) < share
    tossed = torch.rand(count, frames, generator=generator) < 0.5
    wanted = torch.randint(frames, (count, 1), generator=generator)
    shown = some & tossed & (torch.arange(frames)[None] != wanted)
    return shown[:, None, :, None, None].expand_as(given).to(given.device)


def train(config: Config, stage: ClipStage | None = None) -> None:
    """Train to `run.steps` and write the averaged weights to `run.out`/denoiser. stage: its data,
    where that is read already."""
    torch.manual_seed(config.run.seed)  # the initial weights
    denoiser = LayeredTransformer(config.model)
    idle = config.stills > 0 and config.model.frame_layers  # frame layers, on stills
    run, stage = begin(config.run, config.data, to_table(config), denoiser, stage, idle)
    pool, heldout = stage.pool("train"), stage.pool("heldout")

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        if step < config.stills:
            batch = pool.draw_stills(config.data.batch * pool.foreground.shape[1], generator)
        else:
            batch = pool.draw(config.data.batch, generator)
        batch = flat_clips(batch, config.photographs, config.plain, generator)
        rows = as_rows(batch, pool.prompts, stage.codec, ("composite",))
        given = draw_given_frames(rows.given, config.given_frames, generator)
        return stage.loss(model, rows, given, generator).mean(), {}

    def sample(step: int) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        rows = as_rows(
            heldout.first(config.data.heldout), heldout.prompts, stage.codec, ("composite",)
        )
        with torch.compiler.set_stance("force_eager"):  # one batch is not worth a graph of its own
            return {"heldout": float(stage.loss(denoiser, rows, rows.given, generator).mean())}

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_network(denoiser, config.run.out / NETWORK, to_table(config.model))


def main(path: Path) -> None:
    """Train by a TOML file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(read_config(Config, path))


if __name__ == "__main__":
    main(path_argument(__doc__))
