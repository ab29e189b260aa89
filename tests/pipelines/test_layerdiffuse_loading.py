"""Weights in and out: folders, single files, offloading, half precision; and what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from safetensors.torch import save_file
from torch import Tensor

from multiplane.models.latent_transparency import OffsetEncoder
from multiplane.models.precision import preferred_dtype
from multiplane.models.unet_keys import to_ldm
from multiplane.pipelines.layerdiffuse import LayerDiffusePipeline, LayerDiffuseXLPipeline
from multiplane.pipelines.layerdiffuse.mode_weights import MergedWeights
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from multiplane.pipelines.layerdiffuse.transparency_files import load_decoder, load_encoder
from small_diffusion import controlnet, sd15, sdxl
from small_layerdiffuse import (
    QUICK,
    generator,
    picture,
    quiet,
    sharing,
    small_sd15_pipeline,
    small_sdxl_pipeline,
    transparency,
    xl_offsets,
)


@pytest.fixture(scope="module")
def one() -> LayerDiffusePipeline:
    return small_sd15_pipeline(("transparent", "joint"))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> LayerDiffuseXLPipeline:
    return small_sdxl_pipeline(tmp_path_factory.mktemp("weights"))


def call(pipeline: LayeredPipeline, mode: str = "transparent", **more: Any) -> Any:
    arguments = {
        "prompt": "a cat",
        "num_inference_steps": 2,
        "guidance_scale": 4.0,
        "generator": generator(1),
        "output_type": "uint8",
        "decode": QUICK,
        **more,
    }
    return pipeline(mode=mode, **arguments)


def reloaded(pipeline: Any, folder: Path) -> Any:
    pipeline.save_pretrained(folder)
    again = quiet(type(pipeline).from_pretrained(folder))
    for part in again.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)  # as the small models are: a linear layer rounds by it
    return again


def test_sd15_is_the_same_after_saving(one: LayerDiffusePipeline, tmp_path: Path) -> None:
    one.register_modules(controlnet=controlnet(one.unet))
    try:
        again = reloaded(one, tmp_path)
    finally:
        net, _ = one.controlnet, one.register_modules(controlnet=None)
    for name, value in net.state_dict().items():
        assert torch.equal(again.controlnet.state_dict()[name], value)
    assert set(again.mode_weights) == set(one.mode_weights)
    # Image to image runs both transparency networks.
    more = {"image": picture(64, 64), "strength": 0.8}
    for mode, options in (("transparent", more), ("joint", {})):
        expected, found = call(one, mode, **options), call(again, mode, **options)
        for name, made in expected.planes.items():
            assert np.array_equal(found.planes[name], made)


def test_sdxl_is_the_same_after_saving(xl: LayerDiffuseXLPipeline, tmp_path: Path) -> None:
    weight = 0.5
    loaded = xl.mode_weights["transparent"]
    assert isinstance(loaded, MergedWeights)
    xl.load_mode("transparent", loaded.weights.path, weight=weight)
    try:
        again = reloaded(xl, tmp_path)
        more = {"image": picture(64, 64), "strength": 0.8}
        expected, found = call(xl, **more), call(again, **more)
        assert np.array_equal(found.images, expected.images)
        given = {"planes": {"foreground": picture(64, 64)}}
        expected, found = call(xl, "fg2bg", **given), call(again, "fg2bg", **given)
        assert np.array_equal(found.images, expected.images)
    finally:
        xl.load_mode("transparent", loaded.weights.path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["transparency_decoder"][1] == "TransparencyDecoder"
    assert index["controlnet"] == [None, None]
    # A plain diffusers pipeline reads the folder too: the base in it is untouched.
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )

    plain = StableDiffusionXLPipeline.from_pretrained(tmp_path)
    for name, value in xl.unet.state_dict().items():
        assert torch.equal(plain.unet.state_dict()[name], value)


def test_a_base_folder_loads_without_modes(tmp_path: Path) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    StableDiffusionPipeline(**sd15(), requires_safety_checker=False).save_pretrained(tmp_path)
    pipeline = quiet(LayerDiffusePipeline.from_pretrained(tmp_path, **transparency()))
    with pytest.raises(ValueError, match="loaded are none: call load_mode"):
        call(pipeline)
    pipeline.load_mode("transparent", sharing(pipeline.unet, 1, control=False))
    assert call(pipeline).images.shape == (1, 64, 64, 4)


def test_a_community_checkpoint_in_one_file(one: LayerDiffusePipeline, tmp_path: Path) -> None:
    small_sd15_pipeline(()).save_pretrained(tmp_path / "config")
    state = {}
    for name, value in one.unet.state_dict().items():
        key = to_ldm(name, (True, True, True, False))
        assert key is not None
        state[f"model.diffusion_model.{key}"] = value * 1.1  # not what the folder holds
    save_file(state, tmp_path / "community.safetensors")
    parts = sd15()
    own = {name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    pipeline = LayerDiffusePipeline.from_single_file(
        str(tmp_path / "community.safetensors"), config=str(tmp_path / "config"), **own
    )
    assert isinstance(pipeline, LayerDiffusePipeline)
    for name, value in one.unet.state_dict().items():
        assert torch.equal(pipeline.unet.state_dict()[name], value * 1.1)


def test_published_names_of_transparency_files(tmp_path: Path) -> None:
    networks = transparency()
    for part, network in networks.items():
        save_file(network.state_dict(), tmp_path / f"vae_{part}.safetensors")
    # As the files on the hub are called, whose table says how the encoder is used.
    web = tmp_path / "vae_transparent_encoder.safetensors"
    (tmp_path / "vae_transparency_encoder.safetensors").rename(web)
    encoder = load_encoder(web)
    assert encoder.config["offset_scale"] == 1.0
    assert encoder.config["vae_feed"] == "grey"
    assert load_encoder(web, "diffusers").config["offset_scale"] == 300.0
    decoder = load_decoder(tmp_path / "vae_transparency_decoder.safetensors")
    for network, loaded in zip(networks.values(), (encoder, decoder), strict=True):
        assert loaded.state_dict().keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
    rgb, latent = torch.rand(1, 3, 64, 64), torch.rand(1, 4, 8, 8)
    expected = networks["transparency_decoder"](rgb, latent)
    assert torch.equal(decoder(rgb, latent), expected)
    with pytest.raises(ValueError, match="no transparency decoder"):
        load_decoder(web)
    pipeline = LayerDiffusePipeline(**sd15())
    pipeline.load_transparency(encoder=web, decoder=decoder)
    assert pipeline.components["transparency_decoder"] is decoder
    with pytest.raises(ValueError, match="load_transparency"):
        pipeline.load_mode("transparent", web)


def test_a_trained_encoder_is_used_as_its_folder_says(tmp_path: Path) -> None:
    """The scale of the offset is in no tensor: a trained folder's own must win over the default."""
    own = OffsetEncoder((8, 8, 8, 8), offset_scale=100.0, channel_order="rgba")
    own.save_pretrained(tmp_path / "encoder")
    decoder: Any = transparency()["transparency_decoder"]
    decoder.save_pretrained(tmp_path / "decoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert (loaded.config["offset_scale"], loaded.config["channel_order"]) == (100.0, "rgba")
    assert load_encoder(tmp_path / "encoder", "webui").config["offset_scale"] == 1.0
    rgb, latent = torch.rand(1, 3, 64, 64), torch.rand(1, 4, 8, 8)
    assert torch.equal(load_decoder(tmp_path / "decoder")(rgb, latent), decoder(rgb, latent))
    pipeline = LayerDiffusePipeline(**sd15())
    pipeline.load_transparency(encoder=tmp_path / "encoder", convention="paper")
    assert pipeline.components["transparency_encoder"].config["channel_order"] == "argb"
    with pytest.raises(ValueError, match="one of diffusers, webui, flux, paper, got 'forge'"):
        pipeline.load_transparency(encoder=tmp_path / "encoder", convention="forge")


def test_a_file_for_sixteen_channels_is_used_as_the_flux_port_does(tmp_path: Path) -> None:
    flux = OffsetEncoder((8, 8, 8, 8), latent_channels=16)
    save_file(flux.state_dict(), tmp_path / "TransparentVAE_encoder.safetensors")
    loaded = load_encoder(tmp_path / "TransparentVAE_encoder.safetensors")
    assert (loaded.config["offset_scale"], loaded.config["channel_order"]) == (300.0, "rgba")


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_offloading_changes_nothing(
    one: LayerDiffusePipeline, xl: LayerDiffuseXLPipeline, base: str
) -> None:
    pipeline: LayeredPipeline = one if base == "sd15" else xl
    more = {"image": picture(64, 64), "strength": 0.8}
    expected = call(pipeline, **more).images
    pipeline.enable_model_cpu_offload(device="cpu")
    try:
        assert np.array_equal(call(pipeline, **more).images, expected)
        hooked = [name for name, part in pipeline.components.items() if hasattr(part, "_hf_hook")]
        assert {"unet", "vae", "transparency_encoder", "transparency_decoder"} <= set(hooked)
    finally:
        pipeline.remove_all_hooks()


def test_sequential_offloading_changes_nothing(tmp_path: Path) -> None:
    """Merged weights go into a UNet whose tensors wait elsewhere, and come off it half way."""
    given = {"planes": {"foreground": picture(64, 64)}, "num_inference_steps": 4}
    expected = call(small_sdxl_pipeline(tmp_path), "fg2bg", **given)
    pipeline = small_sdxl_pipeline(tmp_path)
    pipeline.unload_mode("fg2blend")
    # As enable_sequential_cpu_offload does it for every part, which refuses to run on a CPU.
    cpu_offload(pipeline.unet, torch.device("cpu"))
    assert pipeline.unet.conv_in.weight.is_meta
    pipeline.load_mode("fg2blend", tmp_path / "fg2blend.safetensors")
    found = call(pipeline, "fg2bg", **given)
    for name, made in expected.planes.items():
        assert np.array_equal(found.planes[name], made)
    assert pipeline.unet.conv_in.weight.is_meta
    assert pipeline.unet.conv_in.weight.shape[1] == 4
    assert call(pipeline, image=picture(64, 64)).images.std() > 2


def test_sequential_offloading_onto_the_cpu_is_refused(one: LayerDiffusePipeline) -> None:
    with pytest.raises(ValueError, match="the device is the CPU: leave it out"):
        one.enable_sequential_cpu_offload(device="cpu")
    assert not one.unet.conv_in.weight.is_meta


def test_fast_decoder() -> None:
    """Off unless asked for; then only the transparency decoder changes, and hardly."""
    pipeline = small_sd15_pipeline(("transparent",))
    pipeline.controlnet = None
    latents = call(pipeline, output_type="latent").images
    codec_of = partial(decoded, pipeline, latents)
    exact, again = codec_of(), codec_of()
    assert torch.equal(exact, again)
    loaded = pipeline.transparency_decoder
    assert loaded is not None
    pipeline.use_fast_decoder()
    fast = pipeline.transparency_decoder
    assert fast is not None
    assert fast.dtype == preferred_dtype()
    assert {loaded.dtype, pipeline.unet.dtype, pipeline.vae.dtype} == {torch.float32}
    assert (codec_of() - exact).abs().mean() < 0.01
    pipeline.use_fast_decoder("cuda")  # where it will run, not where it is
    assert pipeline.transparency_decoder is not None
    assert pipeline.transparency_decoder.dtype == torch.float16
    pipeline.load_transparency(decoder=loaded)
    assert torch.equal(codec_of(), exact)


def test_fast_decoder_is_refused_where_it_cannot_be(one: LayerDiffusePipeline) -> None:
    bare = small_sd15_pipeline(("transparent",))
    bare.transparency_decoder = None
    with pytest.raises(ValueError, match="no transparency decoder is loaded"):
        bare.use_fast_decoder()
    one.enable_model_cpu_offload(device="cpu")
    try:
        with pytest.raises(ValueError, match="before offloading"):
            one.use_fast_decoder()
    finally:
        one.remove_all_hooks()


def decoded(pipeline: LayeredPipeline, latents: Tensor) -> Tensor:
    """The foreground's planes of these latents."""
    with torch.no_grad(), pipeline.precise_vae() as vae:
        return vae.decode(latents[:1])


def test_bfloat16(tmp_path: Path) -> None:
    for pipeline in (small_sd15_pipeline(("transparent",)), small_sdxl_pipeline(tmp_path)):
        pipeline.to(torch.bfloat16)
        pipeline.controlnet = None
        rgba = call(pipeline, image=picture(64, 64), keep=torch.ones(64, 64)).images
        assert rgba.std() > 2


def test_vae_tiling_and_slicing(xl: LayerDiffuseXLPipeline) -> None:
    whole = call(xl, width=128, height=128).images.astype(int)
    xl.vae.enable_tiling()
    xl.vae.enable_slicing()
    calls: list[int] = []
    tiled_decode = xl.vae.tiled_decode

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return tiled_decode(*arguments, **options)

    try:
        xl.vae.tiled_decode = counted  # pyright: ignore[reportAttributeAccessIssue]
        tiled = call(xl, width=128, height=128).images.astype(int)
    finally:
        xl.vae.tiled_decode = tiled_decode  # pyright: ignore[reportAttributeAccessIssue]
        xl.vae.disable_tiling()
        xl.vae.disable_slicing()
    assert calls == [1]
    assert np.abs(tiled - whole).mean() < np.abs(whole - whole.mean()).mean()


def test_a_failed_call_leaves_the_base_plain(xl: LayerDiffuseXLPipeline) -> None:
    before = xl.unet.conv_in.weight.clone()

    def fail(*arguments: Any) -> Any:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        call(
            *(xl, "fg2blend"),
            planes={"foreground": picture(64, 64)},
            callback_on_step_end=fail,
        )
    assert torch.equal(xl.unet.conv_in.weight, before)


def test_weights_of_another_mode_are_refused(
    one: LayerDiffusePipeline, xl: LayerDiffuseXLPipeline, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match="makes 3 planes without a given one, these weights make 1"
    ):
        one.load_mode("joint", sharing(one.unet, 1, control=False))
    with pytest.raises(ValueError, match="unknown mode 'fg2blend'"):
        one.load_mode("fg2blend", sharing(one.unet, 1, control=False))
    # The same shapes as the file that belongs there: only its name tells.
    other = tmp_path / "layer_xl_bg2ble.safetensors"
    save_file(xl_offsets(xl.unet, 8, seed=0), other)
    with pytest.raises(ValueError, match="published file of 'bg2blend', not of 'fg2blend'"):
        xl.load_mode("fg2blend", other)
    path = tmp_path / "twelve.safetensors"
    save_file(xl_offsets(xl.unet, 12, seed=0), path)
    with pytest.raises(ValueError, match="take 12 channels and mode 'fg2blend' gives it 8"):
        xl.load_mode("fg2blend", path)
    assert xl.unet.config.in_channels == 4
    with pytest.raises(FileNotFoundError, match="nowhere"):
        xl.load_mode("fg2blend", tmp_path / "nowhere.safetensors")
    wide = LayerDiffuseXLPipeline(**sdxl())
    with pytest.raises(ValueError, match="latent channels"):
        wide.load_transparency(encoder=type(one.transparency_encoder)((8, 8, 8)))  # pyright: ignore


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("sd15", "fg2blend", {}, "unknown mode 'fg2blend': this base has "),
    ("sd15", "transparent", {"planes": {"background": picture(64, 64, 3)}}, "no given planes"),
    ("sdxl", "fgblend2bg", {"planes": {"foreground": picture(64, 64)}}, "foreground and composite"),
    ("sdxl", "fg2blend", {"planes": {"foreground": picture(64, 64, 3)}}, "needs 4"),
    (
        "sd15",
        "joint",
        {"image": picture(64, 64), "strength": 0.5},
        "background, composite has none",
    ),
    ("sd15", "joint", {"image": {"sky": picture(64, 64)}}, "does not make"),
    ("sd15", "transparent", {"keep": torch.ones(64, 64)}, "needs the picture it keeps"),
    (
        "sd15",
        "transparent",
        {"image": picture(64, 64), "keep": torch.ones(64, 64), "width": 128},
        "sizes must be the same",
    ),
    ("sd15", "transparent", {"generator": [generator(), generator()]}, "2 generators for 1"),
    ("sd15", "transparent", {"width": 0}, "width must be a whole number"),
    ("sd15", "transparent", {"height": 10**6}, "height must be a whole number"),
    ("sd15", "transparent", {"height": 64.5}, "height must be a whole number"),
    ("sd15", "transparent", {"image": picture(64, 64), "strength": 1.5}, "strength must be 0..1"),
    ("sd15", "transparent", {"image": picture(64, 64), "strength": 0.1}, "less than one step"),
    ("sd15", "transparent", {"stop_at": 2.0}, "stop_at must be 0..1"),
    ("sd15", "transparent", {"num_inference_steps": 0}, "at least 1"),
    ("sd15", "transparent", {"num_images_per_prompt": 0}, "at least 1"),
    ("sd15", "transparent", {"prompt": None}, "no prompt"),
    ("sd15", "transparent", {"prompt_embeds": torch.zeros(1, 77, 32)}, "not both"),
    ("sd15", "joint", {"plane_prompts": {"foreground": ["a", "b"]}, "prompt": ["c"]}, "one length"),
    ("sd15", "transparent", {"negative_prompt": ["a", "b"]}, "2 negative prompts for 1"),
    ("sd15", "transparent", {"output_type": "jpeg"}, "unknown output_type"),
    ("sd15", "transparent", {"control_image": picture(64, 64, 3)}, "needs a ControlNet"),
    ("sd15", "transparent", {"latents": torch.zeros(1, 4, 9, 9)}, "this call needs"),
    (
        "sd15",
        "transparent",
        {"callback_on_step_end_tensor_inputs": ["weights"]},
        "a callback cannot have weights",
    ),
    (
        "sd15",
        "transparent",
        {"planes": {}, "image": picture(64, 64, count=3), "prompt": ["a", "b"]},
        "3 pictures of foreground for 2 prompts",
    ),
]


@pytest.mark.parametrize(("base", "mode", "more", "message"), REFUSED)
def test_what_contradicts_itself_is_refused(
    one: LayerDiffusePipeline,
    xl: LayerDiffuseXLPipeline,
    base: str,
    mode: str,
    more: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        call(one if base == "sd15" else xl, mode, **more)


def test_unknown_arguments_and_missing_networks() -> None:
    bare = quiet(LayerDiffusePipeline(**sd15()))
    bare.load_mode("transparent", sharing(bare.unet, 1, control=False))
    with pytest.raises(TypeError, match="no argument prompt_2"):
        call(bare, prompt_2="in oil")
    with pytest.raises(ValueError, match="no transparency decoder is loaded"):
        call(bare)
    assert call(bare, output_type="latent").images.shape == (1, 4, 8, 8)
    with pytest.raises(ValueError, match="needs the transparency encoder"):
        call(bare, image=picture(64, 64), strength=0.5, output_type="latent")
