"""Conditional use of every given plane of every row, on scenes composed from held-out assets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from multiplane.core.request import TASK_TABLE
from multiplane.evaluation.assets import MADE_STYLE
from multiplane.evaluation.bench import Bench
from multiplane.evaluation.conditional import conditional_use, losses, spread_times

PART = "conditional"
SCENES = 64
BATCH = 16


def run(bench: Bench) -> dict[str, Any]:
    """Losses of each row, true against shuffled: one given plane at a time, and all of them."""
    import torch

    from multiplane.training.rows import Row

    pipeline = getattr(bench.family.inner, "pipeline", None)
    if pipeline is None:
        return {"left out": f"{bench.family.name} has no denoising loss that could be asked"}
    tasks = [task for task in TASK_TABLE if task.given and task in bench.family.tasks]
    rows = [str(task) for task in tasks]
    rows += [f"{control} -> foreground" for control in pipeline.defaults.controls]
    feed = _feed(bench, pipeline)
    scenes = bench.count(SCENES)
    figures: dict[str, Any] = {}
    for done, text in enumerate(rows):
        bench.report(PART, done, len(rows))
        row = Row.parse(text)
        generator = torch.Generator().manual_seed(bench.seed_for(PART, text))
        roles = list(row.layout.roles)
        given = [index for index, role in enumerate(roles) if role in row.given]
        choices: dict[str, tuple[int, ...]] = {roles[index]: (index,) for index in given}
        if len(given) > 1:
            choices["all of them"] = tuple(given)
        true: list[float] = []
        shuffled: dict[str, list[float]] = {name: [] for name in choices}
        for start in range(0, scenes, BATCH):
            count = max(2, min(BATCH, scenes - start))
            batch = feed.draw(row, count, generator)
            t = spread_times(count, generator)
            noise = torch.randn(batch.clean.shape, generator=generator)
            true += losses(pipeline.denoiser, batch, t, noise).tolist()
            for name, positions in choices.items():
                shuffled[name] += losses(pipeline.denoiser, batch, t, noise, positions).tolist()
        figures[text] = {
            name: asdict(conditional_use(true, values)) for name, values in shuffled.items()
        }
    bench.report(PART, len(rows), len(rows))
    return {"scenes": scenes, "rows": figures}


def _feed(bench: Bench, pipeline: Any) -> Any:
    import torch

    from multiplane.training.feed import FeedConfig, load_feed
    from multiplane.training.rows import RowFeed

    config = FeedConfig(
        shards=bench.shards / "assets", size=bench.side, style_weights={MADE_STYLE: 1.0}
    )
    encoder = pipeline.text_encoder
    feed, prompts = load_feed(config, "heldout", encoder, torch.device("cpu"))
    return RowFeed(feed, prompts, pipeline.autoencoder, encoder)
