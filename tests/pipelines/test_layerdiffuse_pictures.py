"""Pictures in and out: what starts a plane, what stays of it, any size, larger ones, greys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from multiplane.core.condition_image import condition_image
from multiplane.core.pixels import resize
from multiplane.pipelines.layerdiffuse import HiresFix
from multiplane.pipelines.layerdiffuse.codec import PlaneCodec, pasted
from multiplane.pipelines.layerdiffuse.grey import check_grey
from multiplane.pipelines.layerdiffuse.pictures import (
    PaddedCanvas,
    fit_size,
    read_masks,
    read_pictures,
    write_pictures,
)
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from small_layerdiffuse import (
    QUICK,
    generator,
    picture,
    small_sd15_pipeline,
    small_sdxl_pipeline,
)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LayeredPipeline]:
    return {
        "sd15": small_sd15_pipeline(("transparent", "joint", "bg2fg")),
        "sdxl": small_sdxl_pipeline(tmp_path_factory.mktemp("weights")),
    }


def call(pipeline: LayeredPipeline, mode: str = "transparent", **more: Any) -> Any:
    arguments = {
        "num_inference_steps": 4,
        "guidance_scale": 4.0,
        "generator": generator(1),
        "output_type": "uint8",
        "decode": QUICK,
        **more,
    }
    return pipeline("a cat", mode, **arguments)


@given(st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_a_canvas_gives_back_what_it_was_given(width: int, height: int) -> None:
    canvas = PaddedCanvas.of(width, height)
    values = picture(width, height)
    inside = canvas.inward(values)
    assert inside.shape[-1] % 64 == 0
    assert inside.shape[-2] % 64 == 0
    assert inside.shape[-1] - width < 64
    assert torch.equal(canvas.outward(inside), values)
    assert float(inside.min()) >= float(values.min())  # only values that were there


def test_a_given_size_is_covered_and_cut_evenly() -> None:
    values = picture(80, 40)
    fitted = fit_size(values, (40, 40))
    assert torch.equal(fitted, values[..., 20:60])
    half = fit_size(values, (40, 20))
    expected = resize(values[0].permute(1, 2, 0).numpy(), (40, 20))
    assert np.array_equal(half[0].permute(1, 2, 0).numpy(), expected)
    # Red under clear pixels does not bleed into what is seen.
    red = torch.zeros(1, 4, 64, 64)
    red[:, 0] = 1
    red[:, 1:, :, 32:] = 1
    red[:, 0, :, 32:] = 0
    small = fit_size(red, (16, 16))
    seen = small[:, :, small[0, 3] > 0.01]
    assert float(seen[0, 0].max()) < 1e-3


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_strength_0_gives_the_input_back(pipelines: dict[str, LayeredPipeline], base: str) -> None:
    pipeline = pipelines[base]
    rgba = picture(100, 70)
    canvas = PaddedCanvas.of(100, 70)
    made = call(pipeline, image=rgba, strength=0.0, output_type="latent")
    with pipeline.precise_vae() as vae:
        expected = vae.encode(canvas.inward(rgba))
        flat = vae.posterior((canvas.inward(rgba)[:, :3] * 2 - 1) * canvas.inward(rgba)[:, 3:])[0]
    torch.testing.assert_close(made.images, expected, rtol=0, atol=1e-6)
    # The alpha is in them: without the offset they are the plain VAE's latents of it on grey.
    bare = call(pipeline, image=rgba, strength=0.0, use_offset=False, output_type="latent")
    scaled = flat * pipeline.vae.config.scaling_factor
    torch.testing.assert_close(bare.images, scaled, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(bare.images, made.images, atol=1e-3)


def test_strength_1_forgets_the_picture(pipelines: dict[str, LayeredPipeline]) -> None:
    plain = call(pipelines["sdxl"], width=64, height=64)
    assert np.array_equal(
        call(pipelines["sdxl"], image=picture(64, 64), strength=1.0).images, plain.images
    )


@pytest.mark.parametrize(("strength", "kind"), [(0.5, "uint8"), (1.0, "pil")])
def test_inpainting_keeps_bytes(
    pipelines: dict[str, LayeredPipeline], strength: float, kind: str
) -> None:
    levels = (picture(90, 66).permute(0, 2, 3, 1)[0].numpy() * 255).round().astype(np.uint8)
    keep = np.zeros((66, 90), dtype=np.float32)
    keep[:, :40], keep[:, 40:44] = 1.0, 0.5
    image = Image.fromarray(levels, "RGBA") if kind == "pil" else levels
    more = {"image": image, "keep": keep, "strength": strength, "output_type": kind}
    made, other = (
        np.asarray(call(pipelines["sd15"], generator=generator(seed), **more).images[0])
        for seed in (1, 2)
    )
    for out in (made, other):
        assert np.array_equal(out[:, :40], levels[:, :40])  # colour under clear pixels too
        assert not np.array_equal(out[:, 44:], levels[:, 44:])
    assert not np.array_equal(made, other)


@torch.no_grad()
def test_kept_latents_are_held_at_every_step(pipelines: dict[str, LayeredPipeline]) -> None:
    """The loop by hand: what stays has the noise of the next time after every step."""
    pipeline = pipelines["sd15"]
    rgba, keep = picture(64, 64), torch.zeros(64, 64)
    keep[:, :33] = 1.0  # 33 columns: four whole cells, and one that is not
    seen: list[torch.Tensor] = []

    def watch(pipeline: Any, step: int, time: Any, tensors: Any) -> dict[str, Any]:
        seen.append(tensors["latents"].clone())
        return {}

    call(pipeline, image=rgba, keep=keep, callback_on_step_end=watch, output_type="latent")
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(4)
    with pipeline.precise_vae() as vae:
        clean = vae.encode(rgba)
    noise = torch.randn(1, 4, 8, 8, generator=generator(1))
    times = [*scheduler.timesteps[1:], None]
    for latents, time in zip(seen, times, strict=True):
        known = clean if time is None else scheduler.add_noise(clean, noise, time[None])
        torch.testing.assert_close(latents[..., :4], known[..., :4], rtol=0, atol=1e-6)
        assert not torch.allclose(latents[..., 4:], known[..., 4:], atol=1e-2)


def test_inpainting_one_plane_of_several(pipelines: dict[str, LayeredPipeline]) -> None:
    levels = (picture(64, 64, 3).permute(0, 2, 3, 1)[0].numpy() * 255).round().astype(np.uint8)
    keep = np.zeros((64, 64), dtype=bool)
    keep[20:] = True
    made = call(
        pipelines["sd15"], "joint", image={"background": levels}, keep={"background": keep}
    ).planes
    assert np.array_equal(made["background"][0, 20:, :, :3], levels[20:])
    assert (made["background"][..., 3] == 255).all()
    plain = call(pipelines["sd15"], "joint", width=64, height=64).planes
    assert not np.array_equal(made["foreground"], plain["foreground"])  # they look at each other


def test_soft_keep_mixes_by_premultiplied_colour() -> None:
    made = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 4, 1, 1)
    source = torch.tensor([0.0, 1.0, 0.0, 0.5]).view(1, 4, 1, 1)
    half = pasted(made, source, torch.full((1, 1, 1, 1), 0.5)).flatten().tolist()
    assert half == pytest.approx([0.5 / 0.75, 0.25 / 0.75, 0.0, 0.75])


@pytest.mark.parametrize("upscale", ["pixels", "latent"])
@pytest.mark.parametrize(("base", "mode"), [("sd15", "joint"), ("sdxl", "transparent")])
def test_hires_fix_keeps_alpha(
    pipelines: dict[str, LayeredPipeline], upscale: str, base: str, mode: str
) -> None:
    hires = HiresFix(scale=1.5, strength=0.5, upscale=upscale)
    made = call(pipelines[base], mode, width=64, height=48, hires=hires)
    for name, plane in made.planes.items():
        assert plane.shape == (1, 72, 96, 4)
        alpha = plane[..., 3]
        assert (np.unique(alpha).size > 4) == (name == "foreground")


def test_hires_fix_without_a_step_is_the_first_pass_enlarged(
    pipelines: dict[str, LayeredPipeline],
) -> None:
    pipeline = pipelines["sdxl"]
    hires = HiresFix(size=(128, 128), strength=0.0)
    made = call(pipeline, width=64, height=64, hires=hires, output_type="latent").images
    first = call(pipeline, width=64, height=64, output_type="np").images[0]
    large = torch.from_numpy(resize(first, (128, 128))).permute(2, 0, 1)[None]
    expected = PlaneCodec(pipeline, PaddedCanvas.of(128, 128)).encode("foreground", large)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_a_condition_of_another_size_is_fitted(pipelines: dict[str, LayeredPipeline]) -> None:
    large = picture(128, 128, 3)
    more = {"width": 64, "height": 64, "output_type": "latent"}
    made = call(pipelines["sd15"], "bg2fg", planes={"background": large}, **more)
    small = condition_image(large[0].permute(1, 2, 0).numpy(), 64, 64)
    same = call(pipelines["sd15"], "bg2fg", planes={"background": small}, **more)
    torch.testing.assert_close(made.images, same.images, rtol=1e-5, atol=1e-5)
    cut = call(pipelines["sd15"], "bg2fg", planes={"background": large[..., :64, :64]}, **more)
    assert not torch.allclose(made.images, cut.images, atol=1e-2)


def test_a_vae_that_overflows_in_half_is_not_run_in_half() -> None:
    pipeline = small_sd15_pipeline(())
    pipeline.vae.to(torch.float16)
    with pipeline.precise_vae() as vae:
        assert vae.vae.dtype == torch.float32
    assert pipeline.vae.dtype == torch.float16
    pipeline.vae.register_to_config(force_upcast=False)
    with pipeline.precise_vae() as vae:
        assert vae.vae.dtype == torch.float16


@pytest.mark.parametrize(("weight", "flagged"), [(-2.0, True), (2.0, False)])
def test_a_safety_checker_clears_every_plane(weight: float, flagged: bool) -> None:
    """weight: what a likeness (-1..1) to a concept must exceed."""
    checker, extractor = safety_checker(weight)
    pipeline = small_sd15_pipeline(("joint",), safety_checker=checker, feature_extractor=extractor)
    made = call(pipeline, "joint", width=64, height=64)
    assert made.nsfw_content_detected == [flagged]
    for plane in made.planes.values():
        assert (plane.max() == 0) is np.bool_(flagged)


def safety_checker(weight: float) -> tuple[Any, Any]:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    from small_diffusion import image_encoder

    vision = image_encoder().config
    config = CLIPConfig(vision_config=vision.to_dict(), projection_dim=32)
    checker = StableDiffusionSafetyChecker(config).eval()
    for name in ("concept_embeds", "special_care_embeds"):
        getattr(checker, name).data.normal_(generator=generator())
        getattr(checker, f"{name}_weights").data.fill_(weight)
    sides = {"height": 32, "width": 32}
    return checker, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides)


def test_grey_is_judged_where_the_picture_is_clear() -> None:
    alpha = torch.zeros(1, 10, 10)
    alpha[:, 5:] = 1.0
    flat = torch.full((3, 10, 10), 127 / 255)
    flat[:, 5:] = 1.0  # the subject does not count
    good = check_grey(alpha, flat)
    assert good.fits
    assert good.complaint is None
    assert good.clear_area == 0.5
    assert good.colour == pytest.approx((127, 127, 127), abs=0.01)
    assert good.spread == pytest.approx(0, abs=1e-3)
    flat[0, :5] = 0.9
    pink = check_grey(alpha, flat)
    assert not pink.fits
    assert pink.complaint is not None
    assert "(230, 127, 127)" in pink.complaint
    assert "neutral grey background" in pink.complaint
    for level, fits in ((0x75, True), (0x89, True), (0x70, False), (0x90, False)):
        flat[:, :5] = level / 255
        assert check_grey(alpha, flat).fits is fits
    solid = check_grey(torch.ones(1, 10, 10), flat)
    assert not solid.fits
    assert "0.0% of the picture came out clear" in str(solid.complaint)


def test_a_base_that_does_not_fit_is_said(
    pipelines: dict[str, LayeredPipeline], caplog: pytest.LogCaptureFixture
) -> None:
    made = call(pipelines["sdxl"], width=64, height=64)
    (check,) = made.grey_checks["foreground"]
    flat, alpha = made.flat["foreground"][0] / 255, made.images[0, ..., 3]
    if check.colour is not None:
        clear = flat[alpha <= 1][:, :3].mean(axis=0) * 255
        assert check.colour == pytest.approx(clear, abs=1.0)
    assert (check.complaint is not None) == bool(caplog.records)
    assert not check.fits  # random weights do not paint grey


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_come_back_as_they_were(dtype: Any) -> None:
    values = (picture(9, 7).permute(0, 2, 3, 1)[0].numpy() * 255).round().astype(np.uint8)
    scale = {np.uint8: 1.0, np.uint16: 257.0, np.float32: 1 / 255}[dtype]
    stored = (values.astype(np.float64) * scale).astype(dtype)
    read = read_pictures("foreground", stored)
    assert np.array_equal(write_pictures(read, "uint8")[0], values)
    opaque = read_pictures("background", Image.fromarray(values).convert("RGB"))
    assert float(opaque[:, 3].min()) == 1.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("foreground", np.zeros((8, 8, 3), np.uint8), "3 channels, it needs 4"),
        ("background", np.zeros((8, 8, 4), np.uint8), "see-through"),
        ("background", np.zeros((8, 8), np.uint8), "shape"),
        ("foreground", np.full((8, 8, 4), 1.5, np.float32), "0..1"),
        ("foreground", np.full((8, 8, 4), np.nan, np.float32), "0..1"),
        ("foreground", torch.zeros(4, 8, 8, dtype=torch.uint8), "floats"),
        ("foreground", [picture(8, 8), picture(9, 8)], "differ in size"),
        ("foreground", [], "empty"),
        ("foreground", "cat.png", "str"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pictures(name, value)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="give \\(H, W\\)"):
        read_masks("foreground", torch.zeros(3, 2, 8, 8))
    with pytest.raises(ValueError, match="must be in 0"):
        read_masks("foreground", torch.full((8, 8), 2.0))
