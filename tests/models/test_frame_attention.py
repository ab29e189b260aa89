"""Frame layers: nothing for stills and for frames that are alike, each sample's own adapters, and
attention over the frames as written out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multiplane.core.config import to_table
from multiplane.models.frame_attention import FrameAttention, FrameLayers, FrameLayersConfig
from multiplane.models.layered_transformer import (
    LayeredTransformer,
    LayeredTransformerConfig,
    PlaneLayout,
)
from multiplane.models.lora import LoRAConfig, add_lora, lora_state, remove_lora, set_gate
from multiplane.models.rotary import rotate
from multiplane.models.weights_io import load_network, save_network

CONFIG = LayeredTransformerConfig(
    channels=6, grid=2, width=32, depth=3, head_channels=16, rotary_split=(1, 2, 2, 3)
)
FRAMES = 4
LAYOUT = PlaneLayout.of(["foreground", "background"], FRAMES)


def shaken(module: torch.nn.Module, seed: int = 0, size: float = 0.3) -> None:
    """Weights past their zero start, so that every path counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)


def a_network(moving: bool = True) -> LayeredTransformer:
    torch.manual_seed(0)
    network = LayeredTransformer(CONFIG)
    shaken(network)
    if moving:
        shaken(network.add_frames())
    return network.eval()


def a_clip(batch: int = 2, frames: int = FRAMES) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    text = torch.randn(batch, 2, 16, 384, generator=g)
    given = torch.zeros(batch, 2, frames, 2, 2, dtype=torch.bool)
    given[:, 1, 0] = True
    return {
        "noisy": torch.randn(batch, 2, frames, 6, 2, 2, generator=g),
        "t": torch.linspace(0.3, 0.6, batch),
        "text": text,
        "has_text": torch.ones(batch, 2, 16, dtype=torch.bool),
        "given": given,
        "clean_time": torch.linspace(0.8, 0.95, batch),
    }


@torch.no_grad()
def frame_by_frame(network: LayeredTransformer, clip: dict[str, Tensor]) -> Tensor:
    made = [
        network(
            **{
                **clip,
                "noisy": clip["noisy"][:, :, i : i + 1],
                "given": clip["given"][:, :, i : i + 1],
            },
            layout=replace(LAYOUT, frames=1),
        )
        for i in range(FRAMES)
    ]
    return torch.cat(made, dim=2)


@torch.no_grad()
def test_a_still_passes_them_by_to_the_bit() -> None:
    clip, still = a_clip(frames=1), replace(LAYOUT, frames=1)
    assert torch.equal(a_network()(**clip, layout=still), a_network(False)(**clip, layout=still))


@torch.no_grad()
def test_new_ones_leave_every_frame_a_still_and_trained_ones_do_not() -> None:
    network, clip = a_network(False), a_clip()
    alone = frame_by_frame(network, clip)
    network.add_frames()
    assert torch.allclose(network(**clip, layout=LAYOUT), alone, atol=1e-5)
    shaken(network)
    assert not torch.allclose(network(**clip, layout=LAYOUT), alone, atol=1e-2)


@torch.no_grad()
def test_frames_apart_are_told_from_frames_beside_each_other() -> None:
    network, clip = a_network(), a_clip()
    near, far = (network(**clip, layout=replace(LAYOUT, stride=stride)) for stride in (1, 3))
    assert not torch.allclose(near, far, atol=1e-3)


def test_a_network_with_them_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    network = a_network()
    save_network(network, tmp_path, to_table(network.config))
    loaded = load_network(LayeredTransformer, LayeredTransformerConfig, tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**a_clip(), layout=LAYOUT), network(**a_clip(), layout=LAYOUT))


@torch.no_grad()
def test_frames_that_are_alike_stay_stills() -> None:
    network, clip = a_network(), a_clip()
    clip["noisy"] = clip["noisy"][:, :, :1].expand_as(clip["noisy"])
    clip["given"] = clip["given"][:, :, :1].expand_as(clip["given"])
    assert torch.allclose(network(**clip, layout=LAYOUT), frame_by_frame(network, clip), atol=1e-5)


@torch.no_grad()
def test_a_layer_is_attention_over_the_frames_less_what_each_says_itself() -> None:
    """Oracle: the formula, token by token and head by head."""
    config = FrameLayersConfig(width=8, layers=1, head_channels=4, max_frequency=5.0)
    layers = FrameLayers(config)
    shaken(layers)
    layer = layers.layers[0]
    assert isinstance(layer, FrameAttention)
    g = torch.Generator().manual_seed(2)
    x, modulation = (torch.randn(1, *shape, generator=g) for shape in ((3, 2, 8), (2, 8)))
    angles = layers.angles(3, 2, x.device)
    # two channel pairs of frequency 1 and 5 radians for four frames; frames 2 apart
    expected_angles = torch.tensor([[0.0, 0.0], [0.5, 2.5], [1.0, 5.0]])
    assert torch.allclose(angles, expected_angles)
    made = layer(x, modulation, angles.cos(), angles.sin())
    scale, shift = (modulation[0] + layer.modulation).unbind(0)
    for token in range(2):
        own = x[0, :, token]
        size = own.square().mean(dim=-1, keepdim=True).sqrt()
        q, k, v = layer.qkv(own / size * (1 + scale) + shift).unflatten(-1, (3, 2, 4)).unbind(1)
        for frame in range(3):
            said = []
            for head in range(2):
                turned = [
                    rotate(norm(part[:, head]), angles.cos(), angles.sin())
                    for norm, part in ((layer.query_norm, q), (layer.key_norm, k))
                ]
                weight = (turned[0][frame] @ turned[1].T / 2).softmax(dim=-1)
                said.append(weight @ v[:, head] - v[frame, head])
            wanted = own[frame] + size[frame] * layer.out(torch.cat(said))
            assert torch.allclose(made[0, frame, token], wanted, atol=1e-5)


@torch.no_grad()
def test_even_attention_to_all_makes_frames_of_one_size_their_mean() -> None:
    config = FrameLayersConfig(width=8, layers=1, head_channels=4)
    layer = FrameAttention(config)
    layer.qkv.weight.zero_()
    layer.qkv.weight[16:] = torch.eye(8)
    layer.out.weight.copy_(torch.eye(8))
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(3))
    x = x / x.square().mean(dim=-1, keepdim=True).sqrt()
    made = layer(x, torch.zeros(2, 2, 8), torch.ones(5, 2), torch.zeros(5, 2))
    assert torch.allclose(made, x.mean(dim=1, keepdim=True).expand_as(x), atol=1e-5)


@torch.no_grad()
def test_an_adapter_is_gated_in_all_frames_of_its_sample_and_leaves_no_trace() -> None:
    network, clip = a_network(), a_clip()
    plain, keys = network(**clip, layout=LAYOUT), list(network.state_dict())
    add_lora(network, "motion", LoRAConfig(2, 2.0, layers=("qkv", "frame_qkv", "frame_out")))
    for value in lora_state(network, "motion").values():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(4)) * 0.3)
    full = network(**clip, layout=LAYOUT)
    assert not torch.allclose(full, plain, atol=1e-2)
    set_gate(network, "motion", torch.tensor([0.0, 1.0]))
    gated = network(**clip, layout=LAYOUT)
    assert torch.allclose(gated[0], plain[0], atol=1e-5)
    assert torch.allclose(gated[1], full[1], atol=1e-4)
    remove_lora(network, "motion")
    assert torch.equal(network(**clip, layout=LAYOUT), plain)
    assert list(network.state_dict()) == keys


def test_what_does_not_fit_is_refused() -> None:
    network = a_network(False)
    keys = list(network.state_dict())
    with pytest.raises(ValueError, match=r"no frame layers; set frame_layers = true"):
        add_lora(network, "motion", LoRAConfig(2, layers=("qkv", "frame_qkv")))
    assert list(network.state_dict()) == keys
    with pytest.raises(ValueError, match="do not fit a network that needs"):
        network.add_frames(FrameLayers(FrameLayersConfig(width=32, layers=2, head_channels=16)))
    with pytest.raises(ValueError, match="must be a multiple"):
        FrameLayersConfig(width=30, head_channels=16)
