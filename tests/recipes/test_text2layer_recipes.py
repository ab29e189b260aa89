"""Text2Layer's recipes end to end on a made world: both stages train, a stopped run goes on to the
same weights, and what comes out is a pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multiplane.core.config import read_config
from multiplane.models.text_encoder import write_quantized
from multiplane.pipelines.text2layer import Text2LayerPipeline
from multiplane.recipes import text2layer, text2layer_autoencoder
from multiplane.recipes.text2layer import Config, check_fit
from multiplane.training import checkpoint
from multiplane.training.lpips import LPIPS
from small_world import write_shards, write_text_encoder

FEED = """
[feed]
shards = "{root}/shards"
size = 32
background_size = 40
"""
RUN = """
[run]
out = "{root}/{name}"
steps = {steps}
warmup = 2
compile = false
precision = "no"
log_every = 1
save_every = 2
sample_every = 4
"""
AUTOENCODER = (
    'batch = 4\nlpips = "alex"\n'
    + RUN
    + FEED
    + """
[model]
channels = [8, 8, 16]
layers = 1
latent_channels = 4
groups = 4
size = 32
image_head = {image_head}
[adversary]
width = 8
depth = 1
start = 2
"""
)
DENOISER = (
    """
text_encoder = "{root}/text"
autoencoder = "{root}/ae/autoencoder"
batch = 4
scenes = 16
faults = 0.5
steps = 2
prompts = ["red ball in night"]
"""
    + RUN
    + FEED
    + """
[model]
size = 8
channels = [8, 8]
layers = 1
heads = 2
groups = 4
text_channels = 12
"""
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, a text encoder and an autoencoder trained for four steps."""
    root = tmp_path_factory.mktemp("world")
    write_shards(root / "shards")
    write_quantized(write_text_encoder(root / "published"), root / "text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LPIPS, "from_package", classmethod(lambda cls, net: unfetched(net)))
        run_autoencoder(root, "ae", 4, image_head=True)
    return root


def unfetched(net: str) -> LPIPS:
    """LPIPS with random weights: no package is fetched in a test."""
    torch.manual_seed(0)
    model = LPIPS(net)  # pyright: ignore[reportArgumentType]
    for head in model.heads:
        head.fill_(0.1)
    return model


def run_autoencoder(root: Path, name: str, steps: int, image_head: bool) -> None:
    path = root / f"{name}.toml"
    text = AUTOENCODER.format(root=root, name=name, steps=steps, image_head=json.dumps(image_head))
    path.write_text(text)
    text2layer_autoencoder.main(path)


def run_denoiser(root: Path, name: str, steps: int) -> None:
    path = root / f"{name}.toml"
    path.write_text(DENOISER.format(root=root, name=name, steps=steps))
    text2layer.main(path)


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_autoencoder_learns_with_every_loss_and_settles(world: Path) -> None:
    records = log_of(world / "ae")
    assert {"absolute", "lpips", "mask", "kl"} <= set(records[0])
    assert "discriminator" not in records[0]  # it starts at step 2
    assert "discriminator" in records[-2]
    assert "heldout mask iou" in records[-1]
    assert (world / "ae" / "sheet-000004.png").is_file()
    model = autoencoder_of(world / "ae" / "autoencoder")
    assert set(model.heads) == {"foreground", "background", "mask", "image"}
    assert not torch.equal(model.latent_std, torch.ones(4))
    first = model.heads["foreground"][1]
    assert isinstance(first, torch.nn.BatchNorm2d)
    assert first.num_batches_tracked is not None
    assert int(first.num_batches_tracked) == 24  # measured anew with the averaged weights


def autoencoder_of(folder: Path):
    from multiplane.models.layer_codecs import JointLatents

    return JointLatents.load(folder).autoencoder


def test_without_the_image_head_only_two_pictures_are_taught(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LPIPS, "from_package", classmethod(lambda cls, net: unfetched(net)))
    run_autoencoder(world, "nosup", 1, image_head=False)
    assert "image" not in autoencoder_of(world / "nosup" / "autoencoder").heads


def test_a_stopped_run_goes_on_to_the_same_weights_and_makes_the_same_picture(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_denoiser(world, "whole", 6)
    whole = (world / "whole", checkpoint.load(world / "whole" / "step-0000006"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(text2layer, "draw_previews", stop)  # at step 4, after its checkpoint
        with pytest.raises(KeyboardInterrupt):
            run_denoiser(world, "stopped", 6)
    assert checkpoint.newest(world / "stopped") == world / "stopped" / "step-0000004"
    encoded = sorted((world / "stopped").glob("latents-*.safetensors"))
    before = [path.stat().st_mtime_ns for path in encoded]
    run_denoiser(world, "stopped", 6)
    assert [path.stat().st_mtime_ns for path in encoded] == before  # not encoded twice
    state = checkpoint.load(world / "stopped" / "step-0000006")
    for part in ("model", "ema"):
        for key, value in whole[1][part].items():
            assert torch.equal(value, state[part][key]), (part, key)
    made = [
        Text2LayerPipeline.from_pretrained(folder / "model")(
            "a red ball", torch.Generator().manual_seed(0)
        )
        for folder in (whole[0], world / "stopped")
    ]
    assert set(made[0]) == {"foreground", "background", "composite"}
    for name, plane in made[0].items():
        assert torch.equal(plane, made[1][name])


def test_a_unet_that_does_not_fit_its_latent_is_refused(world: Path) -> None:
    from multiplane.models.layer_codecs import load_layer_codec

    path = world / "wrong.toml"
    path.write_text(DENOISER.format(root=world, name="wrong", steps=1))
    config = read_config(Config, path)
    codec = load_layer_codec("joint", world / "ae" / "autoencoder")
    check_fit(config, codec)
    with pytest.raises(ValueError, match=r"model\.size 16 must be 8"):
        check_fit(replace(config, model=replace(config.model, size=16)), codec)
    with pytest.raises(ValueError, match="'flat' latents need a AutoencoderKL"):
        load_layer_codec("flat", world / "ae" / "autoencoder")
    with pytest.raises(ValueError, match="unknown form"):
        load_layer_codec("stacked", world / "ae" / "autoencoder")
