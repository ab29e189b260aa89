"""LayerFlow behind the engine: clips by `LayerRequest`, with converted and with saved weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import multiplane
import small_layerflow as small
from multiplane.core.clip import LayerClip
from multiplane.core.composite import composite_u8
from multiplane.core.family import ClipFamily
from multiplane.core.request import RequestError, tasks_of
from multiplane.engine.entries import families
from multiplane.engine.model import Model
from multiplane.models.layer_embedding import LayerEmbedding
from multiplane.pipelines.layerflow import LayerFlowPipeline
from multiplane.pipelines.layerflow.family import LayerFlowFamily
from multiplane.weights.layerflow.converting import convert_checkpoint
from multiplane.weights.layerflow.fit import PublishedShape
from multiplane.weights.layerflow.released import FILE
from published_layerflow import PublishedLayerFlow
from small_diffusion import seeded

ALL = "; ".join(map(str, families()["layerflow"].tasks))
SIZE = (16, 16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of weights for every task, as training would save it."""
    folder = tmp_path_factory.mktemp("layerflow")
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH, kind="table"), 3)
    parts = {**small.base(), "layer_embedding": embedding}
    LayerFlowPipeline(**parts, clip_frames=8, clip_tasks=ALL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return multiplane.load("layerflow", weights)


def picture(seed: int, channels: int = 3, frames: int = 8) -> np.ndarray:
    """(frames, 16, 16, 4) uint8; opaque unless 4 channels are asked for."""
    clip = np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 4), dtype=np.uint8)
    if channels == 3:
        clip[..., 3] = 255
    return clip


def frames_of(clip: LayerClip, name: str) -> np.ndarray:
    return np.stack(
        [next(layer for layer in doc.leaves() if layer.role == name).pixels for doc in clip]
    )


def shown(clip: LayerClip) -> np.ndarray:
    return np.stack([composite_u8(document) for document in clip])


def test_it_says_what_it_can_do(model: Model) -> None:
    assert isinstance(model.family, ClipFamily)
    assert model.tasks == families()["layerflow"].tasks
    assert families()["layerflow"].clips
    assert (model.family.fps, model.family.max_frames) == (Fraction(8), 8)
    assert model.family.native_size == (32, 32)


def test_a_layered_clip_from_words(model: Model) -> None:
    clip = model.generate("a red fox", "snow forest", frames=8, size=SIZE, steps=2, seed=3)
    assert isinstance(clip, LayerClip)
    assert (len(clip), clip.size, clip.fps) == (8, SIZE, 8)
    assert clip.names[0] != clip.names[1]
    again = model.generate("a red fox", "snow forest", frames=8, size=SIZE, steps=2, seed=3)
    other = model.generate("a red fox", "snow forest", frames=8, size=SIZE, steps=2, seed=4)
    assert np.array_equal(shown(clip), shown(again))
    assert not np.array_equal(shown(clip), shown(other))
    report = clip.provenance.report["family"]
    assert report["weights"] == model.family.version
    assert report["alpha"] == "a clip of its own"


def test_a_clip_taken_apart_adds_up_to_itself(model: Model) -> None:
    whole = picture(1)
    clip = model.generate("fox", composite=whole, frames=8, steps=2, seed=3)
    assert isinstance(clip, LayerClip)
    assert np.abs(shown(clip).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("given", ["foreground", "background"])
def test_a_given_plane_stays_and_the_others_are_made_for_it(model: Model, given: str) -> None:
    planes = {
        "foreground": picture(2, channels=4) if given == "foreground" else "a red fox",
        "background": picture(2) if given == "background" else "snow forest",
    }
    clip = model.generate(**planes, frames=8, steps=2, seed=3)
    assert isinstance(clip, LayerClip)
    assert np.array_equal(frames_of(clip, given), planes[given])


def test_fewer_frames_are_the_first_of_a_whole_clip(model: Model) -> None:
    long = model.generate("a red fox", "snow", frames=8, size=SIZE, steps=1, seed=3)
    short = model.generate("a red fox", "snow", frames=3, size=SIZE, steps=1, seed=3)
    assert len(short) == 3
    assert np.array_equal(shown(short), shown(long)[:3])
    still = model.generate("a red fox", "snow", size=SIZE, steps=1, seed=3)
    assert np.array_equal(composite_u8(still), shown(long)[0])


def test_a_still_is_the_beginning_of_a_clip(model: Model) -> None:
    """Given for one frame of eight: that frame stays, the others are made after it."""
    still = picture(5, frames=1)
    clip = model.generate("a red fox", still[0], frames=8, steps=2, seed=3)
    background = frames_of(clip, "background")
    assert np.array_equal(background[0], still[0])
    assert not np.array_equal(background[7], still[0])


def test_progress_counts_the_steps(model: Model) -> None:
    seen = []
    model.generate(
        "fox", "snow", frames=8, size=SIZE, steps=3, progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 3, None), (2, 3, None), (3, 3, None)]


def test_what_it_cannot_do_is_said(model: Model) -> None:
    mask = np.full((16, 16), 255, np.uint8)
    mask[:8] = 0
    for settings, said in (
        ({"frames": 9}, "at most 8 frames"),
        ({"options": {"shift": 3.0}}, "unknown key 'shift'"),
        ({"silhouette": mask}, "has no controls"),
    ):
        with pytest.raises(RequestError, match=said):
            model.generate("fox", "snow", size=SIZE, steps=1, **settings)
    with pytest.raises(RequestError, match="takes whole frames"):
        model.generate("fox", picture(1, frames=1)[0], mask=mask, steps=1)
    with pytest.raises(RequestError, match="takes whole frames"):
        model.generate("fox", picture(1, frames=1)[0], strength=0.5, steps=1)
    with pytest.raises(RequestError, match="cannot do"):
        model.generate("fox", steps=1)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CogVideoX folder, and beside it two published checkpoints converted, one of them lacking a
    tensor, with the configuration that names them."""
    root = tmp_path_factory.mktemp("converted")
    small.save_base(root / "base")
    shape = PublishedShape(rows=2, columns=2, prompt_tokens=small.TOKENS)
    for release, prompts, latents in (
        ("multi-layer-generation-rgb", 3, 13),
        ("multi-layer-decomposition-rgba", 2, 16),
    ):
        network = seeded(
            lambda prompts=prompts, latents=latents: PublishedLayerFlow(
                blocks=6,
                text_width=small.TEXT_WIDTH,
                prompts=prompts,
                tokens=small.TOKENS,
                latents=latents,
                rows=2,
                columns=2,
            ),
            prompts,
        )
        checkpoint = network.checkpoint()
        if prompts == 2:
            del checkpoint["module"]["model.diffusion_model.time_embed.2.bias"]
        source = root / "published" / release / FILE
        source.parent.mkdir(parents=True)
        torch.save(checkpoint, source)
        convert_checkpoint(source, root / release, shape=shape)
    (root / "layerflow.toml").write_text(
        'base = "base"\n'
        'weights = ["multi-layer-generation-rgb", "multi-layer-decomposition-rgba"]\n'
        'scheduler = "CogVideoXDPMScheduler"\nsteps = 2\n'
    )
    return root


def test_converted_weights_answer_their_tasks(converted: Path) -> None:
    model = multiplane.load("layerflow", converted)
    assert model.tasks == tasks_of(
        "-> foreground background composite", "composite -> foreground background"
    )
    clip = model.generate("a red fox", "snow forest", frames=16, size=SIZE, seed=1)
    report = clip.provenance.report["family"]
    assert report["alpha"] == "from two backgrounds"
    assert (report["scheduler"], report["clips_joined"]) == ("CogVideoXDPMScheduler", True)
    assert report["weights"] == "multi-layer-generation-rgb"
    family = model.family
    assert isinstance(family, LayerFlowFamily)
    encoder = family.pipeline.text_encoder
    apart = model.generate("fox", composite=picture(1, frames=16), frames=16, seed=1)
    assert apart.provenance.report["family"]["weights"] == "multi-layer-decomposition-rgba"
    assert family.pipeline.text_encoder is encoder  # shared, not loaded again
    # What the checkpoint lacked is the base's.
    own = family.pipeline.transformer.time_embedding.linear_2.bias
    assert torch.equal(own, small.transformer().time_embedding.linear_2.bias)
    assert family.pipeline.transformer.active_adapters() == ["content"]
    with pytest.raises(RequestError, match="cannot do"):
        model.generate(picture(2, 4, frames=16), "snow", frames=16)


def test_folders_and_configurations_that_are_none(tmp_path: Path, converted: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no licence"):
        multiplane.load("layerflow")
    with pytest.raises(FileNotFoundError, match="holds no weights of layerflow"):
        multiplane.load("layerflow", tmp_path)
    toml = tmp_path / "other.toml"
    folder = converted / "multi-layer-generation-rgb"
    toml.write_text(f'base = "nowhere/at-all"\nweights = ["{folder}"]\n')
    model = multiplane.load("layerflow", toml)
    with pytest.raises(FileNotFoundError, match="name its folder as `base`"):
        model.generate("fox", "snow", frames=8, size=SIZE, steps=1)
    for text, said in (
        ("weights = []", "names no folder"),
        (f'weights = ["{folder}"]\njoined = "maybe"', "joined must be"),
        (f'weights = ["{folder}"]\nmotion = 2', "motion must be"),
        (f'weights = ["{folder}"]\nlayers = 2', "unknown key 'layers'"),
    ):
        toml.write_text(text)
        with pytest.raises(ValueError, match=said):
            multiplane.load("layerflow", toml)
    plain = tmp_path / "plain"
    LayerFlowPipeline(**small.base()).save_pretrained(plain)
    with pytest.raises(ValueError, match="clip_tasks"):
        multiplane.load("layerflow", plain)
