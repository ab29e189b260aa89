"""What `tiny` promises of clips whatever its weights: stills stay what they were, given frames
stand, sizes and frame counts hold, seeds repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from multiplane.core.composite import composite_u8
from multiplane.core.family import ClipFamily
from multiplane.core.frames import filled
from multiplane.core.request import Control, LayerRequest, Plane, RequestError
from multiplane.engine.generate import run_request
from multiplane.engine.result import clip_of
from multiplane.models.layered_transformer import LayeredTransformer, PlaneLayout
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.sampling import clip_noise
from multiplane.models.text_encoder import write_quantized
from multiplane.pipelines.tiny import PlaneInput, TinyDefaults, TinyFamily, TinyPipeline
from multiplane.pipelines.tiny.first_frames import known_frames, with_first_frames
from small_world import AUTOENCODER, DENOISER, SIZE, WordEncoder, write_text_encoder

DEFAULTS = TinyDefaults(
    version="test",
    steps=3,
    tasks=(
        "foreground",
        "background",
        "foreground background",
        "foreground background composite",
        "background -> foreground composite",
        "composite -> foreground background",
    ),
    controls=("silhouette",),
    clip_tasks=(
        "foreground",
        "foreground background composite",
        "background -> foreground composite",
        "composite -> foreground background",
    ),
    max_frames=6,
    clip_steps=2,
    shared_noise=0.5,
)
WANTED = Plane(wanted=True, prompt="red ball")


def a_still_denoiser() -> LayeredTransformer:
    torch.manual_seed(0)
    denoiser = LayeredTransformer(DENOISER)
    for parameter in denoiser.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.eval()


def a_pipeline(clips: bool = True) -> TinyPipeline:
    denoiser = a_still_denoiser()
    if clips:  # frame layers that do something
        torch.manual_seed(1)
        for layer in denoiser.add_frames().eval().layers:
            torch.nn.init.normal_(layer.get_parameter("out.weight"), std=0.3)
    torch.manual_seed(2)
    autoencoder = RGBAAutoencoder(AUTOENCODER).eval()
    return TinyPipeline(denoiser, autoencoder, WordEncoder(), DEFAULTS)  # pyright: ignore


@pytest.fixture(scope="module")
def family() -> TinyFamily:
    return TinyFamily(a_pipeline())


def frames_of(count: int, width: int, height: int, opaque: bool = False) -> np.ndarray:
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, height, width, 4), dtype=np.uint8)
    if opaque:
        pixels[..., 3] = 255
    return pixels


def test_a_clip_has_every_plane_at_its_size_and_frames(family: TinyFamily) -> None:
    assert isinstance(family, ClipFamily)
    assert (family.max_frames, family.fps) == (6, Fraction(8))
    request = LayerRequest((WANTED,), WANTED, Plane(wanted=True), size=(50, 20), frames=5)
    outcome = run_request(family, request)
    made = family.make(filled(replace(request, size=(50, 20))))
    for plane in (*made.foregrounds, made.background, made.composite):
        assert plane is not None
        assert plane.shape == (5, 20, 50, 4)
    assert made.background is not None
    assert float(made.background[..., 3].min()) == 1.0
    assert outcome.request.fps == 8
    assert made.report["steps"] == 2


def test_the_same_seed_gives_the_same_clip_and_another_another(family: TinyFamily) -> None:
    request = LayerRequest((WANTED,), size=(32, 32), frames=4)
    first, again = family.make(request), family.make(request)
    other = family.make(replace(request, seed=1))
    np.testing.assert_array_equal(first.foregrounds[0], again.foregrounds[0])
    assert not np.array_equal(first.foregrounds[0], other.foregrounds[0])


def test_stills_do_not_know_of_clips() -> None:
    request = LayerRequest((WANTED,), WANTED, size=(32, 32))
    with_clips, without = (TinyFamily(a_pipeline(clips)).make(request) for clips in (True, False))
    np.testing.assert_array_equal(with_clips.foregrounds[0], without.foregrounds[0])


def test_a_still_given_stands_as_the_first_frame_of_what_is_made(family: TinyFamily) -> None:
    still = frames_of(1, 32, 32, opaque=True)[0]
    request = LayerRequest((WANTED,), Plane(pixels=still), Plane(wanted=True), frames=3)
    outcome = run_request(family, request)
    assert outcome.background is not None
    first = outcome.background[0]
    np.testing.assert_array_equal(np.asarray(first)[..., :3], still[..., :3])
    assert not np.array_equal(outcome.background[1], outcome.background[0])


def test_its_latents_stand_where_they_are_given_and_nowhere_else() -> None:
    pipeline = a_pipeline()
    pixels = torch.rand(3, 4, SIZE, SIZE)
    keep = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, SIZE, SIZE)
    made = pipeline(
        {"foreground": PlaneInput("red ball", pixels, keep)},
        torch.Generator().manual_seed(0),
        frames=3,
    )["foreground"]
    seen = pipeline.decode(pipeline.encode(pixels))
    assert torch.equal(made[0], seen[0])
    assert (made[1:] - seen[1:]).abs().mean() > 0.003  # an untrained decoder: all is near grey


def test_a_given_clip_stays_and_the_rest_is_made_for_it(family: TinyFamily) -> None:
    clip = frames_of(4, 24, 24, opaque=True)
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=clip), size=(24, 24), frames=4)
    made = family.make(filled(request))
    assert made.composite is not None
    np.testing.assert_array_equal(np.round(made.composite * 255).astype(np.uint8), clip)
    other = replace(request, composite=Plane(pixels=np.ascontiguousarray(clip[::-1])))
    assert not np.array_equal(made.foregrounds[0], family.make(filled(other)).foregrounds[0])


def test_a_composite_is_made_along_where_clips_were_trained_with_one(family: TinyFamily) -> None:
    request = LayerRequest((WANTED,), WANTED, size=(16, 16), frames=2)
    made = family.make(request)
    assert made.composite is None
    assert made.background is not None


def test_what_clips_cannot_do_is_said(family: TinyFamily) -> None:
    too_long = LayerRequest((WANTED,), size=(16, 16), frames=7)
    with pytest.raises(RequestError, match="at most 6 frames"):
        run_request(family, too_long)
    mask = np.full((16, 16), 255, np.uint8)
    steered = LayerRequest(
        (WANTED,), size=(16, 16), frames=2, controls=(Control("foreground", "silhouette", mask),)
    )
    with pytest.raises(RequestError, match="steers stills alone"):
        family.make(steered)
    background_alone = LayerRequest((), WANTED, size=(16, 16), frames=2)
    with pytest.raises(RequestError, match=r"cannot do '-> background' .* or for -> foreground;"):
        family.make(background_alone)
    stills = TinyFamily(a_pipeline(clips=False))
    with pytest.raises(RequestError, match="makes stills"):
        run_request(stills, LayerRequest((WANTED,), size=(16, 16), frames=2))
    with pytest.raises(ValueError, match="make stills, 1 frame: 2 were asked"):
        stills.pipeline({"foreground": PlaneInput()}, torch.Generator(), frames=2)
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"make 1 to 6 frames: {count} were asked"):
            family.pipeline({"foreground": PlaneInput()}, torch.Generator(), frames=count)


def test_progress_shows_one_frame_of_the_clip_a_step(family: TinyFamily) -> None:
    clip = frames_of(4, 24, 16, opaque=True)
    seen: list[np.ndarray] = []

    def progress(_: int, __: int, preview: np.ndarray | None) -> None:
        assert preview is not None
        seen.append(preview)

    request = LayerRequest((WANTED,), Plane(pixels=clip), Plane(wanted=True), frames=4)
    made = family.make(filled(request.resolve(family.native_size)), progress)
    assert [preview.shape for preview in seen] == [(16, 24, 4)] * 2
    front, back = made.foregrounds[0][2], clip[2].astype(np.float32) / 255
    alpha = front[..., 3:]
    expected = front[..., :3] * alpha + back[..., :3] * (1 - alpha)
    other = front[..., :3] * alpha + clip[0, ..., :3] / np.float32(255) * (1 - alpha)
    near, far = (np.abs(seen[-1][..., :3] - each).mean() for each in (expected, other))
    assert near < 0.7 * far  # the picture is resampled on its way to the model and back


def test_frame_layers_are_saved_beside_the_stills_and_loaded_again(tmp_path: Path) -> None:
    write_quantized(write_text_encoder(tmp_path / "published"), tmp_path / "text")
    pipeline = a_pipeline()
    for name, one in (("clips", pipeline), ("stills", a_pipeline(clips=False))):
        one.save_pretrained(tmp_path / name, tmp_path / "text")
    file = "denoiser/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "clips" / file).read_bytes() == (tmp_path / "stills" / file).read_bytes()
    loaded = TinyPipeline.from_pretrained(tmp_path / "clips", torch.float32)
    assert loaded.defaults == DEFAULTS
    assert (loaded.max_frames, a_pipeline(clips=False).max_frames) == (6, 1)
    known = {
        "noisy": torch.randn(1, 1, 3, 4, 4, 4),
        "t": torch.full((1,), 0.4),
        "text": torch.randn(1, 1, 4, 12),
        "has_text": torch.ones(1, 1, 4, dtype=torch.bool),
        "given": torch.zeros(1, 1, 3, 4, 4, dtype=torch.bool),
        "layout": PlaneLayout.of(["foreground"], 3),
    }
    with torch.no_grad():
        before, after = pipeline.denoiser(**known), loaded.denoiser(**known)
        alone = TinyPipeline.from_pretrained(tmp_path / "stills").denoiser
        alone.add_frames()
        still = alone(**known)
    assert torch.allclose(before, after, atol=2e-2)  # stored in float16
    assert (still - before).abs().max() > 0.1
    index = tmp_path / "clips" / "model_index.json"
    table = json.loads(index.read_text())
    index.write_text(json.dumps({**table, "motion": ["multiplane", "LoRA"]}))
    with pytest.raises(ValueError, match="take it out of that file; what is left makes stills"):
        TinyPipeline.from_pretrained(tmp_path / "clips")


def test_frames_share_as_much_of_their_noise_as_asked() -> None:
    noise = clip_noise((1, 2, 4, 8, 32, 32), 0.6, torch.Generator().manual_seed(0))
    assert float(noise.var()) == pytest.approx(1.0, abs=0.03)
    between = (noise[:, :, 0] * noise[:, :, 3]).mean()
    assert float(between) == pytest.approx(0.6, abs=0.03)
    planes = (noise[:, 0] * noise[:, 1]).mean()
    assert float(planes) == pytest.approx(0.0, abs=0.03)
    with pytest.raises(ValueError, match=r"0 to 1 of the noise's variance, got 1\.2"):
        clip_noise((1, 1, 2, 3, 4, 4), 1.2, torch.Generator())


def test_the_noise_of_a_still_is_what_it_always_was() -> None:
    shape = (1, 2, 1, 3, 4, 4)
    plain = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(clip_noise(shape, 0.5, torch.Generator().manual_seed(3)), plain)


def a_start(pixels: np.ndarray) -> PlaneInput:
    """One picture, known in the first of three frames."""
    clip = torch.from_numpy(pixels).expand(3, *pixels.shape)
    keep = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, SIZE, SIZE)
    return PlaneInput("", clip, keep)


def still_planes() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    foreground = random.random((4, SIZE, SIZE), dtype=np.float32)
    foreground[:3] *= foreground[3:]
    background = random.random((4, SIZE, SIZE), dtype=np.float32)
    background[3] = 1
    return foreground, background


def never(planes: Mapping[str, PlaneInput]) -> dict[str, torch.Tensor]:
    raise AssertionError("no still is needed")


def test_the_composites_first_frame_follows_from_those_of_its_layers() -> None:
    front, back = still_planes()
    whole_clip = PlaneInput("", torch.from_numpy(back).expand(3, *back.shape))
    for behind in (a_start(back), whole_clip):
        planes = {"foreground": a_start(front), "background": behind, "composite": PlaneInput()}
        found = with_first_frames(planes, never)["composite"]
        assert found.pixels is not None
        assert known_frames(found) == 1
        expected = front + (1 - front[3:]) * back
        np.testing.assert_allclose(found.pixels[0].numpy(), expected, atol=1e-6)


def test_a_composite_that_begins_a_clip_is_taken_apart_first() -> None:
    front, back = still_planes()
    asked: list[Mapping[str, PlaneInput]] = []

    def still(planes: Mapping[str, PlaneInput]) -> dict[str, torch.Tensor]:
        asked.append(planes)
        return {"foreground": torch.from_numpy(front), "background": torch.from_numpy(back)}

    planes = {
        "foreground": PlaneInput("red ball"),
        "background": PlaneInput(),
        "composite": a_start(back),
    }
    found = with_first_frames(planes, still)
    assert asked[0]["composite"].given
    assert asked[0]["foreground"].prompt == found["foreground"].prompt == "red ball"
    for name, pixels in (("foreground", front), ("background", back)):
        one = found[name]
        assert one.pixels is not None
        assert known_frames(one) == 1
        np.testing.assert_array_equal(one.pixels[0].numpy(), pixels)


def test_nothing_follows_from_words_a_given_clip_or_a_layer_alone() -> None:
    front, back = still_planes()
    whole_clip = PlaneInput("", torch.from_numpy(back).expand(3, *back.shape))
    words = {name: PlaneInput() for name in ("foreground", "background", "composite")}
    for planes in (
        words,
        {**words, "composite": whole_clip},
        {**words, "background": a_start(back)},
        {"foreground": a_start(front)},
    ):
        assert with_first_frames(planes, never) == planes


def test_a_photograph_is_animated(family: TinyFamily) -> None:
    photo = frames_of(1, 32, 32, opaque=True)[0]
    request = LayerRequest((WANTED,), WANTED, Plane(pixels=photo), frames=3)
    clip = clip_of(family, run_request(family, request))
    first, last = (composite_u8(clip[frame]).astype(int) for frame in (0, 2))
    assert np.abs(first - photo).max() <= 1
    assert not np.array_equal(first, last)


def test_frames_that_are_known_say_more_than_the_words(family: TinyFamily) -> None:
    still = frames_of(1, 32, 32, opaque=True)[0]
    told = LayerRequest((WANTED,), WANTED, Plane(wanted=True), size=(32, 32), frames=2)
    shown = replace(told, background=Plane(wanted=True, pixels=still))
    assert family.make(filled(told)).report["guidance"] == DEFAULTS.clip_guidance
    assert family.make(filled(shown)).report["guidance"] == DEFAULTS.known_guidance
    assert family.make(filled(replace(shown, guidance=2.0))).report["guidance"] == 2.0
