"""Weights that change nothing: the pipelines must give the latents of diffusers' own pipelines."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.pipelines.layerdiffuse import LayerDiffusePipeline, LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.codec import PlaneCodec
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas
from multiplane.pipelines.layerdiffuse.settings import NEGATIVE_PROMPT
from small_diffusion import controlnet, image_encoder, ip_adapter, sd15, sdxl
from small_layerdiffuse import generator, picture, quiet, transparency, xl_offsets

KARRAS = {"use_karras_sigmas": True}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", KARRAS),
    "dpm++ 2m sde karras": (
        "DPMSolverMultistepScheduler",
        {**KARRAS, "algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "ddim eta, v-prediction": ("DDIMScheduler", {"prediction_type": "v_prediction"}),
}
SD15_ONLY = {"requires_safety_checker": False}


@pytest.fixture(scope="module")
def one() -> LayerDiffusePipeline:
    pipeline = quiet(LayerDiffusePipeline(**sd15(), **transparency()))
    pipeline.load_mode("transparent", AttentionSharing.for_unet(pipeline.unet, 1, rank=2))
    return pipeline


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> LayerDiffuseXLPipeline:
    pipeline = quiet(LayerDiffuseXLPipeline(**sdxl(), **transparency()))
    path = tmp_path_factory.mktemp("weights") / "nothing.safetensors"
    save_file(xl_offsets(pipeline.unet, 4, seed=0, scale=0.0), path)
    pipeline.load_mode("transparent", path)
    return pipeline


def theirs(pipeline: Any, kind: str, **more: Any) -> Any:
    """diffusers' pipeline of that name on the same components."""
    parts = {name: part for name, part in pipeline.components.items() if "transparency" not in name}
    parts.update(more)
    if parts.get("controlnet") is None:
        parts.pop("controlnet", None)
    own = SD15_ONLY if "text_encoder_2" not in parts else {"add_watermarker": False}
    return quiet(getattr(diffusers, kind)(**parts, **own))


def latents_of(pipeline: Any, **call: Any) -> torch.Tensor:
    arguments = {
        "prompt": "a red cat",
        "negative_prompt": NEGATIVE_PROMPT,
        "num_inference_steps": 3,
        "guidance_scale": 5.0,
        "generator": generator(7),
        "output_type": "latent",
        **call,
    }
    return pipeline(**arguments)[0]


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float(expected.std()) > 0.1  # not nothing against nothing
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_sd15_with_every_scheduler(one: LayerDiffusePipeline, name: str) -> None:
    kind, options = SCHEDULERS[name]
    before = one.scheduler
    eta = {"eta": 0.5} if "eta" in name else {}
    try:
        one.scheduler = getattr(diffusers, kind).from_config(before.config, **options)
        found = latents_of(one, height=64, width=128, **eta)
        plain = theirs(one, "StableDiffusionPipeline")
        assert_same(found, latents_of(plain, height=64, width=128, **eta))
    finally:
        one.scheduler = before


@pytest.mark.parametrize("name", ["ddim", "euler a", "unipc"])
def test_sdxl_is_bit_equal(xl: LayerDiffuseXLPipeline, name: str) -> None:
    kind, options = SCHEDULERS[name]
    before = xl.scheduler
    try:
        xl.scheduler = getattr(diffusers, kind).from_config(before.config, **options)
        found = latents_of(xl, guidance_rescale=0.6)
        plain = theirs(xl, "StableDiffusionXLPipeline")
        assert torch.equal(found, latents_of(plain, guidance_rescale=0.6))
    finally:
        xl.scheduler = before


def test_sdxl_reads_every_argument_of_its_text(xl: LayerDiffuseXLPipeline) -> None:
    call = {
        "prompt_2": "in oil",
        "negative_prompt_2": "blurred",
        "original_size": (512, 640),
        "crops_coords_top_left": (8, 0),
        "target_size": (64, 64),
        "negative_original_size": (32, 32),
        "negative_crops_coords_top_left": (4, 4),
        "negative_target_size": (64, 64),
        "clip_skip": 1,
    }
    plain = theirs(xl, "StableDiffusionXLPipeline")
    assert torch.equal(latents_of(xl, **call), latents_of(plain, **call))
    assert not torch.equal(latents_of(xl), latents_of(plain, **call))


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_prompts_as_states(xl: LayerDiffuseXLPipeline, guidance: float) -> None:
    states = xl.encode_prompt("a red cat", negative_prompt=NEGATIVE_PROMPT)
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds")
    call = dict(zip((*names, "negative_pooled_prompt_embeds"), states, strict=True))
    found = latents_of(xl, prompt=None, negative_prompt=None, guidance_scale=guidance, **call)
    assert torch.equal(found, latents_of(xl, guidance_scale=guidance))


def test_several_pictures_a_prompt(one: LayerDiffusePipeline) -> None:
    call = {
        "prompt": ["a cat", "a dog"],
        "negative_prompt": ["bad", "ugly"],
        "num_images_per_prompt": 2,
        "generator": [generator(seed) for seed in range(4)],
        "num_inference_steps": 2,
    }
    found = latents_of(one, **call)
    call["generator"] = [generator(seed) for seed in range(4)]
    assert_same(found, latents_of(theirs(one, "StableDiffusionPipeline"), **call))


def test_controlnet_beside_sd15(one: LayerDiffusePipeline) -> None:
    one.controlnet = controlnet(one.unet)
    image = picture(64, 64, 3)
    call = {
        "controlnet_conditioning_scale": 0.7,
        "control_guidance_start": 0.3,
        "num_inference_steps": 4,
    }
    try:
        found = latents_of(one, control_image=image, **call)
        plain = theirs(one, "StableDiffusionControlNetPipeline")
    finally:
        one.controlnet = None
    assert_same(found, latents_of(plain, image=image, **call))
    assert not torch.allclose(found, latents_of(one, num_inference_steps=4), atol=1e-2)


def test_two_controlnets_beside_sdxl(xl: LayerDiffuseXLPipeline) -> None:
    nets = [controlnet(xl.unet, 5), controlnet(xl.unet, 6)]
    images = [picture(64, 64, 3, seed=1), picture(64, 64, 3, seed=2)]
    call = {
        "controlnet_conditioning_scale": [0.5, 1.0],
        "control_guidance_end": [1.0, 0.5],
        "num_inference_steps": 4,
    }
    xl.controlnet = diffusers.MultiControlNetModel(nets)
    try:
        found = latents_of(xl, control_image=images, **call)
    finally:
        xl.controlnet = None
    plain = theirs(xl, "StableDiffusionXLControlNetPipeline", controlnet=nets)
    assert_same(found, latents_of(plain, image=images, height=64, width=64, **call))


def test_a_lora_beside_each(one: LayerDiffusePipeline, xl: LayerDiffuseXLPipeline) -> None:
    for pipeline, kind in ((one, "StableDiffusionPipeline"), (xl, "StableDiffusionXLPipeline")):
        without = latents_of(pipeline)
        pipeline.load_lora_weights(lora(pipeline.unet))
        try:
            found = latents_of(pipeline)
            assert_same(found, latents_of(theirs(pipeline, kind)))
            assert not torch.allclose(found, without, atol=1e-2)
            pipeline.fuse_lora()
            assert_same(latents_of(pipeline), found)
            pipeline.unfuse_lora()
        finally:
            pipeline.unload_lora_weights()
        assert_same(latents_of(pipeline), without)


def test_an_ip_adapter_beside_each(one: LayerDiffusePipeline, xl: LayerDiffuseXLPipeline) -> None:
    embeds = torch.randn(2, 1, 32, generator=generator(3))  # without, with
    for pipeline, kind in ((one, "StableDiffusionPipeline"), (xl, "StableDiffusionXLPipeline")):
        without = latents_of(pipeline)
        pipeline.register_modules(image_encoder=image_encoder())
        pipeline.unet._load_ip_adapter_weights([ip_adapter(pipeline.unet)])
        pipeline.set_ip_adapter_scale(0.8)
        try:
            found = latents_of(pipeline, ip_adapter_image_embeds=[embeds])
            plain = theirs(pipeline, kind)
            assert_same(found, latents_of(plain, ip_adapter_image_embeds=[embeds]))
            assert not torch.allclose(found, without, atol=1e-2)
        finally:
            pipeline.unload_ip_adapter()
        assert_same(latents_of(pipeline), without)


@pytest.mark.parametrize("strength", [0.3, 0.7])
def test_image_to_image(one: LayerDiffusePipeline, strength: float) -> None:
    rgba = picture(64, 64)
    start = PlaneCodec(one, PaddedCanvas.of(64, 64)).encode("foreground", rgba)
    found = latents_of(one, image=rgba, strength=strength, num_inference_steps=10)
    plain = theirs(one, "StableDiffusionImg2ImgPipeline")
    expected = latents_of(plain, image=start, strength=strength, num_inference_steps=10)
    assert_same(found, expected)


def test_the_callback_can_change_what_follows(one: LayerDiffusePipeline) -> None:
    seen: list[int] = []

    def still(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        assert set(tensors) == {"latents", "prompt_embeds"}
        return {"latents": tensors["latents"] * 0}

    call = {
        "callback_on_step_end": still,
        "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"],
    }
    assert float(latents_of(one, **call).abs().max()) == 0.0
    assert seen == [0, 1, 2]
    plain = theirs(one, "StableDiffusionPipeline")
    edit = {"callback_on_step_end": empty_prompt}
    edit["callback_on_step_end_tensor_inputs"] = ["prompt_embeds"]
    halves = {"callback_on_step_end": empty_prompt_of_both}
    halves["callback_on_step_end_tensor_inputs"] = ["prompt_embeds"]
    assert_same(latents_of(one, **edit), latents_of(plain, **halves))


def empty_prompt(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    return {"prompt_embeds": tensors["prompt_embeds"] * 0}


def empty_prompt_of_both(
    pipeline: Any, step: int, time: Any, tensors: dict[str, Any]
) -> dict[str, Any]:
    """diffusers hands over both halves in one tensor."""
    without, with_text = tensors["prompt_embeds"].chunk(2)
    return {"prompt_embeds": torch.cat([without, with_text * 0])}


def test_an_interrupted_run_stops(one: LayerDiffusePipeline) -> None:
    steps: list[int] = []

    def stop(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipeline._interrupt = True
        return {}

    latents_of(one, num_inference_steps=5, callback_on_step_end=stop)
    assert steps == [0]


def lora(unet: Any, rank: int = 2, seed: int = 4) -> dict[str, torch.Tensor]:
    """A LoRA in diffusers' layout on every attention's query and output."""
    draw = generator(seed)
    state = {}
    for name, module in unet.named_modules():
        if name.endswith((".to_q", ".to_out.0")):
            wide, narrow = module.weight.shape
            state[f"unet.{name}.lora_A.weight"] = torch.randn(rank, narrow, generator=draw) * 0.5
            state[f"unet.{name}.lora_B.weight"] = torch.randn(wide, rank, generator=draw) * 0.5
    return state
