"""Teach `tiny` to move: frame layers that make clips of its stills.

    python -m multiplane.recipes.tiny_motion config.toml
    torchrun --nproc-per-node N -m multiplane.recipes.tiny_motion config.toml

The network of the stills is frozen and sees each frame by itself; after each of its blocks a layer
lets the frames look at one another (`models.frame_attention`) and learns what moves and how. Stills
pass these layers by, so they stay what they were, to the bit. What moves is class A stills over
panning photographs (`multiplane.training.moving_scenes`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from multiplane.core.config import read_config, to_table
from multiplane.data.clip_motion import ClipMotion
from multiplane.models.frame_attention import FrameLayers
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.weights_io import load_wanted, save_network
from multiplane.pipelines.tiny import MOTION, PlaneInput, TinyPipeline
from multiplane.recipes.command import path_argument
from multiplane.recipes.tiny import draw_row
from multiplane.training.clip_stage import train_only
from multiplane.training.feed import FeedConfig, load_feed
from multiplane.training.losses import logit_normal_times
from multiplane.training.moving_scenes import (
    ClipRowFeed,
    ClipSpan,
    MovingScenes,
    draw_known,
    first_frames,
)
from multiplane.training.rows import NoiseConfig, Row, drop_text, given_times, row_loss
from multiplane.training.run import RunConfig, TrainingRun, compile_parts
from multiplane.training.sheets import write_sheet


@dataclass(frozen=True)
class Part:
    """One kind of sample: what its clips show, how many of them make a step when the foreground is
    alone (`alone`) and when the whole scene is there (`scene`), and how often it is drawn."""

    span: ClipSpan
    alone: int = 16
    scene: int = 4
    weight: float = 1.0


@dataclass(frozen=True)
class Config:
    """weights: folder of `tiny`'s weights for stills. start: folder of frame layers to go on from,
    as of other weights; None begins with some that do nothing. rows: weight of each row of the task
    table. parts: the kinds of samples. first: share of steps with the first frames given.
    shared_noise: see `models.sampling.clip_noise`. prompts: of the sample sheets, "a over b" for a
    scene; frames: of their clips. drop_all_text, drop_one_text: see `drop_text`. heldout: clips of
    each row in the held-out losses."""

    run: RunConfig
    feed: FeedConfig
    weights: Path
    rows: dict[str, float]
    parts: tuple[Part, ...]
    prompts: tuple[str, ...]
    start: Path | None = None
    motion: ClipMotion = field(default_factory=ClipMotion)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    first: float = 0.3
    shared_noise: float = 0.5
    drop_all_text: float = 0.1
    drop_one_text: float = 0.05
    heldout: int = 8
    frames: int = 8

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise ValueError("no part has a weight, so nothing could be drawn: add [[parts]]")


def clip_sheet(
    pipeline: TinyPipeline, prompts: Sequence[str], frames: int, path: Path, steps: int = 12
) -> None:
    """A row of frames for each prompt: its foreground, or foreground and composite of "a over b".
    The seed of a prompt is its index."""
    rows = []
    for index, prompt in enumerate(prompts):
        foreground, over, background = prompt.partition(" over ")
        wanted = {"foreground": PlaneInput(foreground)}
        if over:
            wanted |= {"background": PlaneInput(background), "composite": PlaneInput()}
        generator = torch.Generator().manual_seed(index)
        made = pipeline(wanted, generator, steps, frames=frames)
        rows += [made[role] for role in ("foreground", "composite") if role in made]
    write_sheet(rows, path)


def main(path: Path) -> None:
    """Train to `run.steps` and write the averaged frame layers to `run.out`/motion."""
    config = read_config(Config, path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pipeline = TinyPipeline.from_pretrained(config.weights, torch.bfloat16)
    denoiser = pipeline.denoiser
    torch.manual_seed(config.run.seed)  # the initial weights
    layers = None
    if config.start is not None:
        layers = load_wanted(FrameLayers, denoiser.config.frame_config, config.start)
    frames = denoiser.add_frames(layers)
    train_only(denoiser.train(), lambda name: name.startswith("frames."))
    if config.run.compile:
        compile_parts(*denoiser.hidden)
    run = TrainingRun(config.run, denoiser, frames.layers, to_table(config))
    pipeline.to(run.device)
    train, heldout = (
        ClipRowFeed(MovingScenes(feed, config.motion), prompts, pipeline.autoencoder)
        for feed, prompts in (
            load_feed(config.feed, split, pipeline.text_encoder, run.device)
            for split in ("train", "heldout")
        )
    )
    rows = {text: Row.parse(text) for text in config.rows}
    weights = torch.tensor(list(config.rows.values()))
    chances = torch.tensor([part.weight for part in config.parts])

    def losses(
        model: nn.Module,
        feed: ClipRowFeed,
        row: Row,
        count: int,
        span: ClipSpan,
        t: Tensor,
        generator: torch.Generator,
        training: bool,
    ) -> Tensor:
        batch = feed.draw(row, count, span, generator)
        given, has_text, clean = batch.given, batch.has_text, torch.ones(count)
        if training:
            if float(torch.rand(1, generator=generator)) < config.first:
                given = first_frames(given, draw_known(span.frames, generator))
            clean = given_times(count, config.noise.given_time, generator)
            has_text = drop_text(batch, config.drop_all_text, config.drop_one_text, generator)
        network = cast(LayeredTransformer, model)
        times = t.to(run.device), clean.to(run.device)
        return row_loss(
            network, batch, given, has_text, *times, generator, shared_noise=config.shared_noise
        )

    def loss_of_step(
        model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        row = draw_row(rows, weights, generator)
        part = config.parts[int(torch.multinomial(chances, 1, generator=generator))]
        count = part.alone if row.alone else part.scene
        t = logit_normal_times(count, config.noise.time_mean, config.noise.time_std, generator)
        loss = losses(model, train, row, count, part.span, t, generator, True).mean()
        return loss, {"alone" if row.alone else "scene": loss.item(), "clips": float(count)}

    def sample(step: int) -> dict[str, float]:
        clip_maker = replace(
            pipeline,
            defaults=replace(
                pipeline.defaults, max_frames=config.frames, shared_noise=config.shared_noise
            ),
        )
        sheet = config.run.out / f"sheet-{step:06d}.png"
        clip_sheet(clip_maker, config.prompts, config.frames, sheet)
        figures = {}
        for index, (name, row) in enumerate(rows.items()):
            generator = torch.Generator().manual_seed(index)
            t = torch.linspace(0.1, 0.85, config.heldout)
            span = config.parts[0].span
            value = losses(denoiser, heldout, row, config.heldout, span, t, generator, False).mean()
            figures[f"heldout {name}"] = float(value)
        return figures

    run.train(loss_of_step, sample)
    if run.accelerator.is_main_process:
        run.ema.copy_to(denoiser)
        save_network(frames, config.run.out / MOTION, to_table(frames.config), torch.float16)


if __name__ == "__main__":
    main(path_argument(__doc__))
