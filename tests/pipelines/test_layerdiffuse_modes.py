"""Every mode end to end on small models, against loops written out by hand."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from multiplane.models.attention_sharing import SharingConditions
from multiplane.pipelines.layerdiffuse import (
    SD15_WORKFLOWS,
    SDXL_WORKFLOWS,
    LayerDiffusePipeline,
    LayerDiffuseXLPipeline,
)
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from small_diffusion import controlnet
from small_layerdiffuse import (
    QUICK,
    XL_CHANNELS,
    generator,
    picture,
    small_sd15_pipeline,
    small_sdxl_pipeline,
    xl_offsets,
)

WORKFLOWS = [("sd15", name) for name in SD15_WORKFLOWS] + [
    ("sdxl", name) for name in SDXL_WORKFLOWS
]
PROMPTS = {"foreground": "a cat", "background": "a garden", "composite": "a cat in a garden"}
NEGATIVE = "bad, ugly"


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LayeredPipeline]:
    return {
        "sd15": small_sd15_pipeline(),
        "sdxl": small_sdxl_pipeline(tmp_path_factory.mktemp("weights")),
    }


def given_of(pipeline: LayeredPipeline, mode: str, width: int, height: int, count: int = 1) -> Any:
    return {
        name: picture(width, height, 4 if name == "foreground" else 3, seed=9, count=count)
        for name in pipeline.workflows[mode].conditions
    }


def call(pipeline: LayeredPipeline, mode: str, planes: Any, **more: Any) -> Any:
    arguments = {
        "num_inference_steps": 2,
        "guidance_scale": 4.0,
        "generator": generator(1),
        "output_type": "uint8",
        "decode": QUICK,
        "plane_prompts": PROMPTS,
        **more,
    }
    return pipeline(None, mode, planes, **arguments)


@pytest.mark.parametrize(("base", "mode"), WORKFLOWS)
def test_every_mode_at_an_odd_size(
    pipelines: dict[str, LayeredPipeline], base: str, mode: str
) -> None:
    pipeline = pipelines[base]
    weights = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    planes = given_of(pipeline, mode, 70, 45)
    first = call(pipeline, mode, planes, width=70, height=45)
    again = call(pipeline, mode, planes, width=70, height=45)
    assert tuple(first.planes) == pipeline.workflows[mode].streams
    for name, made in first.planes.items():
        assert made.shape == (1, 45, 70, 4)
        assert made.dtype == np.uint8
        assert made[..., :3].std() > 2
        assert np.array_equal(made, again.planes[name])
        if name == "foreground":
            assert np.unique(made[..., 3]).size > 0
            assert first.flat[name].shape == (1, 45, 70, 4)
            assert len(first.grey_checks[name]) == 1
        else:
            assert (made[..., 3] == 255).all()
            assert name not in first.flat
    # The base is left exactly as it was.
    after = pipeline.unet.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert pipeline.unet.config.in_channels == 4


@pytest.mark.parametrize(
    ("base", "mode"), [("sd15", "joint"), ("sd15", "fg2bg"), ("sdxl", "bg2fg")]
)
def test_a_batch_is_its_pictures_one_by_one(
    pipelines: dict[str, LayeredPipeline], base: str, mode: str
) -> None:
    pipeline = pipelines[base]
    planes = given_of(pipeline, mode, 64, 64, count=2)
    prompts = ["a cat", "a dog"]
    both = call(
        *(pipeline, mode, planes),
        plane_prompts={"composite": prompts},
        generator=[generator(1), generator(2)],
        output_type="pt",
    )
    for index, prompt in enumerate(prompts):
        alone = call(
            *(pipeline, mode, {name: one[index : index + 1] for name, one in planes.items()}),
            plane_prompts={"composite": prompt},
            generator=generator(1 + index),
            output_type="pt",
        )
        for name, made in alone.planes.items():
            assert float((both.planes[name][index] - made[0]).abs().max()) < 1e-4


@pytest.mark.parametrize(("base", "mode"), [("sd15", "bg2fg"), ("sdxl", "fgblend2bg")])
def test_sequential_guidance_gives_the_same(
    pipelines: dict[str, LayeredPipeline], base: str, mode: str
) -> None:
    pipeline = pipelines[base]
    pipeline.controlnet = controlnet(pipeline.unet)
    planes = given_of(pipeline, mode, 64, 64)
    more = {"output_type": "latent", "control_image": picture(64, 64, 3)}
    try:
        together = call(pipeline, mode, planes, **more)
        alone = call(pipeline, mode, planes, sequential_guidance=True, **more)
        without = call(pipeline, mode, planes, output_type="latent")
    finally:
        pipeline.controlnet = None
    for name, one in together.planes.items():
        torch.testing.assert_close(alone.planes[name], one, rtol=1e-4, atol=1e-4)
    main = next(iter(together.planes))
    assert not torch.allclose(together.planes[main], without.planes[main], atol=1e-2)


def test_a_control_picture_steers_its_own_plane(pipelines: dict[str, LayeredPipeline]) -> None:
    """With streams that do not look at each other, the others stay as they are."""
    pipeline = pipelines["sd15"]
    units = pipeline.mode_weights["joint"].sharing  # pyright: ignore
    kept = {}
    for index, unit in enumerate(units.units()):
        for name in ("temporal_o.weight", "temporal_o.bias"):
            kept[index, name] = unit.get_parameter(name).clone()
            unit.get_parameter(name).zero_()
    pipeline.controlnet = controlnet(pipeline.unet)
    try:
        plain = call(pipeline, "joint", {}, output_type="latent").planes
        more = {"control_image": {"background": picture(64, 64, 3)}}
        steered = call(pipeline, "joint", {}, output_type="latent", **more).planes
    finally:
        pipeline.controlnet = None
        for (index, name), value in kept.items():
            units.units()[index].get_parameter(name).copy_(value)
    assert not torch.allclose(plain["background"], steered["background"], atol=1e-2)
    for name in ("foreground", "composite"):
        torch.testing.assert_close(plain[name], steered[name], rtol=1e-4, atol=1e-4)


def sd15_loop(
    pipeline: LayerDiffusePipeline,
    streams: tuple[str, ...],
    signals: Any,
    mode: str,
    sharing_steps: int,
) -> Tensor:
    """The published way: one context for all, each stream's own text written over it on the
    conditional half. After `sharing_steps`, the plain UNet."""
    scheduler, frames = pipeline.scheduler, len(streams)
    scheduler.set_timesteps(3)
    draw = generator(1)
    latents = torch.cat([torch.randn(1, 4, 8, 8, generator=draw) for _ in range(frames)])
    positive, negative = pipeline.encode_prompt("scene", "cpu", frames, True, NEGATIVE)
    own = tuple(pipeline.encode_prompt(PROMPTS[name], "cpu", 1, False)[0] for name in streams)
    text = torch.cat([negative, positive])
    told = SharingConditions(torch.tensor([1.0] * frames + [0.0] * frames), own, signals)
    sharing = pipeline.mode_weights[mode].sharing  # pyright: ignore
    for index, time in enumerate(scheduler.timesteps):
        seen = torch.cat([latents, latents])
        if index < sharing_steps:
            with sharing.on(pipeline.unet, told):
                noise = pipeline.unet(seen, time, text).sample
        else:
            plain = torch.cat([negative, *own])
            noise = pipeline.unet(seen, time, plain).sample
        without, with_text = noise.chunk(2)
        guided = without + 4.0 * (with_text - without)
        latents = scheduler.step(guided, time, latents).prev_sample
    return latents


# Times are 667, 334 and 1: half of the schedule ends at 499.5.
@pytest.mark.parametrize(
    ("mode", "stop_at", "sharing_steps"), [("joint", 1.0, 3), ("bg2fg", 0.5, 1), ("joint", 0.0, 0)]
)
@torch.no_grad()
def test_sd15_is_the_published_loop(
    pipelines: dict[str, LayeredPipeline], mode: str, stop_at: float, sharing_steps: int
) -> None:
    pipeline = pipelines["sd15"]
    assert isinstance(pipeline, LayerDiffusePipeline)
    streams = pipeline.workflows[mode].streams
    planes, signals = given_of(pipeline, mode, 64, 64), {}
    if planes:
        sharing = pipeline.mode_weights[mode].sharing  # pyright: ignore
        signals = sharing.encode_condition(planes["background"] * 2 - 1)
    more = {"num_inference_steps": 3, "stop_at": stop_at, "output_type": "latent"}
    made = call(pipeline, mode, planes, negative_prompt=NEGATIVE, **more).planes
    expected = sd15_loop(pipeline, streams, signals, mode, sharing_steps)
    for index, name in enumerate(streams):
        torch.testing.assert_close(made[name][0], expected[index], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["fg2blend", "fgblend2bg", "bgblend2fg"])
@torch.no_grad()
def test_sdxl_is_weights_added_by_hand(pipelines: dict[str, LayeredPipeline], mode: str) -> None:
    pipeline = pipelines["sdxl"]
    assert isinstance(pipeline, LayerDiffuseXLPipeline)
    names = pipeline.workflows[mode].conditions
    planes = given_of(pipeline, mode, 64, 64)
    concat = []
    for name in names:
        rgb, alpha = planes[name][:, :3], planes[name][:, 3:]
        if alpha.shape[1]:
            rgb = (rgb - 0.5) * alpha + 0.5
        latent = pipeline.vae.encode(rgb * 2 - 1).latent_dist.mean
        concat.append(latent * pipeline.vae.config.scaling_factor)
    unet = by_hand(pipeline, mode)
    scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(4)
    latents = torch.randn(1, 4, 8, 8, generator=generator(1))
    (stream,) = pipeline.workflows[mode].streams
    positive, negative, pooled, unpooled = pipeline.encode_prompt(
        PROMPTS[stream], negative_prompt=NEGATIVE
    )
    ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).repeat(2, 1)
    more = {"text_embeds": torch.cat([unpooled, pooled]), "time_ids": ids}
    for time in scheduler.timesteps:
        late = mode == "fgblend2bg" and time < 0.5 * 999
        seen = torch.cat([latents, latents])
        if not late:
            seen = torch.cat([seen, torch.cat(concat, 1).repeat(2, 1, 1, 1)], 1)
        net = pipeline.unet if late else unet
        noise = net(seen, time, torch.cat([negative, positive]), added_cond_kwargs=more).sample
        without, with_text = noise.chunk(2)
        latents = scheduler.step(without + 4 * (with_text - without), time, latents).prev_sample
    before = pipeline.scheduler
    try:
        pipeline.scheduler = scheduler
        options = {"num_inference_steps": 4, "output_type": "latent"}
        made = call(pipeline, mode, planes, negative_prompt=NEGATIVE, **options)
    finally:
        pipeline.scheduler = before
    torch.testing.assert_close(made.planes[stream], latents, rtol=1e-4, atol=1e-4)


def by_hand(pipeline: LayerDiffuseXLPipeline, mode: str) -> Any:
    """Another UNet with more input channels, its weights written in."""
    channels = XL_CHANNELS[mode]
    offsets = xl_offsets(pipeline.unet, channels, seed=20 + list(XL_CHANNELS).index(mode))
    config = {n: v for n, v in pipeline.unet.config.items() if n != "_use_default_values"}
    unet = diffusers.UNet2DConditionModel.from_config({**config, "in_channels": channels}).eval()
    state = {}
    for name, value in pipeline.unet.state_dict().items():
        if name == "conv_in.weight":
            value = F.pad(value, (0, 0, 0, 0, 0, channels - 4))
        state[name] = value + offsets[name] if name in offsets else value
    unet.load_state_dict(state)
    return unet


def test_two_steps_in_one_call_are_the_steps_alone(pipelines: dict[str, LayeredPipeline]) -> None:
    pipeline = pipelines["sdxl"]
    planes = given_of(pipeline, "bg2fg", 64, 64)
    euler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    own = generator(1)
    whole = call(pipeline, "bg2fg", planes, generator=own, output_type="pt")
    own = generator(1)
    first = call(pipeline, "bg2blend", planes, generator=own, output_type="pt")
    assert torch.equal(first.planes["composite"], whole.planes["composite"])
    before = pipeline.scheduler
    try:
        pipeline.scheduler = euler
        both = {**planes, **first.planes}
        second = call(pipeline, "bgblend2fg", both, generator=own, output_type="pt")
    finally:
        pipeline.scheduler = before
    assert torch.equal(second.images, whole.images)
    chosen = call(*(pipeline, "bg2fg", planes), second_scheduler=before, generator=generator(1))
    assert not np.array_equal(chosen.images[..., :3], (whole.images.permute(0, 2, 3, 1)[..., :3]))


def test_only_what_is_asked_changes_a_plane(pipelines: dict[str, LayeredPipeline]) -> None:
    """Each stream is told its own prompt: joined with the global one when asked."""
    pipeline = pipelines["sd15"]
    alone = call(pipeline, "joint", {}, output_type="latent")
    same = pipeline(
        "scene",
        "joint",
        plane_prompts=PROMPTS,
        join_prompts=True,
        num_inference_steps=2,
        guidance_scale=4.0,
        generator=generator(1),
        output_type="latent",
    )
    together = {name: f"{text}, scene" for name, text in PROMPTS.items()}
    written = call(pipeline, "joint", {}, output_type="latent", plane_prompts=together)
    for name in PROMPTS:
        assert torch.equal(written.planes[name], same.planes[name])
        assert not torch.equal(alone.planes[name], same.planes[name])


def test_prompts_of_other_lengths_share_a_batch(pipelines: dict[str, LayeredPipeline]) -> None:
    """States of two chunks for the scene, one chunk for the foreground: the shorter goes on with
    the empty prompt's."""
    pipeline = pipelines["sd15"]
    assert isinstance(pipeline, LayerDiffusePipeline)
    text, empty = (pipeline.encode_prompt(t, "cpu", 1, False)[0] for t in ("a long scene", ""))
    own = pipeline.encode_prompt("a cat", "cpu", 1, False)[0]
    long = torch.cat([text, empty], dim=1)
    common = {"output_type": "latent", "negative_prompt": None, "prompt_embeds": long}
    common["negative_prompt_embeds"] = torch.cat([empty, empty], dim=1)
    found = call(pipeline, "joint", {}, plane_prompts={"foreground": "a cat"}, **common)
    latents = found.planes
    sharing = pipeline.mode_weights["joint"].sharing  # pyright: ignore
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(2)
    draw = generator(1)
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=draw) for _ in range(3)])
    rows = [common["negative_prompt_embeds"]] * 3 + [torch.cat([own, empty], 1), long, long]
    with torch.no_grad(), sharing.on(pipeline.unet):
        for time in scheduler.timesteps:
            noise = pipeline.unet(torch.cat([x, x]), time, torch.cat(rows)).sample
            without, with_text = noise.chunk(2)
            x = scheduler.step(without + 4 * (with_text - without), time, x).prev_sample
    for index, name in enumerate(("foreground", "background", "composite")):
        torch.testing.assert_close(latents[name][0], x[index], rtol=1e-4, atol=1e-4)


def test_output_types_are_one_picture(pipelines: dict[str, LayeredPipeline]) -> None:
    made = {
        kind: call(pipelines["sdxl"], "transparent", {}, output_type=kind).images
        for kind in ("pil", "uint8", "np", "pt")
    }
    assert made["pil"][0].mode == "RGBA"
    assert np.array_equal(np.asarray(made["pil"][0]), made["uint8"][0])
    assert np.array_equal(made["np"][0], made["pt"][0].permute(1, 2, 0).numpy())
    assert np.array_equal(made["uint8"], np.floor(made["np"] * 255 + 0.5).astype(np.uint8))
    (images,) = call(pipelines["sdxl"], "transparent", {}, return_dict=False)
    assert np.array_equal(images, made["uint8"])
