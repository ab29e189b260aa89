"""Merging into a UNet, undoing it, and what does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import layerdiffuse_files as made
from multiplane.weights.layerdiffuse.files import LoadedWeights, load_weights
from multiplane.weights.layerdiffuse.merging import UNetMerge, check_fit, merge
from small_diffusion import small_sd15_unet, small_sdxl_unet

Load = Callable[..., LoadedWeights]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(name: str, tensors: dict[str, Tensor]) -> LoadedWeights:
        return load_weights(made.write(tmp_path, name, tensors))

    return write_and_load


def run(unet: Any, channels: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(1, channels, 8, 8, generator=generator)
    width = unet.config.cross_attention_dim
    text = torch.randn(1, 5, width, generator=generator)
    extra = {}
    if unet.config.addition_embed_type:
        extra["added_cond_kwargs"] = {
            "text_embeds": torch.randn(1, 8, generator=generator),
            "time_ids": torch.ones(1, 6),
        }
    with torch.no_grad():
        return unet(sample, torch.tensor(300), text, **extra).sample


def state(unet: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in unet.state_dict().items()}


def same(unet: Any, before: dict[str, Tensor]) -> bool:
    after = unet.state_dict()
    return set(after) == set(before) and all(
        torch.equal(value, before[name]) for name, value in after.items()
    )


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
def test_a_lora(load: Load, weight: float) -> None:
    unet = small_sdxl_unet()
    before = state(unet)
    merged = merge(unet, load("layer_xl_transparent_attn", made.forge_lora(unet)), weight)
    assert (merged.report.complete, merged.report.merged) == (True, len(made.lora_factors(unet)))
    factors = made.lora_factors(unet)
    for name, value in unet.state_dict().items():
        up, down = factors.get(name, (None, None))
        expected = before[name] if up is None else before[name] + weight * (up @ down)
        torch.testing.assert_close(value, expected)


def test_offsets_in_two_formats_are_one_merge(load: Load) -> None:
    outputs = []
    for name, make in (("a", made.forge_offsets), ("b", made.offsets)):
        unet = small_sdxl_unet()
        merge(unet, load(name, make(unet, "body")))
        outputs.append(run(unet))
    assert torch.equal(*outputs)


def test_new_input_channels_start_from_zero(load: Load) -> None:
    unet = small_sdxl_unet()
    tensors = made.offsets(unet, "convolutions", 12)
    before = state(unet)
    merged = merge(unet, load("layer_xl_fgble2bg", tensors), 0.5)
    first = unet.conv_in.weight
    torch.testing.assert_close(
        first[:, :4], before["conv_in.weight"] + 0.5 * tensors["conv_in.weight"][:, :4]
    )
    torch.testing.assert_close(first[:, 4:], 0.5 * tensors["conv_in.weight"][:, 4:])
    assert unet.config.in_channels == unet.conv_in.in_channels == 12
    assert run(unet, 12).shape == (1, 4, 8, 8)
    merged.remove()
    assert same(unet, before)
    assert unet.config.in_channels == unet.conv_in.in_channels == 4


def test_the_original_for_the_tail(load: Load) -> None:
    unet = small_sdxl_unet()
    plain, before = run(unet), state(unet)
    merged = merge(unet, load("layer_xl_fg2ble", made.forge_offsets(unet, "convolutions", 8)))
    changed = run(unet, 8)
    with merged.original():
        assert torch.equal(run(unet), plain)
        with merged.original():
            assert same(unet, before)
        assert same(unet, before)
    assert torch.equal(run(unet, 8), changed)
    touched = [before[name] for name in made.names_of(unet, "convolutions")]
    assert merged.bytes == sum(each.nbytes for each in touched)


def test_half_precision_comes_back_to_the_bit(load: Load) -> None:
    unet = small_sdxl_unet().half()
    before = state(unet)
    merged = merge(unet, load("a", made.offsets(unet, "body")))
    unet.float()  # what the caller does in between is respected
    merged.remove()
    assert all(torch.equal(value.half(), before[name]) for name, value in unet.state_dict().items())
    assert unet.conv_in.weight.dtype == torch.float32


def test_beside_a_loaded_lora(load: Load) -> None:
    from peft import LoraConfig

    unet, plain = small_sdxl_unet(), small_sdxl_unet()
    file = load("a", made.forge_lora(unet))
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "conv_in"]))
    assert merge(unet, file).report.complete
    merge(plain, file)
    torch.testing.assert_close(run(unet), run(plain))  # a new adapter adds nothing
    assert merge(unet, load("b", made.offsets(plain, "convolutions", 8))).report.complete
    assert unet.config.in_channels == 8


def test_too_much_and_too_little_is_said_and_not_fatal(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    unet = small_sdxl_unet()
    tensors = made.forge_lora(unet)
    dropped = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"
    for index in (0, 1):
        del tensors[f"{dropped}::lora::{index}"]
    tensors["diffusion_model.middle_block.1.transformer_blocks.7.norm1.bias::diff::0"] = (
        torch.zeros(16)
    )
    with caplog.at_level(logging.WARNING):
        report = merge(unet, load("layer_xl_transparent_attn", tensors)).report
    extra = "mid_block.attentions.0.transformer_blocks.7.norm1.bias"
    missing = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"
    assert (report.unknown, report.missing) == ((extra,), (missing,))
    assert extra in caplog.text
    assert missing in caplog.text


@pytest.mark.parametrize(("ours", "theirs"), [("sdxl", "sd15"), ("sd15", "sdxl")])
@pytest.mark.parametrize("content", ["attention", "convolutions"])
def test_another_base_is_refused_with_what_fits(
    load: Load, ours: str, theirs: str, content: str
) -> None:
    make = {"sdxl": small_sdxl_unet, "sd15": small_sd15_unet}
    unet, other = make[ours](), make[theirs]()
    tensors = (
        made.forge_lora(other) if content == "attention" else made.forge_offsets(other, content)
    )
    blocks = {"sdxl": "SDXL's blocks (3 blocks", "sd15": "SD1.5's blocks (4 blocks"}
    before = state(unet)
    with pytest.raises(ValueError, match=r"is for .*the UNet given is ") as caught:
        merge(unet, load("x", tensors))
    message = str(caught.value)
    there, here = message.split("; the UNet given is ")
    if content == "attention":
        assert blocks[theirs] in there
    assert blocks[ours] in here
    assert same(unet, before)


def test_real_sizes_name_the_real_models(tmp_path: Path) -> None:
    shapes = {"weight": (640, 2048)}
    key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    file = load_weights(made.write(tmp_path, "x", {key: torch.zeros(shapes["weight"])}))
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    expected = (
        r"x.safetensors is for SDXL \(3 blocks, cross-attention width 2048\); the UNet given is "
        r"SD1.5 \(4 blocks, cross-attention width 768\): "
    )
    with pytest.raises(ValueError, match=expected):
        check_fit(unet, file)


@pytest.mark.parametrize("weight", [-0.1, 2.1, float("nan")])
def test_the_weight_has_a_range(load: Load, weight: float) -> None:
    unet = small_sdxl_unet()
    with pytest.raises(ValueError, match=r"from 0.0 to 2.0"):
        merge(unet, load("x", made.forge_lora(unet)), weight)


def test_what_cannot_be_merged(load: Load) -> None:
    unet = small_sdxl_unet()
    file = load("x", made.forge_lora(unet))
    with pytest.raises(ValueError, match=r"meta device.*before the UNet is offloaded"):
        merge(unet.to("meta"), file)
    with pytest.raises(ValueError, match=r"AttentionSharing.from_published"):
        merge(small_sdxl_unet(), load("y", {"hookers.layers.0.temporal_n.bias": torch.zeros(1)}))


def test_merges_come_off_in_turn(load: Load) -> None:
    unet = small_sdxl_unet()
    before = state(unet)
    merges: list[UNetMerge] = [
        merge(unet, load("a", made.forge_lora(unet))),
        merge(unet, load("b", made.offsets(unet, "body"))),
    ]
    for each in reversed(merges):
        each.remove()
    assert same(unet, before)
