"""LayerDiffuse's layers with shared attention, trained on a small Stable Diffusion 1.5."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor

from multiplane.core.config import read_config
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.weights_io import read_tensors
from multiplane.pipelines.layerdiffuse import LayerDiffusePipeline
from multiplane.recipes import layerdiffuse_layers
from multiplane.recipes.layerdiffuse_layers import Config, seeing
from multiplane.recipes.layerdiffuse_sd import BaseText, load_base
from multiplane.training import checkpoint
from multiplane.training.diffusion_loss import training_schedule
from multiplane.training.inside_unet import SharedStreams
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_latents import LayerLesson
from multiplane.training.layer_scenes import load_scenes
from multiplane.weights.layerdiffuse.published import PUBLISHED
from small_layer_world import write_config, write_layer_world
from small_layerdiffuse import QUICK, picture

CPU = torch.device("cpu")
CONFIGS = Path(layerdiffuse_layers.__file__).parent / "configs"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
RANK = "rank = 4"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layer_world(tmp_path_factory.mktemp("world"), "sd15")


@pytest.fixture(scope="module")
def joint(world: Path) -> Path:
    """The folder of two steps of training."""
    layerdiffuse_layers.main(write_config(world, "sd15", "joint", "joint", more=RANK, previews=2))
    return world / "joint"


def pipeline_of(world: Path) -> LayerDiffusePipeline:
    pipeline = LayerDiffusePipeline.from_pretrained(world / "sd15")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents_of(pipeline: Any, mode: str, planes: Any = None) -> dict[str, Tensor]:
    words = {"foreground": "a ball", "background": "a wall", "composite": "a ball in a wall"}
    made = pipeline(
        None,
        mode,
        planes,
        plane_prompts={name: words[name] for name in pipeline.workflows[mode].streams},
        height=64,
        width=64,
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        decode=QUICK,
    )
    return made.planes


def units_of(pipeline: Any, out: Path, step: int, frames: int, control: bool) -> AttentionSharing:
    """The averaged units of a checkpoint."""
    units = AttentionSharing.for_unet(pipeline.unet, frames, rank=4, control=control)
    state = checkpoint.load(out / f"step-{step:07d}")["ema"]
    units.load_state_dict({key.removeprefix("sharing."): value for key, value in state.items()})
    return units.eval().requires_grad_(False)


def check_round_trip(world: Path, mode: str, planes: Any = None, step: int = 2) -> None:
    """The written file makes the pipeline do what the averaged weights do, and not what the base
    alone does; the base is left as it was."""
    pipeline, out = pipeline_of(world), world / mode
    row = pipeline.workflows[mode].steps[0]
    frames, control = len(row.streams), bool(row.conditions)
    pipeline.load_mode(mode, AttentionSharing.for_unet(pipeline.unet, frames, 4, control))
    without = latents_of(pipeline, mode, planes)
    pipeline.load_mode(mode, units_of(pipeline, out, step, frames, control))
    averaged = latents_of(pipeline, mode, planes)
    pipeline.load_mode(mode, out)  # the folder holds exactly one file
    loaded = latents_of(pipeline, mode, planes)
    assert tuple(loaded) == row.streams
    for name in row.streams:
        change = float((averaged[name] - without[name]).abs().mean())
        assert change > 1e-5
        assert float((loaded[name] - averaged[name]).abs().mean()) < 0.02 * change
    base = UNet2DConditionModel.from_pretrained(world / "sd15" / "unet").state_dict()
    after = pipeline.unet.state_dict()
    assert after.keys() == base.keys()
    assert all(torch.equal(after[key], base[key]) for key in base)


def test_joint_goes_round_through_the_pipeline(world: Path, joint: Path) -> None:
    check_round_trip(world, "joint")
    assert Image.open(joint / "sheet-000002.png").size == (3 * 64, 4 * 64)
    state = checkpoint.load(joint / "step-0000002")
    assert all(key.startswith("sharing.layers.") for key in state["model"])
    assert '"foreground loss"' in (joint / "log.jsonl").read_text()


@pytest.mark.slow
def test_a_given_layer_goes_round_through_the_pipeline(world: Path) -> None:
    layerdiffuse_layers.main(
        write_config(
            *(world, "sd15", "fg2bg", "fg2bg"), more=RANK, steps=2, save=2, batch=1, rate=1e-2
        )
    )
    given = {"foreground": picture(64, 64)}
    check_round_trip(world, "fg2bg", given)
    pipeline = pipeline_of(world)
    pipeline.load_mode("fg2bg", world / "fg2bg")
    one = latents_of(pipeline, "fg2bg", given)
    other = latents_of(pipeline, "fg2bg", {"foreground": picture(64, 64, seed=5)})
    assert any(not torch.equal(one[name], other[name]) for name in one)  # it looks at it


def test_the_papers_two_streams_go_round(world: Path) -> None:
    layerdiffuse_layers.main(write_config(world, "sd15", "pair", "pair", more=RANK))
    check_round_trip(world, "pair")


@pytest.mark.parametrize("mode", ["joint", "bg2fg"])
def test_the_file_has_the_published_names(world: Path, joint: Path, mode: str) -> None:
    """By facts about the files: 1152 tensors of three streams, 1180 of two with a control."""
    if mode == "joint":
        keys = set(read_tensors(joint / "joint.safetensors"))
    else:
        unet = UNet2DConditionModel.from_pretrained(world / "sd15" / "unet")
        keys = set(AttentionSharing.for_unet(unet, 2, 4, True).published_state())
    streams = 3 if mode == "joint" else 2
    unit = {
        f"to_{name}_lora.{stream}.{side}.weight"
        for name in ("q", "k", "v", "out")
        for stream in range(streams)
        for side in ("down", "up")
    }
    unit |= {f"temporal_{name}.{kind}" for name in "niqkvo" for kind in ("weight", "bias")}
    expected = set()
    if mode == "bg2fg":
        convolutions = [(stream, index) for stream in range(2) for index in (0, 2)]
        kinds = ("weight", "bias")
        unit |= {f"control_convs.{s}.{i}.{kind}" for s, i in convolutions for kind in kinds}
        blocks = [(0, index) for index in range(0, 16, 2)]
        blocks += [(block, index) for block in (1, 2, 3) for index in (0, 2)]
        expected = {f"kwargs_encoder.blocks_{b}.{i}.{kind}" for b, i in blocks for kind in kinds}
    expected |= {f"hookers.layers.{index}.{name}" for index in range(32) for name in unit}
    assert keys == expected
    assert len(keys) == (1152 if mode == "joint" else 1180)


def lesson_of(world: Path, mode: str, count: int = 2) -> tuple[Any, Any, Any, SharedStreams]:
    """(base, lesson, a fixed batch, model) of an untrained mode."""
    config = read_config(Config, write_config(world, "sd15", "lesson", mode, more=RANK))
    base, row = load_base(str(world / "sd15")), config.layers
    transparent = LatentTransparency.trained(world / "transparency", base.vae)
    lesson = LayerLesson(row, transparent, BaseText(base, 64), training_schedule())
    source = load_scenes(config.scenes, "train", CPU)
    batch = lesson.draw(source, count, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    units = AttentionSharing.for_unet(base.unet, len(row.streams), 4, bool(row.conditions))
    return base, lesson, batch, SharedStreams(units, base.unet)


def losses(lesson: Any, model: SharedStreams, batch: Any, seed: int = 1) -> Tensor:
    return lesson.losses(seeing(model, batch), batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["joint", "bg2fg"])
def test_each_stream_trains_its_own_weights_and_nothing_else(world: Path, mode: str) -> None:
    base, lesson, batch, model = lesson_of(world, mode, count=1)
    streams = lesson.mode.streams
    for index in range(len(streams)):
        model.zero_grad()
        losses(lesson, model, batch)[:, index].mean().backward()
        moved = {
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and bool(parameter.grad.any())
        }
        # Nothing runs across untrained streams yet, so a stream reaches its own factors alone.
        assert {name.split("_lora.")[1][0] for name in moved if "_lora." in name} == {str(index)}
        assert {name for name in moved if ".temporal_o.weight" in name}
        controls = {name.split("control_convs.")[1][0] for name in moved if "control_convs" in name}
        assert controls == ({str(index)} if mode == "bg2fg" else set())
    model.zero_grad()
    losses(lesson, model, batch).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    frozen = [*base.unet.parameters(), *base.vae.parameters(), *base.text_encoder.parameters()]
    assert all(each.grad is None and not each.requires_grad for each in frozen)


def test_the_streams_of_the_batch_are_in_the_order_of_the_pipeline(world: Path) -> None:
    from multiplane.training.layer_latents import shown_latents

    base, lesson, _, _ = lesson_of(world, "joint")
    config = read_config(Config, world / "lesson.toml")
    source = load_scenes(config.scenes, "train", CPU)
    batch = lesson.draw(source, 2, torch.Generator().manual_seed(3))
    scenes = source.draw(2, torch.Generator().manual_seed(3))
    assert LayerDiffusePipeline.workflows["joint"].streams == (
        *("foreground", "background", "composite"),
    )
    parts = (
        lesson.transparent.encode(scenes.planes["foreground"]),
        shown_latents(base.vae, scenes.planes["background"]),
        shown_latents(base.vae, scenes.planes["composite"]),
    )
    for index, (name, part) in enumerate(zip(lesson.mode.streams, parts, strict=True)):
        assert torch.equal(batch.latents[index::3], part)
        said, _ = lesson.text(scenes.captions[name])
        assert torch.allclose(batch.states[index::3], said, atol=1e-6)
    # The foreground's latents carry an offset: they are not those of the picture alone.
    assert not torch.allclose(parts[0], shown_latents(base.vae, scenes.planes["foreground"]))


def test_the_loss_falls_and_the_streams_cannot_be_swapped(world: Path) -> None:
    base, lesson, batch, model = lesson_of(world, "joint")
    before = {key: value.clone() for key, value in base.unet.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    first = float(losses(lesson, model, batch).detach().mean())
    for _ in range(12):
        optimizer.zero_grad()
        losses(lesson, model, batch).mean().backward()
        optimizer.step()
    with torch.no_grad():
        last = losses(lesson, model, batch)
        order = torch.tensor([1, 0, 2, 4, 3, 5])
        # The same noise for every latent as above: only the places of two streams are exchanged.
        noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(7))
        times = torch.full((6,), 500)
        noisy = lesson.schedule.add_noise(batch.latents, noise, times)
        right = model(noisy, times, encoder_hidden_states=batch.states).sample
        swapped = model(noisy[order], times, encoder_hidden_states=batch.states[order]).sample
    assert float(last.mean()) < 0.95 * first
    assert float((swapped[order] - right).abs().mean()) > 1e-3
    after = base.unet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_recomputing_blocks_changes_no_gradient(world: Path) -> None:
    base, lesson, batch, model = lesson_of(world, "pair", count=1)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            base.unet.train()
            base.unet.enable_gradient_checkpointing()
        model.zero_grad()
        losses(lesson, model, batch).mean().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, one in found[0].items():
        assert torch.allclose(one, found[1][name], atol=1e-6), name


def test_it_resumes_exactly(world: Path, joint: Path) -> None:
    for steps in (1, 2):
        layerdiffuse_layers.main(
            write_config(world, "sd15", "parts", "joint", more=RANK, steps=steps)
        )
    one, other = (read_tensors(out / "joint.safetensors") for out in (joint, world / "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    states = [checkpoint.load(out / "step-0000002") for out in (joint, world / "parts")]
    for part in ("model", "ema"):
        assert all(
            torch.equal(states[0][part][key], states[1][part][key]) for key in states[0][part]
        )


def command(config: Path) -> list[str]:
    return ["-m", "multiplane.recipes.layerdiffuse_layers", str(config)]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(world: Path) -> None:
    names = ("killed", "unkilled")
    configs = [write_config(world, "sd15", name, "joint", more=RANK, steps=12) for name in names]
    process = subprocess.Popen([sys.executable, *command(configs[0])], env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while checkpoint.newest(world / "killed") is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopped = checkpoint.newest(world / "killed")
    assert stopped is not None
    assert stopped.name < "step-0000012"
    for config in configs:
        layerdiffuse_layers.main(config)
    one, other = (read_tensors(world / name / "joint.safetensors") for name in names)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_two_processes_share_the_gradients(world: Path, joint: Path) -> None:
    config = write_config(world, "sd15", "both", "joint", more=RANK)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launcher, *command(config)], env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (read_tensors(out / "joint.safetensors") for out in (joint, world / "both"))
    assert one.keys() == other.keys()
    key = "hookers.layers.0.to_q_lora.0.up.weight"
    assert 1e-6 < float((one[key] - other[key]).abs().max()) < 0.1


def test_the_reference_configurations_are_of_the_published_size() -> None:
    """Every number of the file, counted on a Stable Diffusion 1.5 UNet without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        for mode in ("joint", "fg2bg", "bg2fg"):
            config = read_config(Config, CONFIGS / f"layerdiffuse_sd15_{mode}.toml")
            row = config.layers
            assert row.name == mode
            assert (config.rank, config.run.other_rate, config.scenes.size) == (256, 1e-5, 512)
            assert "16 over all" in (CONFIGS / f"layerdiffuse_sd15_{mode}.toml").read_text()
            units = AttentionSharing.for_unet(
                unet, len(row.streams), config.rank, bool(row.conditions)
            )
            count = sum(tensor.numel() for tensor in units.published_state().values())
            assert count == PUBLISHED[f"layer_sd15_{mode}"].parameters


def test_another_base_or_size_is_refused(world: Path, tmp_path: Path) -> None:
    config = write_config(world, "sd15", "odd", "joint")
    config.write_text(config.read_text().replace("size = 64", "size = 72"))
    with pytest.raises(ValueError, match="72 pixels a side: give a multiple of 64"):
        layerdiffuse_layers.main(config)
    write_layer_world(tmp_path / "xl", "sdxl")
    with pytest.raises(ValueError, match="is SDXL: attention sharing is for Stable"):
        layerdiffuse_layers.main(write_config(tmp_path / "xl", "sdxl", "wrong", "joint"))
