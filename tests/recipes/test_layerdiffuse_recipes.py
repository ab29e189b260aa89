"""LayerDiffuse's stages end to end on a made world: an RGB autoencoder, latent transparency on it,
a latent diffusion model, made transparent; they resume exactly and leave the VAE as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image

from multiplane.evaluation.latent_transparency import Sources, evaluate, load
from multiplane.models.text_encoder import write_quantized
from multiplane.recipes import latent_transparency, layerdiffuse, rgb_vae
from multiplane.training import checkpoint
from multiplane.training.lpips import LPIPS
from small_world import write_shards, write_text_encoder

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
COMMON = """
[run]
out = "{root}/{name}"
steps = {steps}
warmup = 2
anneal = 0.0
compile = false
precision = "no"
log_every = 1
save_every = 2
sample_every = 1000
[feed]
shards = "{root}/shards"
size = 32
background_size = 40
"""
VAE = (
    """
batch = 8
{adversary}
"""
    + COMMON
    + """
[model]
channels = [8, 8, 8, 8]
groups = 4
"""
)
TRANSPARENCY = (
    """
vae = "{root}/vae/vae"
batch = 4
drop_offset = {drop}
"""
    + COMMON
    + """
[encoder]
block_channels = [4, 4, 8, 8]
[decoder]
block_channels = [8, 8, 8, 8]
layers_per_block = 1
attention_levels = 1
[adversary]
width = 8
depth = 1
"""
)
DIFFUSION = (
    """
text_encoder = "{root}/text"
vae = "{root}/vae/vae"
batch = 4
pictures = 8
steps = 2
prompts = ["a red ball", "a green ball"]
{more}
"""
    + COMMON
    + """
[model]
size = 4
channels = [16, 16]
layers = 1
heads = 2
groups = 4
text_channels = 12
"""
)


def write_config(root: Path, text: str, name: str, steps: int = 4, **said: object) -> Path:
    path = root / f"{name}.toml"
    said = {"drop": 0.3, "more": "", "adversary": "", **said}
    path.write_text(text.format(root=root, name=name, steps=steps, **said))
    return path


def state_of(root: Path, name: str, steps: int) -> dict:
    return checkpoint.load(root / name / f"step-{steps:07d}")


def assert_equal_runs(one: dict, other: dict) -> None:
    parts = [(one["model"], other["model"]), (one["ema"], other["ema"])]
    if one["adversary"]:
        parts.append((one["adversary"]["model"], other["adversary"]["model"]))
    for first, second in parts:
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), key


def logged(root: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (root / name / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, text encoder, and both autoencoding stages trained a little."""
    root = tmp_path_factory.mktemp("world")
    write_shards(root / "shards")
    write_quantized(write_text_encoder(root / "published"), root / "text")
    rgb_vae.main(write_config(root, VAE, "vae"))
    latent_transparency.main(write_config(root, TRANSPARENCY, "transparency"))
    return root


def test_the_vae_is_a_diffusers_folder_with_its_scale(world: Path) -> None:
    vae = AutoencoderKL.from_pretrained(world / "vae" / "vae")
    assert vae.config["latent_channels"] == 4
    assert vae.config["scaling_factor"] != AutoencoderKL().config["scaling_factor"]
    assert (world / "vae" / "sheet-000004.png").exists()
    assert "heldout_psnr" in logged(world, "vae")[-1]


def test_the_vae_learns_with_a_discriminator_and_lpips_too(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distance = LPIPS("alex")
    torch.nn.init.ones_(distance.heads[0])
    monkeypatch.setattr(LPIPS, "from_package", lambda net: distance)
    adversary = 'lpips = "alex"\nadversary = {width = 8, depth = 1, start = 2}'
    rgb_vae.main(write_config(world, VAE, "vae_judged", adversary=adversary))
    records = [record for record in logged(world, "vae_judged") if "loss" in record]
    assert ["discriminator" in record for record in records] == [False, False, True, True]
    plain = [record for record in logged(world, "vae") if "loss" in record]
    assert records[0]["loss"] > plain[0]["loss"] + 1e-3  # the same pictures, and the distance


def test_transparency_leaves_the_vae_alone_and_resumes_exactly(world: Path) -> None:
    weights = world / "vae" / "vae" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    latent_transparency.main(write_config(world, TRANSPARENCY, "parts", steps=2))
    latent_transparency.main(write_config(world, TRANSPARENCY, "parts", steps=4))
    assert_equal_runs(state_of(world, "parts", 4), state_of(world, "transparency", 4))
    assert weights.read_bytes() == before
    assert not any("vae" in key for key in state_of(world, "parts", 4)["model"])
    figures = logged(world, "parts")[-1]
    assert {"heldout alpha mae", "heldout decode, offset", "heldout decode, plain"} <= set(figures)


def test_dropping_every_offset_leaves_the_encoder_untrained(world: Path) -> None:
    latent_transparency.main(write_config(world, TRANSPARENCY, "dropped", steps=2, drop=1.0))
    states = state_of(world, "dropped", 2)["model"]
    assert not states["encoder.blocks.16.weight"].any()
    trained = state_of(world, "transparency", 2)["model"]
    assert trained["encoder.blocks.16.weight"].any()


def test_networks_that_do_not_fit_the_vae_are_refused(world: Path) -> None:
    text = TRANSPARENCY.replace("[4, 4, 8, 8]", "[4, 8, 8]")
    with pytest.raises(ValueError, match="must name 4 widths for this VAE, got 3"):
        latent_transparency.main(write_config(world, text, "unfit"))


def test_the_evaluation_has_every_way_and_every_figure(world: Path) -> None:
    model = load(world / "transparency", str(world / "vae" / "vae"))
    report = evaluate(model, Sources(world / "shards", 32, ("3d",)), world / "figures")
    assert report == json.loads((world / "figures" / "latent_transparency.json").read_text())
    for name in ("as they are", "see-through"):
        ways = report[name]["reconstruction"]
        assert set(ways) == {
            "latent transparency",
            "its offset dropped",
            "alpha as a picture",
            "cut from grey",
        }
        assert len({tuple(figures) for figures in ways.values()}) == 1
        assert all(0 <= figures["alpha mae"] <= 1 for figures in ways.values())
        assert len(report[name]["harm"]) == 3
    assert Image.open(world / "figures" / "latent_transparency.png").height > 700


def test_a_model_is_made_transparent_in_every_weight_or_by_lora(world: Path) -> None:
    layerdiffuse.main(write_config(world, DIFFUSION, "base"))
    base = f'base = "{world}/base/unet"\ntransparency = "{world}/transparency"'
    layerdiffuse.main(write_config(world, DIFFUSION, "full", more=base))
    layerdiffuse.main(write_config(world, DIFFUSION, "lora", more=f"{base}\nlora_rank = 2"))
    plain, full = (
        UNet2DConditionModel.from_pretrained(world / n / "unet") for n in ("base", "full")
    )
    moved = [
        not torch.equal(p, q) for p, q in zip(plain.parameters(), full.parameters(), strict=True)
    ]
    assert sum(moved) > 0.9 * len(moved)
    lora = state_of(world, "lora", 4)["model"]
    start = plain.state_dict()
    for key, value in lora.items():
        if "lora" not in key:
            assert torch.equal(value, start[key.replace(".base_layer", "")]), key
    assert any(value.any() for key, value in lora.items() if "lora_B" in key)
    states = torch.randn(1, 3, 12, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    without = plain(noise, 10, states).sample
    weights = {"prefix": None, "weight_name": "pytorch_lora_weights.safetensors"}
    plain.load_lora_adapter(world / "lora" / "lora", **weights)
    assert not torch.allclose(plain(noise, 10, states).sample, without, atol=1e-7)
    # A transparent stage shows two rows a prompt line: the picture and what the VAE alone decodes.
    heights = [Image.open(world / n / "sheet-000004.png").height for n in ("base", "full")]
    assert heights == [32, 64]


def test_a_diffusion_model_resumes_exactly_from_its_kept_pictures(world: Path) -> None:
    layerdiffuse.main(write_config(world, DIFFUSION, "whole"))
    layerdiffuse.main(write_config(world, DIFFUSION, "halves", steps=2))
    layerdiffuse.main(write_config(world, DIFFUSION, "halves", steps=4))
    assert_equal_runs(state_of(world, "halves", 4), state_of(world, "whole", 4))
    assert len(list((world / "halves").glob("latents-*.safetensors"))) == 2


def test_a_lora_without_its_base_is_refused(world: Path) -> None:
    with pytest.raises(ValueError, match="give its UNet's folder as base"):
        layerdiffuse.main(write_config(world, DIFFUSION, "baseless", more="lora_rank = 2"))


def recipe(name: str, config: Path) -> list[str]:
    return ["-m", f"multiplane.recipes.{name}", str(config)]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(world: Path) -> None:
    config = write_config(world, TRANSPARENCY, "killed", 30)
    command = [sys.executable, *recipe("latent_transparency", config)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while checkpoint.newest(world / "killed") is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stopped = checkpoint.newest(world / "killed")
    assert stopped is not None
    assert stopped.name < "step-0000030"
    for name in ("killed", "unkilled"):
        config = write_config(world, TRANSPARENCY, name, 30)
        command = [sys.executable, *recipe("latent_transparency", config)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert_equal_runs(state_of(world, "killed", 30), state_of(world, "unkilled", 30))


@pytest.mark.slow
def test_two_processes_share_the_gradients_of_model_and_discriminator(world: Path) -> None:
    config = write_config(world, TRANSPARENCY, "pair", 4)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*command, *recipe("latent_transparency", config)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = (state_of(world, name, 4) for name in ("transparency", "pair"))
    pairs = [
        (run["model"]["decoder.conv_in.weight"], run["adversary"]["model"]["0.weight"])
        for run in (alone, together)
    ]
    for one, other in zip(*pairs, strict=True):
        assert 1e-6 < float((one - other).abs().max()) < 0.1
