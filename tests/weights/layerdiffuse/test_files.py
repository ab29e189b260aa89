"""Finding and recognising files of each published format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import layerdiffuse_files as made
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.weights.layerdiffuse.deltas import LowRankDelta, UNetDeltas
from multiplane.weights.layerdiffuse.files import (
    SharingTensors,
    TransparencyTensors,
    load_weights,
)
from small_diffusion import small_sd15_unet, small_sdxl_unet


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return small_sdxl_unet()


def deltas_of(path: Path) -> UNetDeltas:
    content = load_weights(path).content
    assert isinstance(content, UNetDeltas)
    return content


def full(content: UNetDeltas) -> dict[str, torch.Tensor]:
    return {name: each.full(torch.device("cpu")) for name, each in content.deltas.items()}


def test_forge_lora(sdxl: Any, tmp_path: Path) -> None:
    found = deltas_of(made.write(tmp_path, "a", made.forge_lora(sdxl)))
    assert (found.format, found.is_lora, found.content) == ("forge", True, "attention")
    expected = {name: up @ down for name, (up, down) in made.lora_factors(sdxl).items()}
    assert set(found.deltas) == set(expected)
    for name, delta in full(found).items():
        torch.testing.assert_close(delta, expected[name])


@pytest.mark.parametrize(("content", "channels"), [("body", 12), ("convolutions", 8)])
def test_forge_offsets(sdxl: Any, tmp_path: Path, content: Any, channels: int) -> None:
    tensors = made.forge_offsets(sdxl, content, channels)
    tensors["diffusion_model.input_blocks.4.0.nothing.weight::diff::0"] = torch.zeros(1)
    found = deltas_of(made.write(tmp_path, "a", tensors))
    assert (found.content, found.input_channels, found.is_lora) == (content, channels, False)
    assert found.unknown == ("diffusion_model.input_blocks.4.0.nothing.weight::diff::0",)
    expected = made.offsets(sdxl, content, channels)
    assert all(torch.equal(delta, expected[name]) for name, delta in full(found).items())


@pytest.mark.parametrize("prefix", ["", "unet."])
def test_offsets_with_diffusers_names(sdxl: Any, tmp_path: Path, prefix: str) -> None:
    expected = made.offsets(sdxl, "body")
    tensors = {f"{prefix}{name}": tensor for name, tensor in expected.items()}
    found = deltas_of(made.write(tmp_path, "a", tensors))
    assert (found.format, found.unknown) == ("offsets", ())
    assert all(torch.equal(delta, expected[name]) for name, delta in full(found).items())


def lora_keys(style: str, name: str, unet: Any) -> tuple[str, str, str | None]:
    """(up, down, alpha) keys of a tensor in one writer's style."""
    module = name.removesuffix(".weight")
    if style == "peft":
        return f"unet.{module}.lora_B.weight", f"unet.{module}.lora_A.weight", None
    if style == "peft adapter":
        start = f"base_model.model.{module}.lora_"
        return f"{start}B.default.weight", f"{start}A.default.weight", None
    if style == "diffusers":
        start = f"unet.{module}.lora."
        return f"{start}up.weight", f"{start}down.weight", None
    if style == "processors":
        place, _, kind = module.removesuffix(".0").rpartition(".")
        start = f"unet.{place}.processor.{kind}_lora."
        return f"{start}up.weight", f"{start}down.weight", None
    if style == "kohya ldm":
        module = made.ldm_name(unet, name).removeprefix("diffusion_model.").removesuffix(".weight")
    start = f"lora_unet_{module.replace('.', '_')}"
    return f"{start}.lora_up.weight", f"{start}.lora_down.weight", f"{start}.alpha"


STYLES = ("peft", "peft adapter", "diffusers", "processors", "kohya", "kohya ldm")


@pytest.mark.parametrize("style", STYLES)
def test_loras_of_every_writer(sdxl: Any, tmp_path: Path, style: str) -> None:
    tensors, scale = {}, 1.0
    factors = made.lora_factors(sdxl)
    for name, (up, down) in factors.items():
        up_key, down_key, alpha_key = lora_keys(style, name, sdxl)
        tensors[up_key], tensors[down_key] = up, down
        if alpha_key is not None:
            tensors[alpha_key], scale = torch.tensor(1.5), 1.5 / made.RANK
    tensors["text_encoder.text_model.final.lora_A.weight"] = torch.zeros(1, 1)
    found = deltas_of(made.write(tmp_path, "a", tensors))
    assert found.unknown == ("text_encoder.text_model.final.lora_A.weight",)
    assert found.is_lora
    assert set(found.deltas) == set(factors)
    for name, delta in full(found).items():
        torch.testing.assert_close(delta, scale * factors[name][0] @ factors[name][1])


def test_a_lora_of_a_convolution(tmp_path: Path) -> None:
    draw = made.draws()
    up, down = draw(8, 3, 1, 1), draw(3, 4, 3, 3)
    keys = {"unet.conv_in.lora_B.weight": up, "unet.conv_in.lora_A.weight": down}
    delta = full(deltas_of(made.write(tmp_path, "a", keys)))["conv_in.weight"]
    x = draw(1, 4, 5, 5)
    inner = torch.nn.functional.conv2d(x, down, padding=1)
    expected = torch.nn.functional.conv2d(inner, up)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, delta, padding=1), expected)


@pytest.mark.parametrize("place", ["beside", "header"])
def test_alpha_of_an_adapter(sdxl: Any, tmp_path: Path, place: str) -> None:
    factors = made.lora_factors(sdxl)
    name, (up, down) = next(iter(factors.items()))
    tensors = dict(zip(lora_keys("peft", name, sdxl)[:2], (up, down), strict=True))
    header = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 6})}
    save_file(tensors, tmp_path / "a.safetensors", header if place == "header" else None)
    if place == "beside":
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6}))
    found = deltas_of(tmp_path)
    torch.testing.assert_close(full(found)[name], 6 / made.RANK * up @ down)


def test_attention_sharing_and_the_autoencoder(tmp_path: Path) -> None:
    sharing = AttentionSharing.for_unet(small_sd15_unet(), 2, rank=2, control=True)
    path = made.write(tmp_path, "layer_sd15_fg2bg", sharing.published_state())
    found = load_weights(path)
    assert isinstance(found.content, SharingTensors)
    assert found.published is not None
    assert found.published.mode == "fg2bg"
    assert AttentionSharing.from_published(found.content.tensors).frames == 2
    for name, multiplier in (
        ("ld_diffusers_sdxl_vae_transparent_encoder", 300.0),
        ("vae_transparent_encoder", 1.0),
        ("my_encoder", None),
    ):
        encoder = load_weights(made.write(tmp_path, name, {"blocks.0.weight": torch.zeros(1)}))
        assert isinstance(encoder.content, TransparencyTensors)
        assert (encoder.content.part, encoder.content.multiplier) == ("encoder", multiplier)
    keys = {"conv_in.weight": torch.zeros(1), "latent_conv_in.weight": torch.zeros(1)}
    decoder = load_weights(made.write(tmp_path, "decoder", keys)).content
    assert isinstance(decoder, TransparencyTensors)
    assert decoder.part == "decoder"


def test_a_folder_holds_one_file(sdxl: Any, tmp_path: Path) -> None:
    made.write(tmp_path, "a", made.forge_lora(sdxl))
    assert load_weights(tmp_path).name == "a.safetensors"
    made.write(tmp_path, "b", {"blocks.0.weight": torch.zeros(1)})
    with pytest.raises(FileNotFoundError, match=r"exactly one .*a\.safetensors, b\.safetensors"):
        load_weights(tmp_path)


def test_a_hub_file_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str]] = []
    stored = made.write(tmp_path, "x", {"blocks.0.weight": torch.zeros(1)})

    def download(repository: str, filename: str, local_files_only: bool) -> str:
        asked.append((repository, filename))
        return str(stored)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    by_name = load_weights("layer_sd15_vae_transparent_encoder")
    by_path = load_weights("someone/mine/sub/own.safetensors")
    load_weights("lllyasviel/LayerDiffuse_Diffusers/ld_diffusers_sdxl_vae_transparent_encoder")
    assert asked == [
        ("LayerDiffusion/layerdiffusion-v1", "layer_sd15_vae_transparent_encoder.safetensors"),
        ("someone/mine", "sub/own.safetensors"),
        (
            "lllyasviel/LayerDiffuse_Diffusers",
            "ld_diffusers_sdxl_vae_transparent_encoder.safetensors",
        ),
    ]
    assert isinstance(by_name.content, TransparencyTensors)
    assert by_name.content.multiplier == 1.0
    assert by_path.published is None


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded.*name its path"):
        load_weights("layer_xl_transparent_attn")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LayerDiffusion/layerdiffusion-v1", "or one of layer_xl_transparent_attn, "),
        ("no_such_file", "name a .safetensors file"),
        ("./no/such/file.safetensors", "name a .safetensors file"),
    ],
)
def test_a_name_that_is_nothing(name: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        load_weights(name)


def test_what_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no LayerDiffuse file: its keys \(model.a"):
        load_weights(made.write(tmp_path, "a", {"model.a": torch.zeros(1)}))
    flux = {"transformer.blocks.0.attn.to_q.lora_A.weight": torch.zeros(1, 1)}
    with pytest.raises(ValueError, match="diffusion transformer"):
        load_weights(made.write(tmp_path, "b", flux))
    (tmp_path / "c.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError, match="cannot be read"):
        load_weights(tmp_path / "c.safetensors")
    (tmp_path / "d.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match="multiplane convert"):
        load_weights(tmp_path / "d.pth")


def test_halves_of_a_pair_are_reported(sdxl: Any, tmp_path: Path) -> None:
    tensors = made.forge_lora(sdxl)
    lost = next(key for key in tensors if key.endswith("::1"))
    del tensors[lost]
    found = deltas_of(made.write(tmp_path, "a", tensors))
    assert found.unknown == (lost[:-1] + "0",)
    assert all(isinstance(each, LowRankDelta) for each in found.deltas.values())
