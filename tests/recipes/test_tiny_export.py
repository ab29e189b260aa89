"""A run's newest checkpoint becomes a folder of weights that knows what it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multiplane.core.config import to_table
from multiplane.core.request import Task
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.text_encoder import write_quantized
from multiplane.models.weights_io import save_network
from multiplane.pipelines.tiny import TinyDefaults, TinyFamily
from multiplane.recipes.tiny import Config, begun, check_fit
from multiplane.recipes.tiny_export import export, trained_tasks
from multiplane.training import checkpoint
from multiplane.training.feed import FeedConfig
from multiplane.training.run import RunConfig
from small_world import AUTOENCODER, DENOISER, SIZE, a_denoiser, write_text_encoder

ROWS = {
    "-> foreground": 0.5,
    "background -> foreground composite": 0.2,
    "-> composite": 0.0,
    "edges -> foreground": 0.0,
    "silhouette -> foreground": 0.1,
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of a run whose parts lie in `tmp_path`."""
    torch.manual_seed(0)
    save_network(RGBAAutoencoder(AUTOENCODER), tmp_path / "autoencoder", to_table(AUTOENCODER))
    write_quantized(write_text_encoder(tmp_path / "published"), tmp_path / "text")
    return Config(
        run=RunConfig(tmp_path / "run"),
        feed=FeedConfig(tmp_path / "shards", SIZE),
        text_encoder=tmp_path / "text",
        autoencoder=tmp_path / "autoencoder",
        rows=ROWS,
        prompts=("red ball",),
        model=DENOISER,
    )


def save(config: Config, step: int, average: float) -> None:
    """A checkpoint whose averaged weights are all `average`, the trained ones something else."""
    state = a_denoiser().state_dict()
    averages = {name: torch.full_like(value, average) for name, value in state.items()}
    table = {"config": to_table(config)}
    checkpoint.save(config.run.out, step, {"model": state, "ema": averages, "step": step}, table)


def test_the_exported_folder_is_the_newest_average_and_lists_the_trained_rows(
    config: Config, tmp_path: Path
) -> None:
    save(config, 5, 0.25)
    save(config, 10, 0.5)
    defaults = TinyDefaults(version="9", steps=7, guidance=2.0, sampler="heun", shift=2.0)
    came_from = export(config.run.out, tmp_path / "out", defaults)
    assert came_from.name == "step-0000010"
    family = TinyFamily.load(tmp_path / "out")
    pipeline = family.pipeline
    assert {p.unique().item() for p in pipeline.denoiser.parameters()} == {0.5}
    assert family.version == "9"
    assert family.native_size == (SIZE, SIZE)
    assert family.tasks == {
        Task.of("foreground"),
        Task.of("background -> foreground composite"),
    }
    settled = pipeline.defaults
    assert settled.controls == ("silhouette",)
    assert (settled.steps, settled.guidance, settled.sampler, settled.shift) == (
        7,
        2.0,
        "heun",
        2.0,
    )
    assert (tmp_path / "out/text_encoder/tokenizer.json").read_bytes() == (
        config.text_encoder / "tokenizer.json"
    ).read_bytes()


def test_a_decoder_that_learned_on_is_taken_and_another_autoencoder_refused(
    config: Config, tmp_path: Path
) -> None:
    save(config, 5, 0.25)
    torch.manual_seed(0)
    learned, other = RGBAAutoencoder(AUTOENCODER), RGBAAutoencoder(AUTOENCODER)
    for parameter in learned.decoder.parameters():
        parameter.data.add_(0.5)
    save_network(learned, tmp_path / "learned", to_table(AUTOENCODER))
    save_network(other, tmp_path / "other", to_table(AUTOENCODER))
    export(config.run.out, tmp_path / "out", TinyDefaults(), tmp_path / "learned")
    stored = TinyFamily.load(tmp_path / "out").pipeline.autoencoder.state_dict()
    bias = "decoder.0.bias"
    assert torch.allclose(stored[bias], learned.state_dict()[bias], atol=1e-3)
    with pytest.raises(ValueError, match="makes other latents"):
        export(config.run.out, tmp_path / "out", TinyDefaults(), tmp_path / "other")


def test_tasks_read_as_the_task_table_writes_them() -> None:
    tasks, controls = trained_tasks({"composite background -> foreground": 1.0, "-> foreground": 1})
    assert tasks == ("background composite -> foreground", "-> foreground")
    assert controls == ()


def test_without_a_checkpoint_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train with multiplane\.recipes\.tiny"):
        export(tmp_path / "nothing", tmp_path / "out", TinyDefaults())


def test_tokens_must_be_those_of_the_representation(config: Config) -> None:
    codec = RGBAAutoencoder(AUTOENCODER)
    check_fit(config, codec)
    larger = replace(config, feed=replace(config.feed, size=2 * SIZE))
    with pytest.raises(ValueError, match=r"model\.grid 4 must be 8"):
        check_fit(larger, codec)
    wider = replace(config, model=replace(config.model, channels=5))
    with pytest.raises(ValueError, match=r"model\.channels 5 must be 4"):
        check_fit(wider, codec)


def test_training_goes_on_from_another_denoiser(config: Config, tmp_path: Path) -> None:
    torch.manual_seed(7)
    other = LayeredTransformer(DENOISER)
    save_network(other, tmp_path / "other", to_table(DENOISER))
    started = begun(replace(config, start=tmp_path / "other"))
    for name, value in other.state_dict().items():
        assert torch.equal(started.state_dict()[name], value), name
    deeper = replace(config, start=tmp_path / "other", model=replace(DENOISER, depth=3))
    with pytest.raises(ValueError, match="holds LayeredTransformerConfig"):
        begun(deeper)
