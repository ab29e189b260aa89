"""Put the frame layers beside the weights they were trained on, as one folder of weights.

    python -m multiplane.recipes.tiny_motion_export RUN OUT --version 1.3 [--clip-guidance G ...]

RUN is the output folder of `multiplane.recipes.tiny_motion`. The networks of the stills are copied
as they are, so stills stay what they were.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from multiplane.core.config import from_table
from multiplane.core.request import Task
from multiplane.pipelines.tiny import TinyDefaults, TinyPipeline
from multiplane.recipes.tiny_motion import Config
from multiplane.training import checkpoint
from multiplane.training.rows import Row

logger = logging.getLogger(__name__)


def export(
    run: Path,
    out: Path,
    version: str,
    steps: int,
    guidance: float,
    shared_noise: float | None = None,
) -> Path:
    """Write `out` from the newest checkpoint's averaged layers; returns that checkpoint. steps,
    guidance: of clips, where a call names none. shared_noise: see `clip_noise`; more of it than in
    training, which None takes, holds shapes steadier. Raises FileNotFoundError without a
    checkpoint."""
    path = checkpoint.newest(run)
    if path is None:
        raise FileNotFoundError(
            f"{run} holds no checkpoint: train with multiplane.recipes.tiny_motion"
        )
    meta = json.loads((path / checkpoint.META).read_text(encoding="utf-8"))
    config = from_table(Config, meta["config"], str(path / checkpoint.META))
    state = checkpoint.load(path)
    stills = TinyPipeline.from_pretrained(config.weights, torch.float32)
    stills.denoiser.add_frames()
    stills.denoiser.load_state_dict({**state["model"], **state["ema"]})
    rows = [Row.parse(text) for text, weight in config.rows.items() if weight > 0]
    stills.defaults = replace(
        stills.defaults,
        version=version,
        clip_tasks=tuple(str(Task(row.given, row.wanted)) for row in rows),
        max_frames=max(part.span.reach for part in config.parts if part.weight > 0),
        clip_steps=steps,
        clip_guidance=guidance,
        shared_noise=config.shared_noise if shared_noise is None else shared_noise,
    )
    stills.save_pretrained(out, config.weights / "text_encoder")
    logger.info("wrote %s from %s", out, path)
    return path


def main() -> None:
    """The command line."""
    defaults = TinyDefaults()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--clip-steps", type=int, default=defaults.clip_steps)
    parser.add_argument("--clip-guidance", type=float, default=defaults.clip_guidance)
    parser.add_argument("--shared-noise", type=float, default=None)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    export(
        given.run,
        given.out,
        given.version,
        given.clip_steps,
        given.clip_guidance,
        given.shared_noise,
    )


if __name__ == "__main__":
    main()
