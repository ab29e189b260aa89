"""Put a trained denoiser, its autoencoder and text encoder together as one folder of weights.

    python -m multiplane.recipes.tiny_export RUN OUT [--steps N --guidance G ...]

RUN is the output folder of `multiplane.recipes.tiny`; its newest checkpoint's averaged
weights are taken. --autoencoder: the one it trained on, with a decoder that has gone on learning.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from multiplane.core.config import from_table
from multiplane.core.request import CONTROL_KINDS, Task
from multiplane.models.codecs import load_codec
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.sampling import SAMPLERS
from multiplane.models.text_encoder import TextEncoder
from multiplane.pipelines.tiny import TinyDefaults, TinyPipeline
from multiplane.recipes.tiny import Config
from multiplane.training import checkpoint
from multiplane.training.rows import Row

logger = logging.getLogger(__name__)


def trained_tasks(rows: dict[str, float]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(rows without controls as "given -> wanted", control kinds) of a recipe's row table; a row of
    weight 0 was never drawn."""
    parsed = [Row.parse(text) for text, weight in rows.items() if weight > 0]
    tasks = [
        str(Task(row.given, row.wanted)) for row in parsed if not row.given & set(CONTROL_KINDS)
    ]
    controls = [kind for kind in CONTROL_KINDS if any(kind in row.given for row in parsed)]
    return tuple(tasks), tuple(controls)


def same_latents(trained_on: nn.Module, other: nn.Module) -> bool:
    """Whether both turn a picture into the same latent: all their weights but the decoder's."""
    one, two = (
        {k: v for k, v in codec.state_dict().items() if not k.startswith("decoder.")}
        for codec in (trained_on, other)
    )
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def export(run: Path, out: Path, defaults: TinyDefaults, autoencoder: Path | None = None) -> Path:
    """Write `out` with these defaults, tasks and controls from the run's rows; returns the
    checkpoint it came from. autoencoder: None takes the one it trained on. Raises
    FileNotFoundError without a checkpoint, ValueError for an autoencoder with other latents."""
    path = checkpoint.newest(run)
    if path is None:
        raise FileNotFoundError(f"{run} holds no checkpoint: train with multiplane.recipes.tiny")
    meta = json.loads((path / checkpoint.META).read_text(encoding="utf-8"))
    config = from_table(Config, meta["config"], str(path / checkpoint.META))
    state = checkpoint.load(path)
    denoiser = LayeredTransformer(config.model)
    denoiser.load_state_dict({**state["model"], **state["ema"]})
    tasks, controls = trained_tasks(config.rows)
    codec = load_codec(config.autoencoder)
    if autoencoder is not None:
        trained_on, codec = codec, load_codec(autoencoder)
        if not same_latents(trained_on, codec):
            raise ValueError(
                f"{autoencoder} makes other latents than {config.autoencoder}, which {run} trained "
                "on: give one whose decoder alone went on learning"
            )
    pipeline = TinyPipeline(
        denoiser,
        codec,
        TextEncoder.from_pretrained(config.text_encoder, config.model.text_tokens),
        replace(defaults, tasks=tasks, controls=controls),
    )
    pipeline.save_pretrained(out, config.text_encoder)
    logger.info("wrote %s from %s", out, path)
    return path


def main() -> None:
    """The command line."""
    defaults = TinyDefaults()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", default=defaults.version)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--guidance", type=float, default=defaults.guidance)
    parser.add_argument("--guidance-alone", type=float, default=defaults.guidance_alone)
    parser.add_argument("--guidance-until", type=float, default=defaults.guidance_until)
    parser.add_argument("--shift", type=float, default=defaults.shift)
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), default=defaults.sampler)
    parser.add_argument("--autoencoder", type=Path)
    given = vars(parser.parse_args())
    run, out, autoencoder = (given.pop(name) for name in ("run", "out", "autoencoder"))
    logging.basicConfig(level=logging.INFO)
    export(run, out, TinyDefaults(**given), autoencoder)


if __name__ == "__main__":
    main()
