"""Converted files, read by diffusers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import layerdiffuse_files as made
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.weights.layerdiffuse.converting import convert_weights
from multiplane.weights.layerdiffuse.files import load_weights
from multiplane.weights.layerdiffuse.merging import merge
from small_diffusion import small_sd15_unet, small_sdxl_unet


def run(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    sample, text = torch.randn(1, 4, 8, 8, generator=generator), torch.ones(1, 5, 20)
    extra = {"text_embeds": torch.ones(1, 8), "time_ids": torch.ones(1, 6)}
    with torch.no_grad():
        return unet(sample, torch.tensor(300), text, added_cond_kwargs=extra).sample


def sdxl_pipeline(unet: Any) -> Any:
    """diffusers' own SDXL pipeline around a tiny UNet; the other parts do not matter here."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        vae=None,  # type: ignore[arg-type]
        text_encoder=None,  # type: ignore[arg-type]
        text_encoder_2=None,  # type: ignore[arg-type]
        tokenizer=None,  # type: ignore[arg-type]
        tokenizer_2=None,  # type: ignore[arg-type]
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
    )


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_a_lora_is_loaded_by_diffusers(tmp_path: Path, alpha: float | None) -> None:
    merged, loaded = small_sdxl_unet(), small_sdxl_unet()
    plain = run(loaded)
    if alpha is None:
        tensors = made.forge_lora(merged)
    else:
        tensors = {"lora_unet_alpha_of_nothing": torch.zeros(1)}
        for name, (up, down) in made.lora_factors(merged).items():
            flat = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            tensors[f"{flat}.lora_up.weight"], tensors[f"{flat}.lora_down.weight"] = up, down
            tensors[f"{flat}.alpha"] = torch.tensor(alpha)
    source = made.write(tmp_path, "layer_xl_transparent_attn", tensors)
    done = convert_weights(source, tmp_path / "out" / "lora.safetensors")
    assert (len(done.notes), done.files) == (
        int(alpha is not None),
        (tmp_path / "out" / "lora.safetensors",),
    )
    merge(merged, load_weights(source))
    sdxl_pipeline(loaded).load_lora_weights(done.files[0])
    expected = run(merged)
    torch.testing.assert_close(run(loaded), expected, atol=1e-5, rtol=0)
    assert (expected - plain).abs().max() > 1e-2


def test_a_converted_lora_is_a_lora_again(tmp_path: Path) -> None:
    source = made.write(tmp_path, "a", made.forge_lora(small_sdxl_unet()))
    first = convert_weights(source, tmp_path / "b.safetensors").files[0]
    second = convert_weights(first, tmp_path / "c.safetensors").files[0]
    assert first.read_bytes() == second.read_bytes()


def test_offsets_stay_offsets_and_say_so(tmp_path: Path) -> None:
    unet = small_sdxl_unet()
    source = made.write(tmp_path, "a", made.forge_offsets(unet, "body", 12))
    done = convert_weights(source, tmp_path / "b.safetensors")
    assert "not a LoRA" in done.notes[0]
    written, expected = load_file(done.files[0]), made.offsets(unet, "body", 12)
    assert set(written) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in written.items())


def test_a_pickled_autoencoder_is_split(tmp_path: Path) -> None:
    stored = {
        "encoder.blocks.0.weight": torch.ones(2, 4, 3, 3),
        "decoder.latent_conv_in.weight": torch.ones(64, 16, 1, 1),
        "decoder.conv_in.weight": torch.ones(1),
        "sd_vae.encoder.conv_in.weight": torch.ones(1),
    }
    torch.save(stored, tmp_path / "TransparentVAE.pth")
    done = convert_weights(tmp_path / "TransparentVAE.pth", tmp_path / "flux.safetensors")
    assert [path.name for path in done.files] == [
        "flux_encoder.safetensors",
        "flux_decoder.safetensors",
    ]
    assert "sd_vae" in done.notes[0]
    assert set(load_file(done.files[0])) == {"blocks.0.weight"}
    assert set(load_file(done.files[1])) == {"latent_conv_in.weight", "conv_in.weight"}
    load_weights(done.files[0])


class Code:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"encoder.x": Code(mark)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="never run"):
        convert_weights(tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert not mark.exists()


def test_what_has_no_other_form(tmp_path: Path) -> None:
    sharing = AttentionSharing.for_unet(small_sd15_unet(), 1, rank=2)
    files = {
        "a": (sharing.published_state(), "attention sharing, which is no LoRA"),
        "b": ({"blocks.0.weight": torch.zeros(1)}, "transparency encoder"),
    }
    for name, (tensors, message) in files.items():
        with pytest.raises(ValueError, match=message):
            convert_weights(made.write(tmp_path, name, tensors), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"not as x\.psd"):
        convert_weights(tmp_path / "a.safetensors", tmp_path / "x.psd")
    with pytest.raises(FileNotFoundError, match="no file"):
        convert_weights(tmp_path / "none.safetensors", tmp_path / "x.safetensors")
    torch.save({"other": torch.zeros(1)}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"neither encoder\.\* nor decoder"):
        convert_weights(tmp_path / "c.pth", tmp_path / "x.safetensors")
    (tmp_path / "d.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="cannot be read"):
        convert_weights(tmp_path / "d.pth", tmp_path / "x.safetensors")
