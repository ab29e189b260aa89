"""The stages of layered clips end to end on a made world: what each trains, exact resume, two
processes, the table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multiplane.core.config import read_config
from multiplane.models.lora import LoRAConfig, add_lora, load_lora, lora_state
from multiplane.models.weights_io import read_tensors
from multiplane.recipes import clips_base, clips_content_lora, clips_motion_lora, clips_stage1
from multiplane.recipes.clips_base import draw_given_frames, flat_clips
from multiplane.recipes.clips_content_lora import mixed
from multiplane.recipes.clips_stages import Config, common, content_config, stages
from multiplane.training import checkpoint
from multiplane.training.clip_stage import ADAPTER, NETWORK, ClipStage, load_denoiser
from multiplane.training.clips import PLANES
from small_clips import write_clip_world, write_stage_config

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


PAIR = """
[run]
out = "{out}"
steps = 3
warmup = 1
compile = false
precision = "no"
[data]
shards = "{root}/shards/clips"
text_encoder = "{root}/text"
patch = 8
videos = ["moving"]
images = ["stills"]
batch = 2
heldout = 2
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Shards, text encoder and, in `root/all`, every stage trained a little."""
    root = write_clip_world(tmp_path_factory.mktemp("world"))
    stages(read_config(Config, write_stage_config(root, "all")))
    return root


def config_of(world: Path, name: str = "all", **values: int) -> Config:
    return read_config(Config, write_stage_config(world, name, **values))


def weights(folder: Path, file: str = "diffusion_pytorch_model.safetensors") -> dict:
    return read_tensors(folder / file)


def test_the_table_holds_every_variant_and_the_strips_are_drawn(world: Path) -> None:
    result = json.loads((world / "all" / "table.json").read_text())
    assert set(result["table"]) == {
        "the clips themselves",
        "stage 1",
        "stage 1, motion at 0.5",
        "stage 1, motion at 1",
        "stage 3",
        "ablation: video only",
    }
    assert result["ratios"]["stage 3 motion over stage 1"] == pytest.approx(
        result["table"]["stage 3"]["motion composite"]
        / result["table"]["stage 1"]["motion composite"]
    )
    assert "alpha edge error, taken apart" in result["table"]["stage 1"]
    assert result["table"]["the clips themselves"]["disagreement"] < 1e-6
    strips = {path.stem for path in (world / "all" / "strips").glob("*.png")}
    assert {"stage-1", "stage-3-taken-apart", "the-clips-themselves"} <= strips
    assert "stage 3 alpha edge error" in (world / "all" / "table.md").read_text()


def test_a_second_run_trains_nothing_and_measures_the_same(world: Path) -> None:
    before = json.loads((world / "all" / "table.json").read_text())
    times = {path: path.stat().st_mtime_ns for path in world.glob("all/*/step-*")}
    assert stages(config_of(world)) == before
    assert {path: path.stat().st_mtime_ns for path in world.glob("all/*/step-*")} == times


def test_stage_1_trains_one_block_of_every_so_many_and_what_makes_planes(world: Path) -> None:
    before, after = (weights(world / "all" / name / NETWORK) for name in ("base", "stage1"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("blocks.")} == {"1"}
    assert {name.split(".")[2] for name in changed if name.startswith("frames.")} == {"1"}
    assert {"roles.weight", "picture_in.weight", "picture_out.weight"} <= changed
    for frozen in ("text_in.", "time.", "to_modulation.", "blocks.0."):
        assert not [name for name in changed if name.startswith(frozen)]


def test_each_adapter_trains_alone(world: Path) -> None:
    """Stages 2 and 3 leave the network of stage 1, and stage 3 the Motion LoRA, as they were."""
    network = weights(world / "all" / "stage1" / NETWORK)
    motion = weights(world / "all" / "motion" / ADAPTER, "adapter.safetensors")
    saved = checkpoint.load(world / "all" / "content" / "step-0000004")["model"]
    for name, value in network.items():
        key = name if name in saved else name.replace(".weight", ".base.weight")
        assert torch.equal(saved[key], value), name
    for name, value in motion.items():
        layer, pair = re.split(r"\.(?=down|up)", name)
        assert torch.equal(saved[f"{layer}.adapters.motion.{pair}"], value)
    content = weights(world / "all" / "content" / ADAPTER, "adapter.safetensors")
    for trained in (motion, content):
        assert all(bool(value.any()) for name, value in trained.items() if ".up." in name)


def test_the_ablation_has_no_pictures_and_no_motion_adapter(world: Path) -> None:
    config = config_of(world)
    plain, full = content_config(config, "video only"), content_config(config, "content")
    assert (plain.motion, plain.pictures, plain.videos) == (None, 0.0, "coarse")
    assert full.motion == world / "all" / "motion" / ADAPTER
    assert replace(full, motion=None, run=plain.run) == replace(
        plain, pictures=full.pictures, videos=full.videos
    )
    state = checkpoint.load(world / "all" / "video-only" / "step-0000004")["model"]
    assert not [name for name in state if ".adapters.motion." in name]


def test_pictures_have_the_motion_adapter_on_and_clips_have_it_off(world: Path) -> None:
    config = config_of(world)
    stage = ClipStage(config.data, config.model, torch.device("cpu"))
    pool = stage.pool("train")
    generator = torch.Generator().manual_seed(0)
    videos = pool.draw(40, generator, pool.rows_of(("moving",)))
    pictures = pool.draw(40, generator, pool.rows_of(("stills",))).frozen(generator)
    batch, gate = mixed(pictures, videos, 0.7, generator)
    assert set(gate.tolist()) == {0.0, 1.0}
    assert 0.5 < float(gate.mean()) < 0.9
    front = batch.prompts[:, PLANES.index("foreground")].tolist()
    for i, on in enumerate(gate.tolist()):
        still = bool((batch.composite[i] == batch.composite[i, :1]).all())
        assert still == bool(on)
        assert ("cube" in pool.prompts.texts[front[i]]) == bool(on)


def test_the_bases_clips_are_flat_each_kind_under_its_own_caption(world: Path) -> None:
    config = config_of(world)
    pool = ClipStage(config.data, config.model, torch.device("cpu")).pool("train")
    generator = torch.Generator().manual_seed(0)
    batch = pool.draw(60, generator)
    flat = flat_clips(batch, 0.3, 0.3, generator)
    bare = (flat.composite == batch.background).flatten(1).all(dim=1)
    whole = (flat.composite == batch.composite).flatten(1).all(dim=1)
    clear = batch.foreground[:, :, 3:] == 0
    index = PLANES.index("composite")
    counts = dict.fromkeys(PLANES, 0)
    for i in range(60):
        source = "background" if bare[i] else "composite" if whole[i] else "foreground"
        counts[source] += 1
        assert flat.prompts[i, index] == batch.prompts[i, PLANES.index(source)]
        if source == "foreground":  # one colour wherever the object is not
            colors = flat.composite[i].masked_select(clear[i].expand_as(flat.composite[i]))
            assert len(colors.unique()) <= 4
            assert bool((flat.composite[i, :, 3] == 1).all())
    assert all(8 < count < 35 for count in counts.values())


def test_stills_are_one_frame_of_their_clips(world: Path) -> None:
    config = config_of(world)
    pool = ClipStage(config.data, config.model, torch.device("cpu")).pool("train")
    still = pool.draw_stills(5, torch.Generator().manual_seed(2))
    assert still.composite.shape[:2] == (5, 1)
    clips = pool.batch(
        torch.arange(len(pool.captions)),
        torch.zeros(len(pool.captions)) > 0,
        [0.0] * len(pool.captions),
    )
    frames = torch.cat([clips.composite, clips.composite.flip(-1)]).flatten(0, 1)
    for picture in still.composite[:, 0]:
        assert bool((frames == picture).flatten(1).all(dim=1).any())


def test_shares_that_are_none_are_refused(world: Path) -> None:
    config = config_of(world)
    run, data = common(config, "base", config.base)
    with pytest.raises(ValueError, match="are shares of 0 or more, together at most 1"):
        clips_base.Config(run, data, config.model, photographs=0.7, plain=0.4)


def test_given_frames_leave_one_to_make() -> None:
    nothing = torch.zeros(300, 1, 4, 2, 2, dtype=torch.bool)
    given = draw_given_frames(nothing, 0.5, torch.Generator().manual_seed(0))
    frames = given[:, 0, :, 0, 0]
    assert torch.equal(given, frames[:, None, :, None, None].expand_as(given))
    assert not frames.all(dim=1).any()
    assert 0.3 < float(frames.any(dim=1).float().mean()) < 0.55


def trained(module, config, out: Path, steps: int) -> dict:
    """Train a stage in a folder of its own; the state at the last step."""
    module.train(replace(config, run=replace(config.run, out=out, steps=steps)))
    return checkpoint.load(out / f"step-{steps:07d}")


def configurations(world: Path) -> dict:
    """A configuration of every stage on what is in `world/all`."""
    config, out = config_of(world), world / "all"
    run, data = common(config, "x", config.base)
    network = out / "stage1" / NETWORK
    return {
        "base": (clips_base, clips_base.Config(run, data, config.model, stills=3)),
        "stage1": (clips_stage1, clips_stage1.Config(run, data, out / "base" / NETWORK, 2)),
        "motion": (clips_motion_lora, clips_motion_lora.Config(run, data, network)),
        "content": (clips_content_lora, content_config(config, "content")),
    }


@pytest.mark.parametrize("name", ["base", "stage1", "motion", "content"])
def test_a_resumed_stage_ends_as_an_uninterrupted_one(
    world: Path, tmp_path: Path, name: str
) -> None:
    module, config = configurations(world)[name]
    config = replace(config, run=replace(config.run, anneal=1e-9, save_every=1))
    whole = trained(module, config, tmp_path / "whole", 4)
    trained(module, config, tmp_path / "parts", 2)  # without annealing the total does not matter
    again = trained(module, config, tmp_path / "parts", 4)
    for part in ("model", "ema"):
        for key, value in whole[part].items():
            assert torch.equal(value, again[part][key]), (part, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "stage1", "content"])
def test_two_processes_share_their_gradients(world: Path, tmp_path: Path, name: str) -> None:
    """From one start the first process would end where it ends alone, if it did not learn from the
    other's samples."""
    module, _ = configurations(world)[name]
    out = world / "all"
    text = {
        "base": "stills = 2\n",
        "stage1": f'base = "{out}/base/{NETWORK}"\nevery = 2\n',
        "content": f'model = "{out}/stage1/{NETWORK}"\nmotion = "{out}/motion/{ADAPTER}"\n',
    }[name]
    text += PAIR.format(out=tmp_path / "pair", root=world)
    if name == "base":
        model = (world / "all.toml").read_text().partition("[model]")[2].partition("[base]")[0]
        text += f"[model]{model}"
    (tmp_path / "pair.toml").write_text(text)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += ["-m", module.__name__, str(tmp_path / "pair.toml")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    together = checkpoint.load(tmp_path / "pair" / "step-0000003")["model"]
    alone = read_config(module.Config, tmp_path / "pair.toml")
    single = trained(module, alone, tmp_path / "alone", 3)["model"]
    assert single.keys() == together.keys()
    apart = max(float((single[key] - together[key]).abs().max()) for key in single)
    assert 1e-5 < apart < 0.5


def test_an_adapter_fits_the_network_it_was_trained_on(world: Path) -> None:
    network = load_denoiser(world / "all" / "stage1" / NETWORK)
    load_lora(network, "content", world / "all" / "content" / ADAPTER)
    assert any(
        bool(value.any()) for key, value in lora_state(network, "content").items() if ".up." in key
    )
    add_lora(network, "motion", LoRAConfig(rank=2))


def test_an_unknown_ablation_and_a_share_above_1_are_refused(world: Path) -> None:
    config = config_of(world)
    with pytest.raises(ValueError, match="no ablation 'colour'"):
        replace(config, ablations=("colour",))
    with pytest.raises(ValueError, match="share from 0 to 1"):
        replace(content_config(config, "content"), pictures=1.2)


def test_other_patches_than_the_networks_are_refused(world: Path) -> None:
    config = config_of(world)
    with pytest.raises(ValueError, match="patches of 4 px need 64"):
        ClipStage(replace(config.data, patch=4), config.model, torch.device("cpu"))


def test_the_shipped_stages_are_those_of_the_shipped_run_of_all() -> None:
    folder = Path(__file__).parents[2] / "src/multiplane/recipes/configs"
    whole = read_config(Config, folder / "clips_stages.toml")
    base = read_config(clips_base.Config, folder / "clips_base.toml")
    assert (base.run, base.data) == common(whole, "base", whole.base)
    assert base.model == whole.model
    assert (base.photographs, base.plain, base.stills) == (
        whole.photographs,
        whole.plain,
        whole.stills,
    )
    first = read_config(clips_stage1.Config, folder / "clips_stage1.toml")
    assert (first.run, first.data) == common(whole, "stage1", whole.stage1)
    assert (first.base, first.every, first.coarse) == (
        whole.out / "base" / NETWORK,
        whole.every,
        whole.coarse,
    )
    motion = read_config(clips_motion_lora.Config, folder / "clips_motion_lora.toml")
    assert (motion.run, motion.data) == common(whole, "motion", whole.motion)
    assert (motion.model, motion.lora) == (whole.out / "stage1" / NETWORK, whole.motion_lora)
    content = read_config(clips_content_lora.Config, folder / "clips_content_lora.toml")
    assert content == content_config(whole, "content")
