"""Put a trained denoiser, its autoencoder and text encoder together as one folder of weights.

    python -m multiplane.recipes.tiny_export RUN OUT [--steps N --guidance G ...]

RUN is the output folder of `multiplane.recipes.tiny`; its newest checkpoint's averaged
weights are taken.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from multiplane.core.config import from_table
from multiplane.models.codecs import load_codec
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.text_encoder import TextEncoder
from multiplane.pipelines.tiny import TinyDefaults, TinyPipeline
from multiplane.recipes.tiny import Config
from multiplane.training import checkpoint

logger = logging.getLogger(__name__)

CONTROLS = ("silhouette", "edges")


def trained_tasks(rows: dict[str, float]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(rows without controls, control kinds) of a recipe's row table."""
    tasks, controls = [], []
    for text in rows:
        named = [control for control in CONTROLS if control in text]
        if named:
            controls += named
        else:
            tasks.append(text.removeprefix("->").strip() if text.startswith("->") else text)
    return tuple(tasks), tuple(dict.fromkeys(controls))


def export(run: Path, out: Path, defaults: TinyDefaults) -> Path:
    """Write `out`; returns the checkpoint it came from. Raises FileNotFoundError without one."""
    path = checkpoint.newest(run)
    if path is None:
        raise FileNotFoundError(f"{run} holds no checkpoint: train with multiplane.recipes.tiny")
    meta = json.loads((path / checkpoint.META).read_text(encoding="utf-8"))
    config = from_table(Config, meta["config"], str(path))
    state = checkpoint.load(path)
    denoiser = LayeredTransformer(config.model)
    denoiser.load_state_dict({**state["model"], **state["ema"]})
    tasks, controls = trained_tasks(config.rows)
    settled = TinyDefaults(
        version=defaults.version,
        steps=defaults.steps,
        guidance=defaults.guidance,
        guidance_until=defaults.guidance_until,
        shift=defaults.shift,
        sampler=defaults.sampler,
        tasks=tasks,
        controls=controls,
    )
    pipeline = TinyPipeline(
        denoiser,
        load_codec(config.autoencoder),
        TextEncoder.from_pretrained(config.text_encoder, config.model.text_tokens),
        settled,
    )
    pipeline.save_pretrained(out, config.text_encoder)
    logger.info("wrote %s from %s", out, path)
    return path


def main() -> None:
    defaults = TinyDefaults()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", default=defaults.version)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--guidance", type=float, default=defaults.guidance)
    parser.add_argument("--guidance-until", type=float, default=defaults.guidance_until)
    parser.add_argument("--shift", type=float, default=defaults.shift)
    parser.add_argument("--sampler", choices=("euler", "heun"), default=defaults.sampler)
    given = vars(parser.parse_args())
    run, out = given.pop("run"), given.pop("out")
    logging.basicConfig(level=logging.INFO)
    export(run, out, TinyDefaults(**given))


if __name__ == "__main__":
    main()
