"""Stable Diffusion 1.5 and SDXL with their real block layout at small widths, made from
configurations alone: same attention sites, embeddings and file formats, random weights."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

TEXT_WIDTH = 32
BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}


def seeded(make: Any, seed: int) -> Any:
    """`make()` with its random weights drawn from `seed`, the global generator left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = make()
    return made.eval().requires_grad_(False) if isinstance(made, torch.nn.Module) else made


def small_sd15_unet(seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    """SD1.5's blocks: 32 attentions, transformers in all but the last down block."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16, 16),
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
        "attention_head_dim": 2,  # heads, as in the published configuration
    }
    return seeded(lambda: UNet2DConditionModel(**{**config, **changes}), seed)


def small_sdxl_unet(seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    """SDXL's blocks: none, two and ten transformers deep in the release, two at most here."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "cross_attention_dim": 20,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 32,
    }
    return seeded(lambda: UNet2DConditionModel(**{**config, **changes}), seed)


def tokenizer() -> CLIPTokenizer:
    """CLIP's byte tokenizer with no merges: one token a letter."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def vae(scaling_factor: float, seed: int = 1, **changes: Any) -> AutoencoderKL:
    """An eightfold autoencoder with the four levels of the published one."""
    config: dict[str, Any] = {
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
        "scaling_factor": scaling_factor,
    }
    return seeded(lambda: AutoencoderKL(**{**config, **changes}), seed)


def sd15(seed: int = 0) -> dict[str, Any]:
    """Every component of a small Stable Diffusion 1.5."""
    return {
        "vae": vae(0.18215, seed + 1),
        "text_encoder": seeded(lambda: CLIPTextModel(text_config()), seed + 2),
        "tokenizer": tokenizer(),
        "unet": small_sd15_unet(seed + 3, cross_attention_dim=TEXT_WIDTH),
        "scheduler": DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False),
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
    }


def sdxl(seed: int = 0) -> dict[str, Any]:
    """Every component of a small SDXL."""
    with_projection = CLIPTextModelWithProjection
    return {
        "vae": vae(0.13025, seed + 1),
        "text_encoder": seeded(lambda: CLIPTextModel(text_config()), seed + 2),
        "text_encoder_2": seeded(lambda: with_projection(text_config()), seed + 4),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "unet": small_sdxl_unet(
            seed + 3,
            cross_attention_dim=2 * TEXT_WIDTH,
            projection_class_embeddings_input_dim=6 * 4 + TEXT_WIDTH,
        ),
        "scheduler": EulerDiscreteScheduler(**BETAS),
        "image_encoder": None,
        "feature_extractor": None,
    }


def controlnet(unet: UNet2DConditionModel, seed: int = 5) -> ControlNetModel:
    """A ControlNet for `unet` whose zero convolutions are no longer zero."""

    def make() -> ControlNetModel:
        net = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        heads = [*net.controlnet_down_blocks, net.controlnet_mid_block]
        for conv in (*heads, net.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(conv.weight, std=0.2)
        return net

    return seeded(make, seed)


def image_encoder(seed: int = 6) -> CLIPVisionModelWithProjection:
    """The picture side of an IP-Adapter."""
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    return seeded(lambda: CLIPVisionModelWithProjection(config), seed)


def ip_adapter(unet: UNet2DConditionModel, tokens: int = 4, seed: int = 7) -> dict[str, Any]:
    """The state dictionary of a plain IP-Adapter for `unet`, in the published layout."""
    generator = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    width = int(unet.config["cross_attention_dim"])
    adapter: dict[str, torch.Tensor] = {}
    sites = [name for name in unet.attn_processors if ".attn2." in name]
    index = 1
    for name in sites:
        attention = unet.get_submodule(name.removesuffix(".processor"))
        inner = attention.to_k.weight.shape[0]
        for part in ("k", "v"):
            adapter[f"{index}.to_{part}_ip.weight"] = weight(inner, width)
        index += 2
    return {
        "image_proj": {
            "proj.weight": weight(tokens * width, 32),
            "proj.bias": weight(tokens * width),
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        },
        "ip_adapter": adapter,
    }
