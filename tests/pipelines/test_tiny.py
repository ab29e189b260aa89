"""What `tiny` promises whatever its weights: given pixels stay, sizes hold, seeds repeat.

The networks are small and untrained here; what they paint does not matter to these promises.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

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


def test_kept_pixels_come_back_as_they_were_and_the_rest_is_made(family: TinyFamily) -> None:
    pixels = picture(32, 32, 3)
    keep = np.zeros((32, 32), np.uint8)
    keep[:, :20] = 255
    plane = Plane(wanted=True, prompt="blue ball", pixels=pixels, keep=keep)
    made = family.make(LayerRequest((plane,), size=(32, 32))).foregrounds[0]
    stored = np.round(made * 255).astype(np.uint8)
    np.testing.assert_array_equal(stored[:, :20], pixels[:, :20])
    assert np.abs(stored[:, 24:].astype(int) - pixels[:, 24:]).mean() > 2


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
    made = family.make(scene)
    np.testing.assert_allclose(made.foregrounds[0], family.make(steered).foregrounds[0], atol=1e-6)
    assert made.background is not None


def test_what_the_weights_cannot_do_is_said(family: TinyFamily) -> None:
    with pytest.raises(RequestError, match="frames=1"):
        family.make(LayerRequest((WANTED,), size=(32, 32), frames=8))
    line = Control("foreground", "edges", np.zeros((32, 32), np.uint8))
    with pytest.raises(RequestError, match="silhouette for the foreground"):
        family.make(LayerRequest((WANTED,), size=(32, 32), controls=(line,)))


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


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        TinyPipeline.from_pretrained(tmp_path)
