"""The frame layers that make clips: they train, resume exactly, and leave the stills alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multiplane.core.config import from_table, read_config, to_table
from multiplane.core.request import Task
from multiplane.models.frame_attention import FrameLayers, FrameLayersConfig
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.text_encoder import TextEncoder, write_quantized
from multiplane.models.weights_io import read_tensors, save_network
from multiplane.pipelines.tiny import MOTION, TinyDefaults, TinyFamily, TinyPipeline
from multiplane.recipes.tiny_motion import Config, main
from multiplane.recipes.tiny_motion_export import export
from multiplane.training import checkpoint
from small_world import AUTOENCODER, DENOISER, write_shards, write_text_encoder

CONFIG = """
weights = "{root}/stills"
prompts = ["red ball", "green ball over night"]
first = 0.5
frames = 3
heldout = 2
[run]
out = "{root}/{name}"
steps = {steps}
warmup = 1
compile = false
precision = "no"
log_every = 1
save_every = 2
sample_every = 100
[feed]
shards = "{root}/shards"
size = 32
background_size = 40
[rows]
"-> foreground" = 0.5
"composite -> foreground background" = 0.5
[[parts]]
span = {{ frames = 3, stride = 2, length = 6 }}
alone = 2
scene = 2
[[parts]]
span = {{ frames = 6, stride = 1, length = 6 }}
alone = 2
scene = 1
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and untrained weights of stills."""
    root = tmp_path_factory.mktemp("motion")
    write_shards(root / "shards")
    write_quantized(write_text_encoder(root / "published"), root / "text")
    torch.manual_seed(0)
    config = replace(DENOISER, text_tokens=16)
    denoiser = LayeredTransformer(config)
    for parameter in denoiser.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # else its closed gates let nothing learn
    stills = TinyPipeline(
        denoiser,
        RGBAAutoencoder(AUTOENCODER),
        TextEncoder.from_pretrained(root / "text", 16),
        TinyDefaults(version="1", tasks=("foreground",)),
    )
    stills.save_pretrained(root / "stills", root / "text")
    return root


def train(root: Path, name: str, steps: int, text: str = CONFIG) -> Path:
    path = root / f"{name}.toml"
    path.write_text(text.format(root=root, name=name, steps=steps))
    main(path)
    return root / name


def test_it_trains_the_frame_layers_alone_and_goes_on_exactly_where_it_stopped(world: Path) -> None:
    whole, part = train(world, "whole", 4), world / "part"
    part.mkdir()
    for kept in (whole / "step-0000002",):
        shutil.copytree(kept, part / kept.name)
    train(world, "part", 4)
    first, second = (checkpoint.load(run / "step-0000004") for run in (whole, part))
    stills = TinyPipeline.from_pretrained(world / "stills").denoiser.state_dict()
    moved = set()
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
        if name.startswith("frames."):
            moved |= {name} if ".out." in name and bool(value.any()) else set()
        else:
            assert torch.equal(value, stills[name]), name
    assert len(moved) == DENOISER.depth
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert any("heldout -> foreground" in record for record in log)
    assert (whole / "sheet-000004.png").exists()


def test_it_goes_on_from_other_frame_layers(world: Path) -> None:
    first = train(world, "first", 2) / MOTION
    more = train(world, "more", 2, f'start = "{first}"\n' + CONFIG) / MOTION
    file = "diffusion_pytorch_model.safetensors"
    again, other = (read_tensors(folder / file) for folder in (first, more))
    names = [name for name in again if name.endswith("qkv.weight")]
    assert names
    # In two small steps the weights cannot have come as far as from another draw of them.
    distance = sum(float((again[name] - other[name]).abs().mean()) for name in names)
    assert 0 < distance < 0.2 * sum(float(again[name].abs().mean()) for name in names)
    misfit = world / "misfit_layers"
    layers = FrameLayersConfig(16, 1, 16)
    save_network(FrameLayers(layers), misfit, to_table(layers))
    with pytest.raises(ValueError, match=r"misfit_layers holds .* change yours to its"):
        train(world, "misfit", 2, f'start = "{misfit}"\n' + CONFIG)


def test_the_exported_folder_makes_clips_and_the_same_stills(world: Path) -> None:
    run = train(world, "exported", 2)
    came_from = export(run, world / "out", version="1.1", steps=3, guidance=2.0)
    assert came_from.name == "step-0000002"
    family = TinyFamily.load(world / "out")
    assert (family.version, family.max_frames) == ("1.1", 6)
    defaults = family.pipeline.defaults
    assert (defaults.clip_steps, defaults.clip_guidance, defaults.shared_noise) == (3, 2.0, 0.5)
    assert set(map(Task.of, defaults.clip_tasks)) == {
        Task.of("-> foreground"),
        Task.of("composite -> foreground background"),
    }
    export(run, world / "steadier", "1.1", 3, 2.0, shared_noise=0.9)
    assert TinyFamily.load(world / "steadier").pipeline.defaults.shared_noise == 0.9
    for part in ("denoiser", "autoencoder"):
        file = f"{part}/diffusion_pytorch_model.safetensors"
        assert (world / "out" / file).read_bytes() == (world / "stills" / file).read_bytes()
    made, trained = (
        read_tensors(folder / MOTION / "diffusion_pytorch_model.safetensors")
        for folder in (world / "out", run)
    )
    assert all(torch.equal(made[name], trained[name]) for name in trained)


def test_without_a_checkpoint_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train with multiplane\.recipes\.tiny_motion"):
        export(tmp_path / "nothing", tmp_path / "out", "1", 16, 3.0)


def test_the_shipped_configuration_reads_and_survives_its_checkpoint_table() -> None:
    path = Path(__file__).parents[2] / "src/multiplane/recipes/configs/tiny_motion.toml"
    config = read_config(Config, path)
    assert from_table(Config, json.loads(json.dumps(to_table(config)))) == config
