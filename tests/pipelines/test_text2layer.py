"""The Text2Layer pipeline and family on small untrained networks: seeds, schedulers, batches, save
and reload, and requests through the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from multiplane.core.composite import composite_u8
from multiplane.core.request import Control, LayerRequest, Plane, RequestError, Task
from multiplane.engine import Model, load
from multiplane.pipelines.text2layer import Text2LayerFamily, Text2LayerPipeline
from multiplane.training.diffusion_loss import SCHEDULE
from small_text2layer import SIZE, a_pipeline

WANTED = Plane(wanted=True, prompt="red ball")
SCENE = LayerRequest(
    (WANTED,), Plane(wanted=True), Plane(wanted=True), size=(SIZE, SIZE), seed=3, model="text2layer"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text2layer")


@pytest.fixture(scope="module")
def pipeline(world: Path) -> Text2LayerPipeline:
    return a_pipeline(world)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_same_seed_same_bytes_and_words_matter(pipeline: Text2LayerPipeline) -> None:
    one, two = (pipeline("red ball", seeded(0)) for _ in range(2))
    other_seed, other_words = pipeline("red ball", seeded(1)), pipeline("blue ball", seeded(0))
    for name, plane in one.items():
        assert plane.shape == (1, 4, SIZE, SIZE)
        assert torch.equal(plane, two[name])
    assert not torch.equal(one["composite"], other_seed["composite"])
    assert not torch.equal(one["composite"], other_words["composite"])


def test_a_batch_is_what_its_pictures_are_alone(pipeline: Text2LayerPipeline) -> None:
    both = pipeline(["red ball", "blue ball"], seeded(4, 5))
    for row, (prompt, seed) in enumerate((("red ball", 4), ("blue ball", 5))):
        alone = pipeline(prompt, seeded(seed))
        for name, plane in alone.items():
            torch.testing.assert_close(both[name][row], plane[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["DDIMScheduler", "DDPMScheduler", "EulerAncestralDiscreteScheduler", "PNDMScheduler",
     "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"],
)  # fmt: skip
def test_any_scheduler_will_do(pipeline: Text2LayerPipeline, name: str) -> None:
    own = replace(pipeline, scheduler=getattr(diffusers, name)(**SCHEDULE))
    steps: list[tuple[int, int]] = []
    made = own(
        "red ball", seeded(0), 4, callback=lambda step, total, _: steps.append((step, total))
    )
    again = own("red ball", seeded(0), 4)
    assert torch.isfinite(made["composite"]).all()
    assert torch.equal(made["composite"], again["composite"])
    assert steps == [(i, len(steps)) for i in range(1, len(steps) + 1)]
    assert len(steps) >= 4


def test_guidance_is_the_lerp_of_two_predictions(pipeline: Text2LayerPipeline) -> None:
    """One step of DDIM from the same noise: the guided latent lies on the line through the two."""
    latents: dict[float, torch.Tensor] = {}
    decode = pipeline.codec.planes
    for guidance in (0.0, 1.0, 3.0):
        own = replace(pipeline)

        def keep(z: torch.Tensor, guidance: float = guidance) -> dict[str, torch.Tensor]:
            latents[guidance] = z
            return decode(z)

        own.codec = type("Kept", (), {"planes": staticmethod(keep), "form": "joint"})()  # pyright: ignore
        own.codec.latent_channels, own.codec.factor = 4, 4  # pyright: ignore
        own("red ball", seeded(0), 1, guidance)
    expected = latents[0.0] + 3 * (latents[1.0] - latents[0.0])
    torch.testing.assert_close(latents[3.0], expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("form", ["joint", "separate", "flat"])
def test_saved_and_loaded_it_makes_the_same(world: Path, tmp_path: Path, form: str) -> None:
    pipeline = a_pipeline(world, form)
    pipeline.save_pretrained(tmp_path / form, world / "text")
    again = Text2LayerPipeline.from_pretrained(tmp_path / form)
    assert again.defaults == pipeline.defaults
    made, loaded = (one("red ball", seeded(7)) for one in (pipeline, again))
    assert set(made) == set(loaded)
    for name, plane in made.items():
        assert torch.equal(plane, loaded[name])


def test_broken_folders_say_what_is_wrong(world: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        Text2LayerPipeline.from_pretrained(tmp_path)
    a_pipeline(world, "flat").save_pretrained(tmp_path / "flat", world / "text")
    index = tmp_path / "flat" / "model_index.json"
    index.write_text(index.read_text().replace('"flat"', '"separate"'))
    with pytest.raises(ValueError, match="the UNet reads 4 channels"):
        Text2LayerPipeline.from_pretrained(tmp_path / "flat")
    index.write_text(index.read_text().replace("DDIMScheduler", "NoScheduler"))
    with pytest.raises(ValueError, match="'NoScheduler', which diffusers does not have"):
        Text2LayerPipeline.from_pretrained(tmp_path / "flat")


def test_sizes_and_generators_that_do_not_fit_are_refused(pipeline: Text2LayerPipeline) -> None:
    made = pipeline("red ball", seeded(0), size=(48, 32))
    assert made["background"].shape == (1, 4, 32, 48)
    with pytest.raises(ValueError, match="multiples of 8, got 36 x 32"):
        pipeline("red ball", seeded(0), size=(36, 32))
    with pytest.raises(ValueError, match="2 prompts need as many generators, got 3"):
        pipeline(["a", "b"], seeded(0, 1, 2))
    with pytest.raises(ValueError, match="at least 1 step"):
        pipeline("red ball", seeded(0), steps=0)


@pytest.mark.parametrize("size", [(SIZE, SIZE), (50, 20)])
def test_the_engine_makes_a_document_whose_layers_show_the_composite(
    pipeline: Text2LayerPipeline, size: tuple[int, int]
) -> None:
    document = Model(Text2LayerFamily(pipeline)).run(replace(SCENE, size=size))
    assert document.size == size
    assert [layer.role for layer in document.leaves()] == ["background", "foreground"]
    again = Model(Text2LayerFamily(pipeline)).run(replace(SCENE, size=size))
    np.testing.assert_array_equal(composite_u8(document), composite_u8(again))


def test_the_models_own_composite_is_that_of_its_layers(pipeline: Text2LayerPipeline) -> None:
    made = Text2LayerFamily(pipeline).make(SCENE)
    front, back = made.foregrounds[0], made.background
    assert back is not None
    assert made.composite is not None
    alpha = front[..., 3:]
    shown = alpha * front[..., :3] + (1 - alpha) * back[..., :3]
    np.testing.assert_allclose(shown, made.composite[..., :3], atol=5e-3)
    assert made.report["caption"] == "red ball"


def test_tasks_come_from_the_latents_and_captions_are_one_sentence(
    world: Path, pipeline: Text2LayerPipeline
) -> None:
    scene = Text2LayerFamily(pipeline)
    assert scene.tasks == {Task.of("-> foreground background composite")}
    flat = Text2LayerFamily(a_pipeline(world, "flat"))
    assert flat.tasks == {Task.of("-> composite")}
    picture = LayerRequest(composite=Plane(wanted=True, prompt="red ball"), size=(SIZE, SIZE))
    made = flat.make(picture)
    assert made.foregrounds == ()
    assert made.composite is not None
    words = replace(SCENE, background=Plane(wanted=True, prompt="a night"))
    assert scene.make(words).report["caption"] == "red ball in a night"


def test_progress_shows_the_composite(pipeline: Text2LayerPipeline) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def progress(step: int, total: int, preview: np.ndarray | None) -> None:
        assert preview is not None
        seen.append((step, total, preview.shape))

    Text2LayerFamily(pipeline).make(replace(SCENE, size=(40, 20)), progress)
    assert seen == [(i, 3, (20, 40, 4)) for i in (1, 2, 3)]


def test_what_it_does_not_take_is_said(pipeline: Text2LayerPipeline) -> None:
    family = Text2LayerFamily(pipeline)
    with pytest.raises(RequestError, match="frames=1"):
        family.make(replace(SCENE, frames=4))
    control = Control("foreground", "silhouette", np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(RequestError, match="no control"):
        family.make(replace(SCENE, controls=(control,)))
    begun = Plane(True, "", np.zeros((SIZE, SIZE, 4), np.uint8), strength=0.5)
    with pytest.raises(RequestError, match="start from nothing"):
        family.make(replace(SCENE, foregrounds=(begun,)))
    with pytest.raises(FileNotFoundError, match="ships no weights"):
        load("text2layer")
