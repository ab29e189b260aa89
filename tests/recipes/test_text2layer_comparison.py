"""The comparison: what every model's configuration becomes, and a stopped run that goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multiplane.core.config import from_table, read_config, to_table
from multiplane.evaluation.bench import Judges
from multiplane.evaluation.prompts import fixed_prompts
from multiplane.evaluation.text2layer_outputs import read_outputs
from multiplane.models.text_encoder import write_quantized
from multiplane.models.weights_io import save_network
from multiplane.recipes import text2layer_comparison as comparison
from multiplane.recipes.text2layer_comparison import Config
from small_text2layer import CAT2I, SIZE, a_cat2i, a_vae
from small_world import write_shards, write_text_encoder

CONFIGS = Path(comparison.__file__).parent / "configs"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Small networks; both autoencoders untrained but there."""
    write_shards(tmp_path / "shards" / "assets")
    write_quantized(write_text_encoder(tmp_path / "published"), tmp_path / "text")
    a_vae().save_pretrained(tmp_path / "vae")
    for name in ("joint", "nosup"):
        folder = tmp_path / "out" / f"autoencoder-{name}" / "autoencoder"
        save_network(a_cat2i(), folder, to_table(CAT2I))
    feed = {"shards": str(tmp_path / "shards/assets"), "size": SIZE, "background_size": 40}
    run = {"out": "anywhere", "steps": 1, "warmup": 1, "compile": False, "precision": "no"}
    table: dict[str, Any] = {
        "out": str(tmp_path / "out"),
        "shards": str(tmp_path / "shards"),
        "vae": str(tmp_path / "vae"),
        "captions": 3,
        "models": ["flat"],
        "autoencoder": {"run": run, "feed": feed},
        "model": {
            "run": run,
            "feed": feed,
            "text_encoder": str(tmp_path / "text"),
            "autoencoder": "anywhere",
            "batch": 2,
            "scenes": 4,
            "steps": 2,
            "model": {
                "size": 8, "channels": [8, 8], "layers": 1, "heads": 2, "groups": 4,
                "text_channels": 12,
            },
        },
    }  # fmt: skip
    return from_table(Config, table)


def test_every_model_differs_in_what_it_is_named_after_and_nothing_else(config: Config) -> None:
    made = {name: comparison.model_config(config, name) for name in comparison.FORMS}
    assert {name: each.latents for name, each in made.items()} == comparison.FORMS
    assert {name: each.model.latent_channels for name, each in made.items()} == {
        "joint": 4,
        "nosup": 4,
        "separate": 12,
        "flat": 4,
        "unfiltered": 4,
    }
    assert {name for name, each in made.items() if each.faults} == {"unfiltered"}
    assert made["unfiltered"].autoencoder == made["joint"].autoencoder
    assert made["nosup"].autoencoder != made["joint"].autoencoder
    same = {
        (each.batch, each.scenes, each.run.steps, each.run.seed, each.model.channels)
        for each in made.values()
    }
    assert len(same) == 1
    heads = {
        name: comparison.autoencoder_config(config, name).model.image_head
        for name in ("joint", "nosup")
    }
    assert heads == {"joint": True, "nosup": False}


def test_a_run_trains_answers_and_scores_and_a_second_makes_nothing_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[dict[str, Path]] = []

    def protocol(models: dict[str, Path], *_: object) -> dict[str, Any]:
        scored.append(dict(models))
        setting = {"captions": 3, "side": SIZE, "features": "none"}
        return {"setting": setting, "references": {}, "models": {}}

    monkeypatch.setattr(comparison, "run_protocol", protocol)
    comparison.compare(config, Judges(1))
    index = config.out / "flat" / "model" / "model_index.json"
    assert json.loads(index.read_text())["latents"] == "flat"
    names = [prompt.name for prompt in fixed_prompts(3)]
    outputs = read_outputs(scored[0]["flat"], names)
    assert all(each.foreground is None for each in outputs)
    assert outputs[0].composite.shape == (SIZE, SIZE, 3)
    monkeypatch.setattr(comparison.text2layer, "train", None)  # would be called in vain
    comparison.compare(config, Judges(1))
    assert scored[1] == scored[0]


@pytest.mark.parametrize("name", ["text2layer_256", "text2layer_autoencoder_256"])
def test_the_shipped_configurations_of_the_papers_size_fit_each_other(name: str) -> None:
    from multiplane.recipes import text2layer, text2layer_autoencoder

    kinds = {
        "text2layer_256": text2layer.Config,
        "text2layer_autoencoder_256": text2layer_autoencoder.Config,
    }
    config = read_config(kinds[name], CONFIGS / f"{name}.toml")
    assert config.feed.size == 256
    if isinstance(config, text2layer.Config):
        assert (config.model.size, config.model.latent_channels) == (32, 4)
        assert config.run.steps == 75_000
    else:
        assert config.model.factor == 8
        assert config.model == replace(config.model, channels=(128, 256, 512, 512))
        assert config.run.steps == 250_000


def test_the_shipped_comparison_keeps_every_part_under_five_million() -> None:
    import torch

    from multiplane.models.cat2i_autoencoder import CaT2IAutoencoder
    from multiplane.models.latent_unet import build_unet

    config = read_config(Config, CONFIGS / "text2layer_comparison.toml")
    with torch.device("meta"):
        parts = [
            CaT2IAutoencoder(config.autoencoder.model),
            build_unet(replace(config.model.model, latent_channels=48)),
        ]
    for part in parts:
        assert sum(p.numel() for p in part.parameters()) < 5_000_000
    assert config.autoencoder.model.factor * config.model.model.size == config.model.feed.size
