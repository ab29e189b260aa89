"""Attention sharing over a whole UNet, beside what else lives in its attentions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multiplane.models.attention_sharing import SharingConditions
from multiplane.models.attention_sharing_unet import (
    AttentionSharing,
    SharingProcessor,
    from_published_keys,
    shared_attentions,
)
from multiplane.models.control_signal import ControlSignalEncoder
from parity_rule import FOLDER
from small_diffusion import small_sd15_unet, small_sdxl_unet

FACTS = {  # published file: frames, control, tensors, parameters
    "layer_sd15_transparent_attn": (1, False, 640, 175_098_496),
    "layer_sd15_joint": (3, False, 1152, 277_138_048),
    "layer_sd15_fg2bg": (2, True, 1180, 281_425_568),
}
WIDTHS = (320, 640, 1280)


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def sharing_for(unet: Any, frames: int, control: bool = False, seed: int = 3) -> AttentionSharing:
    """Units at rank 4 with random weights."""
    sharing = AttentionSharing.for_unet(unet, frames, rank=4, control=control).eval()
    generator = torch.Generator().manual_seed(seed)
    for layer in sharing.layers:
        for value in layer.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return sharing


def run(unet: Any, batch: int = 3, seed: int = 5, **extra: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, 4, 8, 8, generator=generator)
    text = torch.randn(batch, 5, 12, generator=generator)
    return unet(sample, torch.tensor(500), text, **extra).sample


@pytest.mark.parametrize("name", FACTS)
def test_the_published_files_are_these_modules(name: str, sharing_tables: dict[str, Any]) -> None:
    frames, control, tensors, parameters = FACTS[name]
    with torch.device("meta"):
        unit_widths = [each for width in WIDTHS for each in (width,) * 4]
        unit_widths += [each for width in WIDTHS[::-1] for each in (width,) * 6] + [1280] * 2
        sharing = AttentionSharing(unit_widths, 768, frames, 256, control)
    published = {key: list(value.shape) for key, value in sharing.published_state().items()}
    assert len(published) == tensors
    assert sum(p.numel() for p in sharing.parameters()) == parameters
    assert published == sharing_tables[name]
    again = AttentionSharing.from_published(sharing.published_state())
    for name in ("widths", "context", "frames", "rank", "control"):
        assert again.config[name] == sharing.config[name]


@pytest.fixture
def sharing_tables() -> dict[str, Any]:
    return json.loads((FOLDER / "attention_sharing_keys.json").read_text(encoding="utf-8"))


def test_the_order_is_down_up_middle() -> None:
    unet = small_sd15_unet()
    names = {module: name for name, module in unet.named_modules()}
    order = [names[attention] for attention in shared_attentions(unet)]
    end = "transformer_blocks.0.attn"
    assert len(order) == 32
    assert order[:3] == [
        f"down_blocks.0.attentions.0.{end}1",
        f"down_blocks.0.attentions.0.{end}2",
        f"down_blocks.0.attentions.1.{end}1",
    ]
    assert order[12] == f"up_blocks.1.attentions.0.{end}1"
    assert order[29:] == [
        f"up_blocks.3.attentions.2.{end}2",
        f"mid_block.attentions.0.{end}1",
        f"mid_block.attentions.0.{end}2",
    ]


def test_on_and_off() -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 3)
    plain, processors = run(unet), dict(unet.attn_processors)
    with sharing.on(unet):
        assert sharing.is_on(unet)
        shared = run(unet)
        keys = set(unet.state_dict())
    assert keys == set(unet.state_dict())  # the units are no part of the UNet
    assert (shared - plain).abs().max() > 1e-2
    assert unet.attn_processors == processors
    assert torch.equal(run(unet), plain)


def test_an_untrained_sharing_changes_nothing() -> None:
    unet = small_sd15_unet()
    plain = run(unet)
    with AttentionSharing.for_unet(unet, 3, rank=4).on(unet):
        torch.testing.assert_close(run(unet), plain, atol=1e-6, rtol=1e-5)


def test_off_again_after_an_error() -> None:
    unet = small_sd15_unet()
    with pytest.raises(ValueError, match="multiple of 3"), sharing_for(unet, 3).on(unet):
        run(unet, batch=2)
    assert not any(isinstance(each, SharingProcessor) for each in unet.attn_processors.values())


@pytest.mark.parametrize("gradients", [False, True])
def test_slicing_works_inside(gradients: bool) -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 3)
    with sharing.on(unet):
        expected = run(unet)
    unet.set_attention_slice(1)
    with torch.set_grad_enabled(gradients), sharing.on(unet):
        torch.testing.assert_close(run(unet), expected, atol=2e-5, rtol=1e-4)


def test_a_lora_beside_it_is_the_lora_in_the_weights() -> None:
    from peft import LoraConfig

    unet, fused = small_sd15_unet(), small_sd15_unet()
    sharing = sharing_for(unet, 3)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    for each in (unet, fused):
        each.add_adapter(config)
        generator = torch.Generator().manual_seed(9)
        for name, value in each.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    with sharing.on(unet):
        beside = run(unet)
        unet.disable_adapters()
        without = run(unet)
        unet.enable_adapters()
        torch.testing.assert_close(run(unet), beside, atol=1e-6, rtol=1e-5)
    fused.fuse_lora()
    with sharing.on(fused):
        torch.testing.assert_close(run(fused), beside, atol=2e-5, rtol=1e-4)
    assert (beside - without).abs().max() > 1e-3


def ip_adapter_state(unet: Any, width: int = 6) -> dict[str, Any]:
    """An IP-Adapter file for `unet`: four image tokens."""
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    context = unet.config.cross_attention_dim
    crosses = [p for p in unet.attn_processors if "attn2" in p]
    keys: dict[str, Tensor] = {}
    for index, name in enumerate(crosses):
        channels = unet.get_submodule(name.removesuffix(".processor")).query_dim
        for kind in ("k", "v"):
            keys[f"{2 * index + 1}.to_{kind}_ip.weight"] = draw(channels, context)
    return {
        "image_proj": {
            "proj.weight": draw(4 * context, width),
            "proj.bias": draw(4 * context),
            "norm.weight": torch.ones(context),
            "norm.bias": torch.zeros(context),
        },
        "ip_adapter": keys,
    }


def test_an_ip_adapter_works_inside() -> None:
    unet = small_sd15_unet()
    plain_sharing, sharing = AttentionSharing.for_unet(unet, 3, rank=4), sharing_for(unet, 3)
    unet._load_ip_adapter_weights([ip_adapter_state(unet)])
    image = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(12))
    extra = {"added_cond_kwargs": {"image_embeds": [image]}}
    plain = run(unet, **extra)
    with plain_sharing.on(unet):  # an untrained sharing leaves the IP-Adapter as it is
        torch.testing.assert_close(run(unet, **extra), plain, atol=2e-6, rtol=1e-5)
    with sharing.on(unet):
        shared = run(unet, **extra)
        other = {"added_cond_kwargs": {"image_embeds": [-image]}}
        assert (run(unet, **other) - shared).abs().max() > 1e-4
        with torch.enable_grad():
            by_factors = run(unet, **extra)
    torch.testing.assert_close(shared, by_factors, atol=2e-5, rtol=1e-4)
    assert (shared - plain).abs().max() > 1e-2
    assert torch.equal(run(unet, **extra), plain)


def test_processors_it_cannot_work_around_are_named() -> None:
    from diffusers.models.attention_processor import PAGIdentitySelfAttnProcessor2_0

    unet = small_sd15_unet()
    sharing, before = sharing_for(unet, 3), dict(unet.attn_processors)
    unet.mid_block.attentions[0].transformer_blocks[0].attn1.set_processor(
        PAGIdentitySelfAttnProcessor2_0()
    )
    with pytest.raises(ValueError, match=r"PAGIdentitySelfAttn.*set_default_attn_processor"):
        sharing.install(unet)
    assert sum(a is b for a, b in zip(unet.attn_processors.values(), before.values(), strict=True))
    other = small_sd15_unet()
    with sharing.on(other), pytest.raises(ValueError, match="already on"):
        sharing_for(other, 3).install(other)


def test_another_unet_is_refused_with_what_fits() -> None:
    sharing = sharing_for(small_sd15_unet(), 3)
    with pytest.raises(ValueError, match=r"32 attentions .* text width 12; .* text width 14"):
        sharing.install(small_sd15_unet(cross_attention_dim=14))
    with pytest.raises(ValueError, match="for a UNet with 32 attentions"):
        sharing.install(small_sdxl_unet())


def test_control_follows_the_size_and_needs_its_picture() -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 2, control=True)
    assert isinstance(sharing.control_encoder, ControlSignalEncoder)
    signals = sharing.encode_condition(torch.randn(1, 3, 64, 64))
    with sharing.on(unet, SharingConditions(signals=signals)):
        one = run(unet, batch=2)
        with pytest.raises(ValueError, match="none for it"):
            unet(torch.zeros(2, 4, 16, 8), torch.tensor(1), torch.zeros(2, 5, 12))
    with sharing.on(
        unet, SharingConditions(signals=sharing.encode_condition(torch.ones(1, 3, 64, 64)))
    ):
        assert (run(unet, batch=2) - one).abs().max() > 1e-4
    with sharing.on(unet), pytest.raises(ValueError, match="condition picture"):
        run(unet, batch=2)
    with pytest.raises(ValueError, match="fg2bg or bg2fg"):
        sharing_for(unet, 3).encode_condition(torch.zeros(1, 3, 64, 64))


def test_the_mark_chooses_the_half_whose_text_is_overwritten() -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 2)
    generator = torch.Generator().manual_seed(1)
    sample, text = torch.randn(4, 4, 8, 8, generator=generator), torch.randn(4, 5, 12)
    own = torch.randn(1, 5, 12)
    told = SharingConditions(torch.tensor([0.0, 0, 1, 1]), (None, own))
    with sharing.on(unet, told):
        marked = unet(sample, torch.tensor(3), text).sample
    text[1] = own
    with sharing.on(unet):
        torch.testing.assert_close(
            unet(sample, torch.tensor(3), text).sample, marked, atol=1e-6, rtol=1e-5
        )


def test_save_and_load(tmp_path: Path) -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 2)
    sharing.save_pretrained(tmp_path)
    again = AttentionSharing.from_pretrained(tmp_path)
    assert dict(again.config)["widths"] == dict(sharing.config)["widths"]
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in sharing.state_dict().items())


def test_published_keys_round_trip_and_a_part_is_refused() -> None:
    with torch.device("meta"):
        sharing = AttentionSharing.for_unet(small_sd15_unet(), 2, rank=4, control=True)
    published = sharing.published_state()
    assert set(from_published_keys(published)) == set(sharing.state_dict())
    again = AttentionSharing.from_published(published)
    assert (again.frames, again.signals_needed) == (2, True)
    del published["hookers.layers.7.temporal_q.bias"]
    with pytest.raises(ValueError, match=r"layers.7.temporal_q.bias"):
        AttentionSharing.from_published(published)
    with pytest.raises(ValueError, match="lacks hookers"):
        AttentionSharing.from_published({"conv_in.weight": torch.zeros(1)})


def test_training_reaches_every_unit() -> None:
    unet = small_sd15_unet()
    sharing = sharing_for(unet, 3)
    with torch.enable_grad(), sharing.on(unet):
        run(unet).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in sharing.parameters())
    assert all(p.grad is None for p in unet.parameters())
