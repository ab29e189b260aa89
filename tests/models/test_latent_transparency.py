from __future__ import annotations

import json

import pytest
import torch

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from parity_rule import FOLDER, case, fill

NET = {"atol": 2e-5, "rtol": 0.0}


def published_shapes(name: str) -> dict[str, list[int]]:
    return json.loads((FOLDER / f"{name}_keys.json").read_text())


@pytest.fixture(scope="module")
def decoder() -> TransparencyDecoder:
    """The published size, its weights filled by the rule."""
    with torch.device("meta"):
        network = TransparencyDecoder()
    fill(network)
    return network


@pytest.mark.parity
def test_tensors_of_the_decoder_are_the_published_ones(decoder: TransparencyDecoder) -> None:
    state = decoder.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published_shapes("decoder")
    assert sum(value.numel() for value in state.values()) == 104_104_804


@pytest.mark.parity
def test_tensors_of_the_encoder_are_the_published_ones() -> None:
    state = OffsetEncoder().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published_shapes("encoder")
    assert sum(value.numel() for value in state.values()) == 1_181_764


@pytest.mark.parity
def test_decoder_and_each_of_its_stages(decoder: TransparencyDecoder) -> None:
    stored = case("decoder_forward_a64")
    stages = {"conv_in": decoder.conv_in, "latent_conv_in": decoder.latent_conv_in}
    stages |= {f"down{i}": block for i, block in enumerate(decoder.down_blocks)}
    stages |= {"mid": decoder.mid_block}
    stages |= {f"up{i}": block for i, block in enumerate(decoder.up_blocks)}
    seen = {}

    def record(name: str):
        def hook(_module, _inputs, output) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in stages.items()]
    result = decoder(stored["pixel"], stored["latent"])
    for hook in hooks:
        hook.remove()
    assert seen.keys() == stages.keys()
    for name, value in seen.items():
        assert (value - stored[f"stage.{name}"]).abs().max() <= 2e-5, name
    torch.testing.assert_close(result, stored["y"], **NET)


@pytest.mark.parity
def test_encoder() -> None:
    stored = case("encoder_a64")
    encoder = fill(OffsetEncoder())
    torch.testing.assert_close(encoder(stored["offset_feed"]), stored["offset"], **NET)
