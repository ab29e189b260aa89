"""LayerDiffuse's two-step conditional models, trained on a small SDXL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor

from multiplane.core.config import read_config
from multiplane.models.weights_io import read_tensors
from multiplane.pipelines.layerdiffuse import LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.modes import modes_of
from multiplane.recipes import layerdiffuse_conditions
from multiplane.recipes.layerdiffuse_conditions import Config, conditional, conditioned
from multiplane.recipes.layerdiffuse_sd import BaseText, load_base
from multiplane.training import checkpoint
from multiplane.training.diffusion_loss import training_schedule
from multiplane.training.inside_unet import TrainedPart, widen_input
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_latents import LayerLesson, shown_latents
from multiplane.training.layer_scenes import load_scenes
from multiplane.weights.layerdiffuse.deltas import IN_CONTENT, UNetDeltas
from multiplane.weights.layerdiffuse.files import LoadedWeights, recognise
from multiplane.weights.layerdiffuse.merging import check_fit
from multiplane.weights.layerdiffuse.published import PUBLISHED
from small_layer_world import write_config, write_layer_world
from small_layerdiffuse import QUICK, picture

CPU = torch.device("cpu")
CONFIGS = Path(layerdiffuse_conditions.__file__).parent / "configs"
RELEASED = {"fg2blend": "fg2ble", "bg2blend": "bg2ble"}
RELEASED |= {"fgblend2bg": "fgble2bg", "bgblend2fg": "bgble2fg"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layer_world(tmp_path_factory.mktemp("world"), "sdxl")


def trained(world: Path, mode: str, name: str = "", **changes: Any) -> Path:
    name = name or mode
    layerdiffuse_conditions.main(write_config(world, "sdxl", name, mode, **changes))
    return world / name


@pytest.fixture(scope="module")
def blend(world: Path) -> Path:
    return trained(world, "fg2blend", previews=2)


def latents_of(world: Path, mode: str, source: Path | None, planes: Any) -> dict[str, Tensor]:
    """What the pipeline makes with a mode's file; without one, with a file that only widens."""
    pipeline: Any = LayerDiffuseXLPipeline.from_pretrained(world / "sdxl")
    pipeline.set_progress_bar_config(disable=True)
    before = {key: value.clone() for key, value in pipeline.unet.state_dict().items()}
    if source is None:
        from safetensors.torch import save_file

        source = world / "nothing" / f"{mode}.safetensors"
        source.parent.mkdir(exist_ok=True)
        channels = 4 * (1 + len(modes_of(pipeline.workflows)[mode].conditions))
        zeros = torch.zeros(pipeline.unet.conv_in.out_channels, channels, 3, 3)
        save_file({"diffusion_model.input_blocks.0.0.weight::diff::0": zeros}, source)
    pipeline.load_mode(mode, source)
    made = pipeline(
        "a ball",
        mode,
        planes,
        height=64,
        width=64,
        num_inference_steps=1,
        stop_at=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        decode=QUICK,
    )
    after = pipeline.unet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    return made.planes


@pytest.mark.parametrize("mode", ["fg2blend", "bgblend2fg"])
def test_a_file_goes_round_through_the_pipeline(world: Path, blend: Path, mode: str) -> None:
    out = blend if mode == "fg2blend" else trained(world, mode)
    row = modes_of(LayerDiffuseXLPipeline.workflows)[mode]
    channels = {"foreground": 4, "background": 3, "composite": 3}
    planes = {name: picture(64, 64, channels[name]) for name in row.conditions}
    loaded = latents_of(world, mode, out, planes)
    without = latents_of(world, mode, None, planes)
    others = {name: picture(64, 64, channels[name], seed=3) for name in row.conditions}
    assert tuple(loaded) == row.streams
    for name in row.streams:
        assert float((loaded[name] - without[name]).abs().mean()) > 1e-4
        assert not torch.equal(loaded[name], latents_of(world, mode, out, others)[name])


@pytest.mark.parametrize("mode", ["fg2blend", "bgblend2fg"])
def test_the_file_is_what_the_averaged_weights_add(world: Path, blend: Path, mode: str) -> None:
    out = blend if mode == "fg2blend" else world / mode
    if not out.exists():
        trained(world, mode)
    tensors = read_tensors(out / f"{mode}.safetensors")
    assert all(key.startswith("diffusion_model.") and key.endswith("::diff::0") for key in tensors)
    published = PUBLISHED[f"layer_xl_{RELEASED[mode]}"]
    found = recognise(tensors, out, published)
    assert isinstance(found, UNetDeltas)
    unet = UNet2DConditionModel.from_pretrained(world / "sdxl" / "unet")
    report = check_fit(unet, LoadedWeights(out, published, found))
    assert report.complete  # every tensor of the released set, and no other
    assert report.merged == len(tensors)
    base = unet.state_dict()
    averaged = checkpoint.load(out / "step-0000002")["ema"]
    assert {name.replace("/", ".") for name in averaged} == set(found.deltas)
    for name, delta in found.deltas.items():
        was, change = base[name], delta.full(CPU)
        if was.ndim == 4:  # the first convolution's new channels start as zeros
            was = F.pad(was, (0, 0, 0, 0, 0, change.shape[1] - was.shape[1]))
        now = averaged[name.replace(".", "/")]
        assert torch.allclose(was + change, now, atol=2e-5, rtol=1e-3), name
        assert bool(change.any()), name
    row = modes_of(LayerDiffuseXLPipeline.workflows)[mode]
    assert found.input_channels == 4 * (1 + len(row.conditions))


def test_previews_show_what_is_given_and_made(blend: Path) -> None:
    assert Image.open(blend / "sheet-000002.png").size == (2 * 64, 4 * 64)


def test_it_resumes_exactly(world: Path, blend: Path) -> None:
    for steps in (1, 2):
        parts = trained(world, "fg2blend", "parts", steps=steps)
    one, other = (read_tensors(out / "fg2blend.safetensors") for out in (blend, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    whole, halves = (checkpoint.load(out / "step-0000002")["model"] for out in (blend, parts))
    assert all(torch.equal(whole[key], halves[key]) for key in whole)


def lesson_of(world: Path, mode: str) -> tuple[Any, LayerLesson, Any, TrainedPart, Config]:
    config = read_config(Config, write_config(world, "sdxl", "lesson", mode))
    base = load_base(str(world / "sdxl"))
    transparent = LatentTransparency.trained(world / "transparency", base.vae)
    lesson = LayerLesson(config.layers, transparent, BaseText(base, 64), training_schedule())
    source = load_scenes(config.scenes, "train", CPU)
    batch = lesson.draw(source, 2, torch.Generator().manual_seed(0))
    return base, lesson, batch, conditional(base.unet, config), config


def losses(base: Any, lesson: LayerLesson, model: TrainedPart, batch: Any) -> Tensor:
    network = conditioned(model, batch, base.vae)
    return lesson.losses(network, batch, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("fg2blend", ("foreground",)),
        ("bg2blend", ("background",)),
        ("fgblend2bg", ("foreground", "composite")),
        ("bgblend2fg", ("background", "composite")),
    ],
)
def test_only_the_part_trains_and_sees_what_is_given_in_order(
    world: Path, mode: str, given: tuple[str, ...]
) -> None:
    base, lesson, batch, model, config = lesson_of(world, mode)
    losses(base, lesson, model, batch).mean().backward()
    belongs = IN_CONTENT["body" if mode == "bgblend2fg" else "convolutions"]
    for name, parameter in base.unet.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == belongs(name), name
    scenes = load_scenes(config.scenes, "train", CPU).draw(2, torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def network(noisy: Tensor, times: Tensor, **arguments: Any) -> Any:
        seen.append(noisy)
        return model(noisy, times, **arguments)

    lesson.losses(
        conditioned(network, batch, base.vae),  # pyright: ignore
        batch,
        torch.Generator().manual_seed(1),
    )
    assert seen[0].shape == (2, 4 * (1 + len(given)), 8, 8)
    for index, name in enumerate(given):
        # Clean latents of the plane over mid grey, as the pipeline encodes a condition.
        channels = seen[0][:, 4 * (index + 1) : 4 * (index + 2)]
        assert torch.equal(channels, shown_latents(base.vae, scenes.planes[name]))
    made = config.layers.streams[0]
    if made == "foreground":
        assert torch.equal(batch.latents, lesson.transparent.encode(scenes.planes[made]))
    else:
        assert torch.equal(batch.latents, shown_latents(base.vae, scenes.planes[made]))


def test_a_condition_is_encoded_as_when_the_model_is_used(world: Path) -> None:
    from multiplane.models.planes import premultiply
    from multiplane.models.transparent_vae import TransparentVAE
    from multiplane.pipelines.layerdiffuse.codec import encode_flat
    from multiplane.pipelines.layerdiffuse.pictures import shown_to_model

    base = load_base(str(world / "sdxl"))
    plane = picture(64, 64)
    used = encode_flat(TransparentVAE(base.vae), shown_to_model(plane, (64, 64)))
    assert torch.allclose(shown_latents(base.vae, premultiply(plane)), used, atol=1e-5)


def test_the_loss_falls_and_the_rest_stays(world: Path) -> None:
    base, lesson, batch, model, _ = lesson_of(world, "fg2blend")
    before = {key: value.clone() for key, value in base.unet.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = float(losses(base, lesson, model, batch).detach().mean())
    for _ in range(12):
        optimizer.zero_grad()
        losses(base, lesson, model, batch).mean().backward()
        optimizer.step()
    assert float(losses(base, lesson, model, batch).detach().mean()) < 0.9 * first
    for key, value in base.unet.state_dict().items():
        assert torch.equal(value, before[key]) != IN_CONTENT["convolutions"](key), key


def test_a_wider_input_changes_nothing_at_first() -> None:
    from small_diffusion import small_sdxl_unet

    unet = small_sdxl_unet()
    draw = torch.Generator().manual_seed(0)
    noisy, given = torch.randn(2, 1, 4, 8, 8, generator=draw).unbind()
    states = torch.randn(1, 5, 20, generator=draw)
    added = {"text_embeds": torch.zeros(1, 8), "time_ids": torch.zeros(1, 6)}
    plain = unet(noisy, 10, states, added_cond_kwargs=added).sample
    widen_input(unet, 8)
    assert unet.config["in_channels"] == unet.conv_in.in_channels == 8
    wide = unet(torch.cat([noisy, given], dim=1), 10, states, added_cond_kwargs=added).sample
    assert torch.allclose(wide, plain, atol=1e-6)
    with pytest.raises(ValueError, match="takes 8 channels, the mode 4: give the plain base"):
        widen_input(unet, 4)


@pytest.mark.parametrize("mode", list(RELEASED))
def test_the_reference_configuration_is_of_the_published_size(mode: str, tmp_path: Path) -> None:
    """Every number of the file, counted on an SDXL UNet without memory."""
    path = CONFIGS / "layerdiffuse_sdxl_conditions.toml"
    text = path.read_text(encoding="utf-8").replace('"fg2blend"', f'"{mode}"')
    assert "16 over all" in text
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    config = read_config(Config, tmp_path / path.name)
    assert (config.mode, config.run.other_rate, config.scenes.size) == (mode, 1e-5, 1024)
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=2048,
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        widen_input(unet, 4 * (1 + len(config.layers.conditions)))
    belongs = IN_CONTENT[config.trained]
    count = sum(each.numel() for name, each in unet.named_parameters() if belongs(name))
    assert count == PUBLISHED[f"layer_xl_{RELEASED[mode]}"].parameters


def test_another_base_is_refused(tmp_path: Path) -> None:
    write_layer_world(tmp_path, "sd15")
    with pytest.raises(ValueError, match="is no SDXL pipeline"):
        layerdiffuse_conditions.main(write_config(tmp_path, "sd15", "wrong", "fg2blend"))
