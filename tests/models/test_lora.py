"""Adapters: what they add, gates by sample, taking them out, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from multiplane.models.layered_transformer import (
    LayeredTransformer,
    LayeredTransformerConfig,
    PlaneLayout,
)
from multiplane.models.lora import (
    AdaptedLinear,
    LoRAConfig,
    adapter_names,
    add_lora,
    load_lora,
    lora_state,
    remove_lora,
    save_lora,
    set_gate,
)

CONFIG = LayeredTransformerConfig(
    channels=6, grid=2, width=32, depth=3, head_channels=16, rotary_split=(1, 2, 2, 3)
)
LAYOUT = PlaneLayout(("foreground",), (1.0,))


def a_model() -> LayeredTransformer:
    torch.manual_seed(0)
    model = LayeredTransformer(CONFIG)
    for parameter in model.parameters():  # past the zero start, so that every path counts
        if parameter.ndim == 2 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def fill(model: LayeredTransformer, name: str, seed: int = 3) -> None:
    """Weights as if it had learned something."""
    generator = torch.Generator().manual_seed(seed)
    for value in lora_state(model, name).values():
        value.copy_(torch.randn(value.shape, generator=generator) * 0.2)


def answer(model: LayeredTransformer, batch: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    noisy = torch.randn(batch, 1, 1, 6, 2, 2, generator=g)
    text = torch.randn(batch, 1, 16, 384, generator=g)
    has_text = torch.ones(batch, 1, 16, dtype=torch.bool)
    given = torch.zeros(batch, 1, 1, 2, 2, dtype=torch.bool)
    with torch.no_grad():
        return model(noisy, torch.full((batch,), 0.4), text, has_text, given, LAYOUT)


def test_a_new_adapter_changes_nothing_and_a_removed_one_leaves_no_trace() -> None:
    model = a_model()
    before, keys = answer(model), list(model.state_dict())
    add_lora(model, "motion", LoRAConfig(rank=4))
    assert torch.equal(answer(model), before)
    fill(model, "motion")
    assert not torch.allclose(answer(model), before, atol=1e-3)
    remove_lora(model, "motion")
    assert torch.equal(answer(model), before)
    assert list(model.state_dict()) == keys


def test_it_adds_the_product_of_its_factors_to_the_weight() -> None:
    """Oracle: W + alpha / rank * B A written into the plain network, part by part."""
    model, merged = a_model(), a_model()
    parts_of = {"qkv": 3, "out": 1, "up": 2, "down": 1}
    add_lora(model, "content", LoRAConfig(rank=4, alpha=6.0, layers=tuple(parts_of)))
    fill(model, "content")
    state = lora_state(model, "content")
    with torch.no_grad():
        for index, block in enumerate(merged.blocks):
            for place, parts in parts_of.items():
                key = f"blocks.{index}.{place}"
                products = [
                    state[f"{key}.up.{i}.weight"] @ state[f"{key}.down.{i}.weight"]
                    for i in range(parts)
                ]
                getattr(block, place).weight += 6.0 / 4 * torch.cat(products)
    torch.testing.assert_close(answer(model), answer(merged), atol=1e-5, rtol=1e-4)


def test_a_gate_switches_samples_one_by_one() -> None:
    model = a_model()
    off = answer(model)
    add_lora(model, "motion", LoRAConfig(rank=4))
    fill(model, "motion")
    on = answer(model)
    set_gate(model, "motion", torch.tensor([0.0, 1.0, 0.0]))
    mixed = answer(model)
    torch.testing.assert_close(mixed[[0, 2]], off[[0, 2]])
    torch.testing.assert_close(mixed[1], on[1])
    set_gate(model, "motion", torch.ones(2))
    with pytest.raises(ValueError, match="is for 2 samples, the batch has 3"):
        answer(model)
    set_gate(model, "motion", torch.zeros(1))  # one number for every sample
    torch.testing.assert_close(answer(model), off)


def test_two_adapters_add_up_and_gate_apart() -> None:
    model = a_model()
    for name in ("motion", "content"):
        add_lora(model, name, LoRAConfig(rank=2))
        fill(model, name, seed=len(name))
    assert adapter_names(model) == ["motion", "content"]
    set_gate(model, "motion", torch.zeros(1))
    without = answer(model)
    remove_lora(model, "motion")
    torch.testing.assert_close(answer(model), without)
    assert adapter_names(model) == ["content"]


def test_no_gradient_reaches_an_adapter_at_gate_0() -> None:
    model = a_model()
    add_lora(model, "motion", LoRAConfig(rank=2))
    fill(model, "motion")
    layer = next(m for m in model.modules() if isinstance(m, AdaptedLinear))
    for gate, moved in ((0.0, False), (1.0, True)):
        set_gate(model, "motion", torch.tensor([gate]))
        layer(torch.ones(2, 3, 32)).sum().backward()
        gradients = [p.grad for p in layer.adapters.parameters() if p.grad is not None]
        assert any(bool(g.any()) for g in gradients) == moved
        layer.zero_grad()


def test_only_the_chosen_blocks_have_it() -> None:
    model = a_model()
    add_lora(model, "motion", LoRAConfig(rank=2, blocks=(2,)))
    assert {key.split(".")[1] for key in lora_state(model, "motion")} == {"2"}
    with pytest.raises(ValueError, match="no block 5"):
        add_lora(model, "other", LoRAConfig(blocks=(5,)))
    with pytest.raises(ValueError, match="already"):
        add_lora(model, "motion", LoRAConfig())
    with pytest.raises(KeyError, match="no adapter 'content'"):
        remove_lora(model, "content")
    with pytest.raises(ValueError, match="at least 1"):
        LoRAConfig(rank=0)
    with pytest.raises(ValueError, match="name some of qkv"):
        LoRAConfig(layers=())


def test_a_saved_adapter_comes_back_with_its_scale(tmp_path: Path) -> None:
    model, config = a_model(), LoRAConfig(rank=2, alpha=5.0, blocks=(0, 2))
    add_lora(model, "motion", config)
    fill(model, "motion")
    save_lora(model, "motion", config, tmp_path / "adapter")
    other = a_model()
    load_lora(other, "again", tmp_path / "adapter")
    assert torch.equal(answer(other), answer(model))
    assert adapter_names(other) == ["again"]


def test_an_adapter_of_another_network_is_refused(tmp_path: Path) -> None:
    model = a_model()
    add_lora(model, "motion", LoRAConfig(rank=2))
    save_lora(model, "motion", LoRAConfig(rank=3), tmp_path)
    other = a_model()
    before = answer(other)
    with pytest.raises(ValueError, match="another network"):
        load_lora(other, "motion", tmp_path)
    assert torch.equal(answer(other), before)
    with pytest.raises(FileNotFoundError, match="save_lora"):
        load_lora(other, "motion", tmp_path / "nowhere")
