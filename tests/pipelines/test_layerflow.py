"""The LayerFlow pipeline on a tiny CogVideoX: every task, both variants, its conventions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import CogVideoXDPMScheduler
from torch import Tensor

import small_layerflow as small
from multiplane.models.layer_embedding import LayerEmbedding
from multiplane.models.subclips import SubclipLayout
from multiplane.pipelines.layerflow import LayerFlowPipeline
from multiplane.pipelines.layerflow.adapters import add_adapter, use_adapters
from small_diffusion import seeded

PROMPTS = {"foreground": "a red fox", "background": "snow forest", "composite": "a fox, snow"}
TASKS = ((), ("composite",), ("foreground",), ("background",))


@cache
def components() -> dict[str, Any]:
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH), 3)
    return {**small.base(), "layer_embedding": embedding}


def pipeline(**changes: Any) -> LayerFlowPipeline:
    made = LayerFlowPipeline(**{**components(), "clip_frames": 8, **changes})
    made.set_progress_bar_config(disable=True)
    return made


def given(*planes: str, frames: int = 8, size: int = 16) -> dict[str, Tensor]:
    """Clips (frames, 4, size, size): a soft foreground, an opaque rest."""
    made = {}
    for at, plane in enumerate(planes):
        clip = torch.rand(frames, 4, size, size, generator=small.generator(at))
        if plane != "foreground":
            clip[:, 3] = 1
        made[plane] = clip
    return made


def call(pipe: LayerFlowPipeline, planes: Any = None, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "plane_prompts": PROMPTS,
        "num_inference_steps": 2,
        "generator": small.generator(7),
        "output_type": "latent",
        "height": 16,
        "width": 16,
    }
    return pipe(planes=planes, **{**options, **changes}).planes


class Spy:
    """Everything the transformer was asked, while it answers as always."""

    def __init__(self, transformer: Any) -> None:
        self.calls: list[dict[str, Any]] = []
        self.transformer = transformer

    def __enter__(self) -> Spy:
        self.hook = self.transformer.register_forward_pre_hook(
            lambda module, args, options: self.calls.append(
                {k: v.clone() if isinstance(v, Tensor) else v for k, v in options.items()}
            ),
            with_kwargs=True,
        )
        return self

    def __exit__(self, *reason: object) -> None:
        self.hook.remove()


@pytest.mark.parametrize("variant", ["rgb", "rgba"])
@pytest.mark.parametrize("planes", TASKS)
def test_every_task_makes_what_is_not_given(variant: str, planes: tuple[str, ...]) -> None:
    pipe = pipeline(clip_variant=variant, clip_lead=variant == "rgba" and len(planes) == 1)
    out = call(pipe, given(*planes), output_type="np")
    assert set(out) == {"foreground", "background", "composite"} - set(planes)
    for plane, clip in out.items():
        assert clip.shape == (1, 8, 16, 16, 4)
        assert clip.dtype == np.float32
        assert clip.min() >= 0
        assert clip.max() <= 1
        assert (clip[..., 3] == 1).all() == (plane != "foreground")


@pytest.mark.parametrize("planes", TASKS)
def test_given_clips_stand_clean_in_every_step_and_both_branches(planes: tuple[str, ...]) -> None:
    """What the transformer sees at the given places is their latents at every time, one time for
    all tokens; what it says of them changes nothing."""
    pipe = pipeline(clip_lead=True)
    layout = SubclipLayout("rgba", 8, lead=True)
    clips = given(*planes)
    with Spy(pipe.transformer) as spy:
        call(pipe, clips)
    mask = layout.given_latents(planes)
    assert len(spy.calls) == 2
    first, second = (each["hidden_states"] for each in spy.calls)
    assert first.shape == (2, layout.latents, 4, 2, 2)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[:, mask], second[:, mask])
    assert not torch.equal(first[:, ~mask], second[:, ~mask])
    assert spy.calls[0]["timestep"].tolist() == [999, 999]
    if "background" in planes:
        video = clips["background"][None, :, :3].transpose(1, 2) * 2 - 1
        with torch.no_grad():
            latents = pipe.vae.encode(video).latent_dist.mode().transpose(1, 2) * 1.15258426
        assert torch.allclose(first[:1, mask], latents, atol=1e-5)


def test_the_text_is_each_prompt_with_its_index_and_zeros_where_there_is_none() -> None:
    pipe = pipeline()
    with Spy(pipe.transformer) as spy:
        call(pipe, plane_prompts={"foreground": "a red fox", "composite": "snow"})
    without, text = spy.calls[0]["encoder_hidden_states"]
    assert not without.any()
    tokens = small.TOKENS
    for at, words in enumerate(("0, a red fox", None, "2, snow")):
        part = text[at * tokens : (at + 1) * tokens]
        if words is None:
            assert not part.any()
            continue
        ids = pipe.tokenizer(words, padding="max_length", max_length=tokens, return_tensors="pt")
        with torch.no_grad():
            assert torch.equal(part, pipe.text_encoder(ids.input_ids)[0][0])
    with Spy(pipe.transformer) as spy:
        call(pipe, given("composite"))
    assert spy.calls[0]["encoder_hidden_states"].shape[1] == 2 * tokens


def test_the_index_embedding_has_a_part() -> None:
    with_it, without = call(pipeline()), call(pipeline(layer_embedding=None))
    assert (with_it["background"] - without["background"]).abs().max() > 1e-3


def test_guidance_is_constant_and_linear() -> None:
    """v = v0 + g (v1 - v0) with the same g at every step: one step of two runs tells."""
    pipe = pipeline()
    results = {scale: call(pipe, guidance_scale=scale)["composite"] for scale in (1.0, 3.0, 6.0)}
    one_step = {
        scale: call(pipe, guidance_scale=scale, num_inference_steps=1)["composite"]
        for scale in (2.0, 4.0, 6.0)
    }
    slope = (one_step[4.0] - one_step[2.0]) / 2
    assert torch.allclose(one_step[6.0], one_step[4.0] + 2 * slope, atol=1e-4)
    assert not torch.allclose(results[3.0], results[6.0])
    halves = call(pipe, sequential_guidance=True)["composite"]
    assert torch.allclose(halves, call(pipe)["composite"], atol=1e-5)


def test_same_seed_same_bytes_and_a_video_does_not_depend_on_its_batch() -> None:
    pipe = pipeline()
    one, two = call(pipe)["foreground"], call(pipe)["foreground"]
    assert torch.equal(one, two)
    assert not torch.equal(one, call(pipe, generator=small.generator(8))["foreground"])
    both = call(
        pipe,
        plane_prompts={"foreground": ["fox", "a red fox"]},
        generator=[small.generator(1), small.generator(7)],
    )["foreground"]
    alone = call(pipe, plane_prompts={"foreground": "a red fox"})["foreground"]
    assert both.shape[0] == 2
    assert torch.allclose(both[1:], alone, atol=1e-5)
    several = call(pipe, num_videos_per_prompt=2)["foreground"]
    assert several.shape[0] == 2
    embeds = {"prompt_embeds": small.noise(1, 24, 32), "negative_prompt_embeds": None}
    assert call(pipe, plane_prompts=None, **embeds)["foreground"].shape[0] == 1


def test_a_saved_pipeline_loads_the_same(tmp_path: Path) -> None:
    pipe = pipeline(clip_lead=True, clips_joined=True, clip_tasks="-> foreground")
    planes = given("foreground")
    before = call(pipe, planes)["background"]
    pipe.save_pretrained(tmp_path)
    again = LayerFlowPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert dict(again.config)["clip_tasks"] == "-> foreground"
    assert again.config["clips_joined"] is True
    assert torch.equal(call(again, planes)["background"], before)


def test_a_saved_pipeline_keeps_its_adapters(tmp_path: Path) -> None:
    pipe = pipeline(transformer=small.transformer())
    plain = call(pipe)["background"]
    module = "transformer_blocks.5.attn1.to_q"
    lora = {
        f"{module}.lora_A.weight": small.noise(4, small.WIDTH),
        f"{module}.lora_B.weight": small.noise(small.WIDTH, 4, seed=1),
    }
    add_adapter(pipe.transformer, "content", lora, alpha=1)
    use_adapters(pipe.transformer, {"content": 0.5})
    changed = call(pipe)["background"]
    assert not torch.equal(changed, plain)
    pipe.save_pretrained(tmp_path)
    again = LayerFlowPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(call(again)["background"], changed)
    again.transformer.disable_adapters()
    assert torch.equal(call(again)["background"], plain)


def test_callbacks_see_the_steps_and_may_change_them() -> None:
    pipe, seen = pipeline(), []

    def watch(own: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(time), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    planes = given("background")
    out = call(pipe, planes, callback_on_step_end=watch, num_inference_steps=2)
    assert [(step, time) for step, time, _ in seen] == [(0, 999), (1, 499)]
    assert not out["foreground"].any()

    def stop(own: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        own._interrupt = True
        seen.append(("stopped", step, None))
        return {}

    call(pipe, callback_on_step_end=stop, num_inference_steps=5)
    assert [each for each in seen if each[0] == "stopped"] == [("stopped", 0, None)]
    with pytest.raises(ValueError, match="cannot have noise"):
        call(pipe, callback_on_step_end_tensor_inputs=["noise"])


def test_the_second_order_solver_runs_and_keeps_given_clips() -> None:
    pipe = pipeline(scheduler=CogVideoXDPMScheduler.from_config(small.scheduler().config))
    planes = given("composite")
    with Spy(pipe.transformer) as spy:
        one = call(pipe, planes, num_inference_steps=3)["foreground"]
    mask = SubclipLayout("rgba", 8).given_latents(("composite",))
    states = [each["hidden_states"][:, mask] for each in spy.calls]
    assert torch.equal(states[0], states[2])
    assert torch.equal(one, call(pipe, planes, num_inference_steps=3)["foreground"])


def test_a_clip_with_fewer_frames_is_continued() -> None:
    """Its first latent is clean, and stays; the rest is made."""
    pipe = pipeline()
    still = given("background", frames=1)
    with Spy(pipe.transformer) as spy:
        out = call(pipe, still, output_type="pt")
    assert set(out) == {"foreground", "background", "composite"}
    first, second = (each["hidden_states"] for each in spy.calls)
    background = SubclipLayout("rgba", 8).span("background")
    assert torch.equal(first[:, background][:, :1], second[:, background][:, :1])
    assert not torch.equal(first[:, background][:, 1:], second[:, background][:, 1:])


def test_sizes_are_padded_and_cut_and_output_types_agree() -> None:
    pipe = pipeline()
    options = {"height": 20, "width": 27, "num_inference_steps": 1}
    exact = call(pipe, output_type="np", **options)["composite"]
    assert exact.shape == (1, 8, 20, 27, 4)
    levels = call(pipe, output_type="uint8", **options)["composite"]
    assert np.array_equal(levels, np.rint(exact * 255).astype(np.uint8))
    pictures = call(pipe, output_type="pil", **options)["composite"]
    assert [len(pictures), len(pictures[0]), pictures[0][0].size] == [1, 8, (27, 20)]
    assert np.array_equal(np.asarray(pictures[0][3]), levels[0, 3])
    assert pipe.own_size == (32, 32)


def test_what_does_not_fit_is_said() -> None:
    pipe = pipeline()
    for planes, changes, said in (
        (None, {"num_frames": 12}, "take 8 or 16"),
        (given("foreground", frames=9), {}, "has 9 frames and a clip has 8"),
        (given("foreground", "background", "composite"), {}, "nothing to make"),
        ({"matte": torch.zeros(8, 3, 16, 16)}, {}, "unknown planes matte"),
        ({"foreground": torch.zeros(8, 3, 16, 16)}, {}, "needs 4"),
        (None, {"output_type": "gif"}, "unknown output_type"),
        (None, {"latents": torch.zeros(1)}, "this call needs"),
        (None, {"generator": [small.generator()] * 3}, "3 generators for 1 videos"),
        (None, {"prompt_embeds": torch.zeros(1, 8, 32)}, "this needs"),
        (None, {"plane_prompts": {"foreground": ["a"], "background": ["a", "b"]}}, "one length"),
    ):
        with pytest.raises(ValueError, match=said):
            call(pipe, planes, **changes)
    with pytest.raises(ValueError, match="predict v"):
        call(pipeline(scheduler=small.scheduler(prediction_type="epsilon")))
    with pytest.raises(ValueError, match="CogVideoX-2B"):
        pipeline(transformer=small.transformer(use_rotary_positional_embeddings=True))
    with pytest.raises(ValueError, match="no text encoder"):
        call(pipeline(text_encoder=None, tokenizer=None))


def test_learned_positions_have_one_size() -> None:
    embedding = LayerEmbedding(small.WIDTH, kind="none", learned=(24, 8, 1, 1)).requires_grad_(
        False
    )
    pipe = pipeline(layer_embedding=embedding)
    assert call(pipe)["foreground"].shape == (1, 2, 4, 2, 2)
    with pytest.raises(ValueError, match="positions of 16 x 16 pixels"):
        call(pipe, height=32)


def test_tiling_and_slicing_give_clips_of_the_same_size() -> None:
    pipe = pipeline(vae=small.vae())
    pipe.vae.enable_slicing()
    pipe.vae.enable_tiling(32, 32, 0.25, 0.25)
    out = call(pipe, output_type="np", height=48, width=48, num_inference_steps=1)
    assert out["composite"].shape == (1, 8, 48, 48, 4)


def test_offloading_changes_nothing() -> None:
    """A component at a time, and a layer at a time, as diffusers and accelerate do it."""
    planes = given("background")
    expected = call(pipeline(), planes)["foreground"]
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH), 3)
    own = {**small.base(), "layer_embedding": embedding}
    by_component = pipeline(**own)
    by_component.enable_model_cpu_offload(device="cpu")
    assert torch.equal(call(by_component, planes)["foreground"], expected)
    own = {**small.base(), "layer_embedding": seeded(lambda: LayerEmbedding(small.WIDTH), 3)}
    by_layer = pipeline(**own)
    # As enable_sequential_cpu_offload does it for every part, which refuses to run on a CPU.
    for part in (by_layer.text_encoder, by_layer.layer_embedding, by_layer.transformer):
        cpu_offload(part, torch.device("cpu"))
    assert torch.equal(call(by_layer, planes)["foreground"], expected)
