"""The three stages of LayerFlow on small layered clips, their ablations and the table, with one
command.

    python -m multiplane.recipes.clips_stages config.toml

base -> stage 1 -> Motion LoRA -> Content LoRA; beside it "video data only" (the same adapter and
samples on more coarse video) and "no motion gate" (the same pictures without the Motion LoRA). What
stands already is not made again, so a stopped run goes on where it was. Writes `out`/table.json,
table.md and the film strips.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiplane.core.config import read_config
from multiplane.data.captions import slug
from multiplane.data.shards import write_json
from multiplane.evaluation.clip_samples import SamplingConfig, made_clips
from multiplane.evaluation.clips import alpha_figures, film_strip, plane_figures
from multiplane.io.atomic import replacing
from multiplane.models.layered_transformer import LayeredTransformer, LayeredTransformerConfig
from multiplane.models.lora import LoRAConfig, load_lora, set_gate
from multiplane.models.weights_io import CONFIG, load_wanted
from multiplane.recipes import clips_base, clips_content_lora, clips_motion_lora, clips_stage1
from multiplane.recipes.command import path_argument
from multiplane.training.clip_stage import ADAPTER, NETWORK, ClipStage, load_denoiser
from multiplane.training.clips import PLANES, ClipTraining, CoarseConfig, as_rows
from multiplane.training.run import RunConfig
from multiplane.training.sheets import write_strips

logger = logging.getLogger(__name__)
# What is given where the true foreground is known.
TASKS_WITH_TRUTH = {"taken apart": ("composite",), "matted": ("background", "composite")}
MOTION, CONTENT = clips_motion_lora.NAME, clips_content_lora.NAME


@dataclass(frozen=True)
class Measure:
    """clips: held-out clips and prompts the figures are taken on. strips: clips drawn."""

    clips: int = 24
    strips: int = 4
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


@dataclass(frozen=True)
class Stage:
    """What a stage does in its own way; everything else is the common `run`."""

    steps: int
    matrix_rate: float = 3e-3
    other_rate: float = 1.5e-3
    batch: int = 16


@dataclass(frozen=True)
class Config:
    """out: folder of everything that is made. run: common to all stages; run.out, its steps, rates
    and the batch are each stage's own. photographs, plain, stills: of the base (`clips_base`).
    ablations: the variants of stage 3 that are trained too."""

    out: Path
    run: RunConfig
    data: ClipTraining
    base: Stage
    stage1: Stage
    motion: Stage
    content: Stage
    model: LayeredTransformerConfig = field(
        default_factory=lambda: LayeredTransformerConfig(channels=1024, grid=4)
    )
    motion_lora: LoRAConfig = field(default_factory=LoRAConfig)
    content_lora: LoRAConfig = field(default_factory=lambda: LoRAConfig(rank=32, alpha=32.0))
    photographs: float = 0.5
    plain: float = 0.0
    stills: int = 0
    every: int = 6
    pictures: float = 0.75
    coarse: CoarseConfig = field(default_factory=CoarseConfig)
    ablations: tuple[str, ...] = ("video only", "no gate")
    measure: Measure = field(default_factory=Measure)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.ablations) - {"video only", "no gate"}):
            raise ValueError(f"no ablation {unknown[0]!r}: there are 'video only', 'no gate'")
        clips_base.check_flat(self.photographs, self.plain, self.stills)


def common(config: Config, name: str, stage: Stage) -> tuple[RunConfig, ClipTraining]:
    """The run and data configuration of one stage, in its folder of `out`."""
    run = replace(
        config.run,
        out=config.out / name.replace(" ", "-"),
        steps=stage.steps,
        matrix_rate=stage.matrix_rate,
        other_rate=stage.other_rate,
    )
    return run, replace(config.data, batch=stage.batch)


def content_config(config: Config, name: str) -> clips_content_lora.Config:
    """Stage 3 ("content"), or one of its ablations."""
    run, data = common(config, name, config.content)
    full = clips_content_lora.Config(
        run=run,
        data=data,
        model=config.out / "stage1" / NETWORK,
        motion=config.out / "motion" / ADAPTER,
        lora=config.content_lora,
        pictures=config.pictures,
        coarse=config.coarse,
    )
    if name == "video only":
        return replace(full, motion=None, pictures=0.0, videos="coarse")
    return replace(full, motion=None) if name == "no gate" else full


def train_all(config: Config, stage: ClipStage) -> None:
    """Every stage that is not there yet."""
    if not (config.out / "base" / NETWORK / CONFIG).is_file():
        run, data = common(config, "base", config.base)
        wanted = clips_base.Config(
            run,
            data,
            config.model,
            photographs=config.photographs,
            plain=config.plain,
            stills=config.stills,
        )
        clips_base.train(wanted, stage)
    base = config.out / "base" / NETWORK
    load_wanted(LayeredTransformer, config.model, base)  # else what stands is of another network
    if not (config.out / "stage1" / NETWORK / CONFIG).is_file():
        run, data = common(config, "stage1", config.stage1)
        wanted = clips_stage1.Config(run, data, base, config.every, config.coarse)
        clips_stage1.train(wanted, stage)
    model = config.out / "stage1" / NETWORK
    if not (config.out / "motion" / ADAPTER / CONFIG).is_file():
        run, data = common(config, "motion", config.motion)
        wanted = clips_motion_lora.Config(run, data, model, config.motion_lora, config.coarse)
        clips_motion_lora.train(wanted, stage)
    for name in ("content", *config.ablations):
        wanted = content_config(config, name)
        if not (wanted.run.out / ADAPTER / CONFIG).is_file():
            clips_content_lora.train(wanted, stage)


def variants(config: Config) -> dict[str, LayeredTransformer]:
    """The networks of the table: by name, ready to sample."""

    def network(adapter: str = "", name: str = "", gate: float | None = None) -> LayeredTransformer:
        made = load_denoiser(config.out / "stage1" / NETWORK)
        if adapter:
            load_lora(made, name, config.out / adapter.replace(" ", "-") / ADAPTER)
        if gate is not None:
            set_gate(made, name, torch.tensor([gate]))
        return made.eval()

    found = {
        "stage 1": network(),
        "stage 1, motion at 0.5": network("motion", MOTION, 0.5),
        "stage 1, motion at 1": network("motion", MOTION),
        "stage 3": network("content", CONTENT),
    }
    for name in config.ablations:
        found[f"ablation: {name}"] = network(name, CONTENT)
    return found


def measure(config: Config, stage: ClipStage) -> dict[str, dict[str, float]]:
    """The figures of every variant on held-out clips and their prompts, with as much shared noise
    as in training, and of the clips themselves; draws the strips."""
    pool = stage.pool("heldout")
    truth = pool.first(config.measure.clips, pool.rows_of(config.data.videos))
    rows = as_rows(truth, pool.prompts, stage.codec)
    sampling = replace(config.measure.sampling, shared_noise=config.data.shared_noise)
    true = torch.stack([getattr(truth, plane) for plane in PLANES], dim=1)
    table = {"the clips themselves": plane_figures(true, PLANES)}
    draw_strips(config, "the clips themselves", true)
    for name, network in variants(config).items():
        logger.info("measuring %s", name)
        network.to(stage.device)
        made = made_clips(network, stage.codec, rows, sampling)
        table[name] = plane_figures(made, PLANES)
        draw_strips(config, name, made)
        if "motion" not in name:  # the adapter is removed where layers are wanted
            for task, given in TASKS_WITH_TRUTH.items():
                clips = made_clips(network, stage.codec, rows, sampling, given)
                table[name] |= {
                    f"{figure}, {task}": value
                    for figure, value in alpha_figures(clips[:, 1], true[:, 1]).items()
                }
                draw_strips(config, f"{name} {task}", clips)
    return table


def draw_strips(config: Config, name: str, clips: Tensor) -> None:
    """`out`/strips/NAME.png: frames side by side, a row a plane. clips: (B, P, F, 4, S, S)."""
    strips = [row for clip in clips[: config.measure.strips] for row in film_strip(clip)]
    write_strips(strips, config.out / "strips" / f"{slug(name)}.png")


def judged(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """What the stages must show, as ratios."""
    first, frozen, last = (table[name] for name in ("stage 1", "stage 1, motion at 1", "stage 3"))
    key, edge = "motion composite", "alpha edge error, taken apart"
    return {
        "motion at 1 over motion at 0": frozen[key] / first[key],
        "stage 3 motion over stage 1": last[key] / first[key],
        "stage 3 alpha edge error over stage 1": last[edge] / first[edge],
    }


def as_markdown(table: dict[str, dict[str, float]], ratios: dict[str, float]) -> str:
    """The table and the ratios for a document."""
    columns = list(dict.fromkeys(name for figures in table.values() for name in figures))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in table.items():
        cells = [f"{figures[c]:.4f}" if c in figures else "-" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return (
        "\n".join([*lines, "", *(f"- {name}: {value:.3f}" for name, value in ratios.items())])
        + "\n"
    )


def stages(config: Config) -> dict[str, Any]:
    """Train what is missing, measure, write the table; returns it."""
    config.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stage = ClipStage(config.data, config.model, device)
    train_all(config, stage)
    table = measure(config, stage)
    result = {"table": table, "ratios": judged(table)}
    write_json(config.out / "table.json", result)
    with replacing(config.out / "table.md") as partial:
        partial.write_text(as_markdown(table, result["ratios"]), encoding="utf-8")
    return result


def main(path: Path) -> None:
    """Train and measure by a TOML file, with one process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    result = stages(read_config(Config, path))
    logger.info("%s", json.dumps(result["ratios"], indent=1))


if __name__ == "__main__":
    main(path_argument(__doc__))
