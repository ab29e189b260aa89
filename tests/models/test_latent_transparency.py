from __future__ import annotations

import json
from pathlib import Path

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


def small_decoder() -> TransparencyDecoder:
    network = TransparencyDecoder(
        block_channels=(16, 16, 32, 64), layers_per_block=1, attention_levels=1, latent_channels=16
    )
    fill(network)
    return network


def test_saved_and_loaded_they_are_the_same(tmp_path: Path) -> None:
    decoder = small_decoder()
    decoder.save_pretrained(tmp_path / "decoder")
    again = TransparencyDecoder.from_pretrained(tmp_path / "decoder")
    picture, latent = torch.rand(1, 3, 40, 24), torch.randn(1, 16, 5, 3)
    assert torch.equal(again(picture, latent), decoder(picture, latent))

    encoder = OffsetEncoder((8, 8, 8), 16, channel_order="rgba", offset_scale=100.0)
    fill(encoder)
    encoder.save_pretrained(tmp_path / "encoder")
    other = OffsetEncoder.from_pretrained(tmp_path / "encoder")
    feed = torch.rand(1, 4, 8, 8)
    assert torch.equal(other(feed), encoder(feed))
    assert (other.config["channel_order"], other.config["offset_scale"]) == ("rgba", 100.0)
    assert other.factor == 4


def test_a_small_network_has_few_parameters() -> None:
    assert sum(parameter.numel() for parameter in small_decoder().parameters()) < 2_000_000


def test_training_sees_what_inference_sees_and_every_tensor_learns() -> None:
    decoder = small_decoder()
    picture, latent = torch.rand(1, 3, 16, 16), torch.randn(1, 16, 2, 2)
    with torch.no_grad():
        expected = decoder(picture, latent)
    decoder.train().requires_grad_(True)
    found = decoder(picture, latent)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    found.square().mean().backward()
    still = [name for name, each in decoder.named_parameters() if not each.grad.abs().sum() > 0]
    # A bias on the keys moves all scores of a query alike, which the softmax takes out again.
    assert [name for name in still if not name.endswith("to_k.bias")] == []


def test_both_start_without_an_effect_on_the_latent() -> None:
    encoder, decoder = OffsetEncoder((4, 8)), small_decoder()
    assert not encoder(torch.rand(1, 4, 8, 8)).any()
    fresh = TransparencyDecoder(**decoder.config)
    picture = torch.rand(1, 3, 16, 16)
    results = [fresh(picture, torch.full((1, 16, 2, 2), value)) for value in (0.0, 5.0)]
    assert torch.equal(*results)


def test_what_does_not_fit_is_refused() -> None:
    decoder = small_decoder()
    with pytest.raises(ValueError, match="multiples of 8, got 20 x 16: pad the picture"):
        decoder(torch.rand(1, 3, 16, 20), torch.randn(1, 16, 2, 2))
    with pytest.raises(ValueError, match="24 x 16 goes with a latent of 3 x 2, got 2 x 2"):
        decoder(torch.rand(1, 3, 16, 24), torch.randn(1, 16, 2, 2))
    with pytest.raises(ValueError, match="latent_level must be 1 to 3 for 4 levels, got 4"):
        TransparencyDecoder(block_channels=(8, 8, 8, 8), attention_levels=1, latent_level=4)
    with pytest.raises(ValueError, match="channel_order must be one of argb, rgba, got 'bgra'"):
        OffsetEncoder(channel_order="bgra")  # pyright: ignore[reportArgumentType]
