"""What `tiny` promises whatever its weights: given pixels stay, sizes hold, seeds repeat.

The networks are small and untrained here; what they paint does not matter to these promises.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multiplane.core.composite import over as core_over
from multiplane.core.request import Control, LayerRequest, Plane, RequestError, Task
from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.text_encoder import write_quantized
from multiplane.pipelines.canvas import SquareCanvas
from multiplane.pipelines.tiny import PlaneInput, TinyDefaults, TinyFamily, TinyPipeline
from small_world import AUTOENCODER, DENOISER, WordEncoder, write_text_encoder

DEFAULTS = TinyDefaults(
    version="test",
    steps=3,
    tasks=("foreground", "composite -> foreground background"),
    controls=("silhouette",),
)


def a_pipeline() -> TinyPipeline:
    torch.manual_seed(0)
    denoiser = LayeredTransformer(DENOISER)
    for parameter in denoiser.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    autoencoder = RGBAAutoencoder(AUTOENCODER)
    return TinyPipeline(denoiser.eval(), autoencoder.eval(), WordEncoder(), DEFAULTS)  # pyright: ignore


@pytest.fixture(scope="module")
def family() -> TinyFamily:
    return TinyFamily(a_pipeline())


def picture(width: int, height: int, seed: int = 0, opaque: bool = False) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if opaque:
        pixels[..., 3] = 255
    return pixels


WANTED = Plane(wanted=True, prompt="red ball")


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 20), (9, 33)])
def test_any_size_comes_back_at_that_size(family: TinyFamily, size: tuple[int, int]) -> None:
    request = LayerRequest((WANTED,), WANTED, Plane(wanted=True), size=size)
    made = family.make(request)
    assert made.background is not None
    assert made.composite is not None
    for plane in (*made.foregrounds, made.background, made.composite):
        assert plane.shape == (size[1], size[0], 4)
        assert plane.dtype == np.float32
        assert 0 <= float(plane.min()) <= float(plane.max()) <= 1
    assert float(made.background[..., 3].min()) == 1.0


def test_given_pixels_come_back_as_they_were(family: TinyFamily) -> None:
    photo = picture(40, 24, opaque=True)
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=photo), size=(40, 24))
    made = family.make(request)
    assert made.composite is not None
    np.testing.assert_array_equal(np.round(made.composite * 255).astype(np.uint8), photo)


def test_kept_pixels_stand_in_the_latents_and_the_rest_is_made(family: TinyFamily) -> None:
    """Up to the autoencoder; the engine lays the pixels themselves back."""
    pixels = picture(32, 32, 3)
    keep = np.zeros((32, 32), np.uint8)
    keep[:, :16] = 255
    plane = Plane(wanted=True, prompt="blue ball", pixels=pixels, keep=keep)
    seen: list[torch.Tensor] = []
    decode = family.pipeline.decode
    family.pipeline.decode = lambda latents: seen.append(latents) or decode(latents)
    try:
        family.make(LayerRequest((plane,), size=(32, 32)))
    finally:
        del family.pipeline.decode
    inside = torch.from_numpy(SquareCanvas(32, 32, 32).inward(pixels).transpose(2, 0, 1))[None]
    with torch.no_grad():
        known = family.pipeline.encode(inside.float())
    torch.testing.assert_close(seen[-1][..., :2], known[..., :2])
    assert float((seen[-1][..., 2:] - known[..., 2:]).abs().mean()) > 0.05


def test_seeds_repeat_and_differ(family: TinyFamily) -> None:
    request = LayerRequest((WANTED,), size=(32, 32), seed=4)
    one, two = family.make(request), family.make(request)
    other = family.make(replace(request, seed=5))
    np.testing.assert_array_equal(one.foregrounds[0], two.foregrounds[0])
    assert np.abs(one.foregrounds[0] - other.foregrounds[0]).max() > 0.01


def test_strength_runs_from_the_picture_to_a_new_one(family: TinyFamily) -> None:
    pixels = picture(32, 32, 6)

    def distance(strength: float) -> float:
        plane = Plane(wanted=True, pixels=pixels, strength=strength)
        made = family.make(LayerRequest((plane,), size=(32, 32), guidance=1.0)).foregrounds[0]
        return float(np.abs(made - reference).mean())

    pipeline = family.pipeline
    canvas = SquareCanvas(32, 32, 32)
    inside = torch.from_numpy(canvas.inward(pixels).transpose(2, 0, 1))[None].float()
    with torch.no_grad():
        decoded = pipeline.decode(pipeline.encode(inside))[0]
    reference = canvas.outward(decoded.permute(1, 2, 0).numpy())
    assert distance(0.0) < 1e-4
    assert distance(1.0) > 0.01


def test_guidance_one_is_the_plain_prediction_and_text_matters(family: TinyFamily) -> None:
    request = LayerRequest((WANTED,), size=(32, 32), guidance=1.0)
    plain = family.make(request).foregrounds[0]
    guided = family.make(replace(request, guidance=4.0)).foregrounds[0]
    no_text = family.make(replace(request, foregrounds=(Plane(wanted=True),))).foregrounds[0]
    assert np.abs(plain - guided).max() > 1e-4
    assert np.abs(plain - no_text).max() > 1e-4


def test_a_silhouette_steers_and_a_scene_is_built_around_it(family: TinyFamily) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    control = Control("foreground", "silhouette", mask)
    free = LayerRequest((WANTED,), size=(32, 32))
    steered = replace(free, controls=(control,))
    difference = family.make(free).foregrounds[0] - family.make(steered).foregrounds[0]
    assert np.abs(difference).max() > 1e-4
    scene = replace(steered, background=WANTED, composite=Plane(wanted=True))
    steps: list[tuple[int, int]] = []
    made = family.make(scene, lambda step, total, _: steps.append((step, total)))
    np.testing.assert_allclose(made.foregrounds[0], family.make(steered).foregrounds[0], atol=1e-6)
    assert made.background is not None
    assert steps == [(i, 6) for i in range(1, 7)]  # two runs of three steps, counted through


def test_over_a_given_background_a_steered_foreground_needs_no_second_run(
    family: TinyFamily,
) -> None:
    """Nothing is left to make: the composite is what the two show."""
    photo = picture(32, 32, 5, opaque=True)
    mask = np.full((32, 32), 255, np.uint8)
    request = LayerRequest(
        (WANTED,),
        Plane(pixels=photo),
        Plane(wanted=True),
        size=(32, 32),
        controls=(Control("foreground", "silhouette", mask),),
    )
    totals: list[int] = []
    made = family.make(request, lambda _, total, __: totals.append(total))
    assert set(totals) == {3}
    assert made.composite is not None
    expected = core_over(made.foregrounds[0], photo.astype(np.float32) / 255)
    np.testing.assert_allclose(made.composite, expected, atol=2e-3)


def test_around_a_steered_foreground_the_background_is_made_as_it_was_trained() -> None:
    """Weights that learned it only together with a composite make one and keep it back."""
    pipeline = a_pipeline()
    pipeline.defaults = replace(DEFAULTS, tasks=("foreground -> background composite",))
    rows: list[tuple[str, ...]] = []
    pipeline.denoiser.register_forward_pre_hook(lambda _, passed: rows.append(passed[5].roles))
    mask = np.full((32, 32), 255, np.uint8)
    control = Control("foreground", "silhouette", mask)
    request = LayerRequest((WANTED,), WANTED, size=(32, 32), controls=(control,))
    made = TinyFamily(pipeline).make(request)
    assert rows[0] == ("foreground", "silhouette")
    assert rows[-1] == ("background", "foreground", "composite")
    assert made.background is not None
    assert made.composite is None


def test_what_the_weights_cannot_do_is_said(family: TinyFamily) -> None:
    with pytest.raises(RequestError, match="frames=1"):
        family.make(LayerRequest((WANTED,), size=(32, 32), frames=8))
    line = Control("foreground", "edges", np.zeros((32, 32), np.uint8))
    with pytest.raises(RequestError, match="silhouette for the foreground"):
        family.make(LayerRequest((WANTED,), size=(32, 32), controls=(line,)))
    shape = Control("foreground", "silhouette", np.zeros((32, 32), np.uint8))
    photo = Plane(pixels=picture(32, 32, opaque=True))
    with pytest.raises(RequestError, match="taken out of a given composite"):
        family.make(LayerRequest((WANTED,), WANTED, photo, size=(32, 32), controls=(shape,)))
    with pytest.raises(RequestError, match="two controls of one kind"):
        family.make(LayerRequest((WANTED,), size=(32, 32), controls=(shape, shape)))


def test_tasks_come_from_the_weights(family: TinyFamily) -> None:
    expected = {Task.of("foreground"), Task.of("composite -> foreground background")}
    assert family.tasks == expected


def test_progress_shows_every_step(family: TinyFamily) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def progress(step: int, total: int, preview: np.ndarray | None) -> None:
        assert preview is not None
        seen.append((step, total, preview.shape))

    family.make(LayerRequest((WANTED,), WANTED, size=(40, 20)), progress)
    assert seen == [(i, 3, (20, 40, 4)) for i in (1, 2, 3)]


def test_the_preview_lays_what_is_made_over_what_is_given(family: TinyFamily) -> None:
    photo = np.full((32, 32, 4), 255, np.uint8)
    photo[..., 1] = 90
    seen: list[np.ndarray] = []

    def progress(_: int, __: int, preview: np.ndarray | None) -> None:
        assert preview is not None
        seen.append(preview)

    made = family.make(LayerRequest((WANTED,), Plane(pixels=photo), size=(32, 32)), progress)
    expected = core_over(made.foregrounds[0], photo.astype(np.float32) / 255)
    np.testing.assert_allclose(seen[-1], expected, atol=2e-3)


def test_saved_and_loaded_it_makes_the_same(tmp_path: Path) -> None:
    write_quantized(write_text_encoder(tmp_path / "published"), tmp_path / "text")
    pipeline = a_pipeline()
    for network in (pipeline.denoiser, pipeline.autoencoder):
        network.half().float()  # what the folder holds
    pipeline.save_pretrained(tmp_path / "weights", tmp_path / "text")
    again = TinyPipeline.from_pretrained(tmp_path / "weights", torch.float32)
    assert again.defaults == DEFAULTS
    wanted = {"foreground": PlaneInput("red ball"), "background": PlaneInput()}
    pipeline.text_encoder = again.text_encoder
    made = [
        one(wanted, torch.Generator().manual_seed(0))["foreground"] for one in (pipeline, again)
    ]
    torch.testing.assert_close(made[0], made[1])


def test_an_index_of_another_version_is_read_or_refused(tmp_path: Path) -> None:
    write_quantized(write_text_encoder(tmp_path / "published"), tmp_path / "text")
    a_pipeline().save_pretrained(tmp_path, tmp_path / "text")
    index = tmp_path / "model_index.json"
    table = json.loads(index.read_text("utf-8"))
    index.write_text(json.dumps({**table, "defaults": {"version": "1.0", "steps": 3}}), "utf-8")
    older = TinyPipeline.from_pretrained(tmp_path)
    assert older.defaults == TinyDefaults("1.0", steps=3)
    assert older.max_frames == 1
    index.write_text(json.dumps({**table, "defaults": {"warp": 9}}), "utf-8")
    with pytest.raises(ValueError, match=r"unknown key 'warp'.*if a newer Multiplane wrote"):
        TinyPipeline.from_pretrained(tmp_path)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        TinyPipeline.from_pretrained(tmp_path)


def test_what_no_pipeline_can_run_is_said() -> None:
    pipeline, generator = a_pipeline(), torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="unknown role sky"):
        pipeline({"sky": PlaneInput()}, generator)
    with pytest.raises(ValueError, match="nothing is wanted"):
        pipeline({"foreground": PlaneInput(pixels=torch.zeros(4, 32, 32))}, generator)
    small = PlaneInput(pixels=torch.zeros(4, 16, 16))
    with pytest.raises(ValueError, match=r"background must be \(4, 32, 32\), got \(4, 16, 16\)"):
        pipeline({"background": small, "foreground": PlaneInput()}, generator)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        pipeline({"foreground": PlaneInput()}, generator, steps=0)


def test_guidance_stops_after_its_interval() -> None:
    """Past `guidance_until` one branch is asked, before it two; the text falls in the second only,
    given planes stay."""
    pipeline = a_pipeline()
    pipeline.defaults = replace(DEFAULTS, steps=4, guidance_until=0.4)
    calls: list[tuple[int, list[bool], bool]] = []

    def record(_: torch.nn.Module, passed: tuple) -> None:
        z, _t, _text, has_text, given, _layout = passed
        texts = has_text.flatten(1).any(dim=1).tolist()
        calls.append((len(z), texts, bool(given[:, 0].all() and not given[:, 1].any())))

    pipeline.denoiser.register_forward_pre_hook(record)
    planes = {
        "background": PlaneInput("night", torch.rand(4, 32, 32)),
        "foreground": PlaneInput("red ball"),
    }
    pipeline(planes, torch.Generator().manual_seed(0), guidance=2.0)
    assert calls == [(2, [True, False], True)] * 2 + [(1, [True], True)] * 2


def test_a_foreground_alone_may_have_a_guidance_of_its_own(family: TinyFamily) -> None:
    defaults = replace(DEFAULTS, guidance=2.0, guidance_alone=6.0)
    own = TinyFamily(replace(family.pipeline, defaults=defaults))
    alone = LayerRequest((WANTED,), size=(32, 32))
    scene = replace(alone, background=WANTED)
    for request, guidance in ((alone, 6.0), (scene, 2.0)):
        made = own.make(request)
        assert made.report["guidance"] == guidance
        expected = family.make(replace(request, guidance=guidance))
        np.testing.assert_array_equal(made.foregrounds[0], expected.foregrounds[0])
