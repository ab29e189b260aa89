"""Both recipes end to end on a made world: they train, survive a kill and resume exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multiplane.core.config import read_config
from multiplane.models.text_encoder import write_quantized
from multiplane.models.weights_io import read_tensors
from multiplane.recipes import tiny, tiny_autoencoder
from multiplane.recipes.command import path_argument
from multiplane.training import checkpoint
from small_world import write_shards, write_text_encoder

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

AUTOENCODER = """
text_encoder = "{root}/text"
batch = 8
[run]
out = "{root}/ae"
steps = 6
warmup = 2
compile = false
precision = "no"
log_every = 2
save_every = 3
sample_every = 6
[feed]
shards = "{root}/shards"
size = 32
background_size = 40
[model]
size = 32
patch = 2
encoder_channels = [8, 8, 8]
decoder_channels = [8, 8, 8]
blocks = 1
latent_channels = 4
"""

DENOISER = """
text_encoder = "{root}/text"
autoencoder = "{root}/ae/autoencoder"
prompts = {prompts}
batch_alone = 4
batch_scene = 3
heldout = 4
[run]
out = "{root}/{name}"
steps = {steps}
warmup = 2
compile = false
precision = "no"
log_every = 1
save_every = 3
sample_every = 1000
[feed]
shards = "{root}/shards"
size = 32
background_size = 40
[model]
channels = 4
grid = 4
width = 64
depth = 2
head_channels = 32
rotary_split = [2, 2, 6, 6]
text_channels = 12
[rows]
"-> foreground" = 0.5
"background -> foreground composite" = 0.5
"""


def recipe(name: str, config: Path) -> list[str]:
    return [sys.executable, "-m", f"multiplane.recipes.{name}", str(config)]


def run(name: str, config: Path) -> None:
    done = subprocess.run(recipe(name, config), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Shards, text encoder and a trained (a little) autoencoder."""
    root = tmp_path_factory.mktemp("world")
    write_shards(root / "shards")
    write_quantized(write_text_encoder(root / "published"), root / "text")
    (root / "ae.toml").write_text(AUTOENCODER.format(root=root))
    run("tiny_autoencoder", root / "ae.toml")
    return root


def write_config(root: Path, name: str, steps: int) -> Path:
    prompts = json.dumps(["a red ball"] * 8)
    path = root / f"{name}.toml"
    path.write_text(DENOISER.format(root=root, name=name, steps=steps, prompts=prompts))
    return path


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(world: Path) -> None:
    run("tiny", write_config(world, "whole", 12))
    config = write_config(world, "killed", 12)
    process = subprocess.Popen(recipe("tiny", config), env=ENVIRONMENT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while checkpoint.newest(world / "killed") is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stopped = checkpoint.newest(world / "killed")
    assert stopped is not None
    run("tiny", config)
    finished = [checkpoint.load(world / name / "step-0000012") for name in ("whole", "killed")]
    for part in ("model", "ema"):
        for key, value in finished[0][part].items():
            assert torch.equal(value, finished[1][part][key]), (part, key)
    log = [json.loads(line) for line in (world / "killed" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log if "loss" in r][-1] == 12
    assert (world / "killed" / "denoiser" / "config.json").exists()


def test_the_autoencoder_recipe_leaves_weights_with_statistics_and_a_sheet(world: Path) -> None:
    assert (world / "ae" / "sheet-000006.png").exists()
    log = [json.loads(line) for line in (world / "ae" / "log.jsonl").read_text().splitlines()]
    assert any("heldout_psnr" in record for record in log)


def test_a_decoder_goes_on_alone_so_latents_stay_what_they_were(world: Path) -> None:
    start = world / "ae" / "autoencoder"
    text = AUTOENCODER.format(root=world).replace(f'"{world}/ae"', f'"{world}/ae_more"')
    text += '[feed.style_weights]\n"3d" = 1.0\nglass = 0.5\n'
    (world / "ae_more.toml").write_text(f'start = "{start}"\nalpha_weight = 1.0\n{text}')
    run("tiny_autoencoder", world / "ae_more.toml")
    file = "diffusion_pytorch_model.safetensors"
    before, after = (
        read_tensors(folder / file) for folder in (start, world / "ae_more" / "autoencoder")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    config = read_config(tiny_autoencoder.Config, world / "ae_more.toml")
    other = replace(config.model, latent_channels=config.model.latent_channels + 1)
    with pytest.raises(ValueError, match="or change yours to its"):
        tiny_autoencoder.begun(replace(config, model=other))


@pytest.mark.parametrize("name", ["tiny", "tiny_more", "tiny_autoencoder", "tiny_decoder"])
def test_the_shipped_configurations_read(name: str) -> None:
    recipe_of = tiny_autoencoder if name in ("tiny_autoencoder", "tiny_decoder") else tiny
    folder = Path(__file__).parents[2] / "src/multiplane/recipes/configs"
    config = read_config(recipe_of.Config, folder / f"{name}.toml")
    assert (config.start is None) == (name in ("tiny", "tiny_autoencoder"))


def test_an_unknown_key_is_refused(world: Path) -> None:
    config = write_config(world, "wrong", 3)
    config.write_text("speed = 9\n" + config.read_text())
    done = subprocess.run(recipe("tiny", config), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "unknown key 'speed'" in done.stderr


def run_on_two_processes(name: str, config: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += ["-m", f"multiplane.recipes.{name}", str(config)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_together(world: Path) -> None:
    run_on_two_processes("tiny", write_config(world, "pair", 4))
    assert checkpoint.newest(world / "pair") == world / "pair" / "step-0000004"


@pytest.mark.slow
def test_two_processes_share_the_gradients_of_the_autoencoder(world: Path) -> None:
    """From the same start and the same pictures the first process would end where it ends alone, if
    it did not learn from the other's."""
    text = AUTOENCODER.format(root=world).replace(f'"{world}/ae"', f'"{world}/ae_pair"')
    (world / "ae_pair.toml").write_text(text)
    run_on_two_processes("tiny_autoencoder", world / "ae_pair.toml")
    alone, together = (
        checkpoint.load(world / name / "step-0000006")["model"] for name in ("ae", "ae_pair")
    )
    assert alone.keys() == together.keys()
    first = "encoder.1.weight"
    assert 1e-5 < float((alone[first] - together[first]).abs().max()) < 0.1


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_without_its_argument_a_recipe_shows_its_usage(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", *arguments])
    with pytest.raises(SystemExit, match="python -m multiplane"):
        path_argument("python -m multiplane.recipes.tiny config.toml")
    monkeypatch.setattr(sys, "argv", ["recipe", "config.toml"])
    assert path_argument("usage") == Path("config.toml")
