"""CogVideoX with its real block layout at small widths, made from configurations alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from small_diffusion import seeded

TOKENS = 8  # of one prompt
TEXT_WIDTH = 32
CHANNELS = 4
WIDTH = 32  # two heads of 16
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "time_embed_dim": 8,
    "text_embed_dim": TEXT_WIDTH,
    "num_layers": 6,
    "sample_width": 4,
    "sample_height": 4,
    "max_text_seq_length": TOKENS,
}


def transformer(seed: int = 0, **changes: Any) -> CogVideoXTransformer3DModel:
    """Six blocks, as sixths of them matter; nothing in it is zero."""
    return seeded(lambda: CogVideoXTransformer3DModel(**{**TRANSFORMER, **changes}), seed)


def vae(seed: int = 1) -> AutoencoderKLCogVideoX:
    """Eightfold in space and fourfold in time, as the published one."""
    return seeded(
        lambda: AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            latent_channels=CHANNELS,
            layers_per_block=1,
            norm_num_groups=2,
            sample_height=32,
            sample_width=32,
            scaling_factor=1.15258426,
        ),
        seed,
    )


def scheduler(**changes: Any) -> CogVideoXDDIMScheduler:
    config: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "snr_shift_scale": 3.0,
        "rescale_betas_zero_snr": True,
        "set_alpha_to_one": True,
        "clip_sample": False,
    }
    return CogVideoXDDIMScheduler(**{**config, **changes})


def text_encoder(seed: int = 2) -> T5EncoderModel:
    config = T5Config(
        vocab_size=64,
        d_model=TEXT_WIDTH,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return seeded(lambda: T5EncoderModel(config), seed)


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, by a small list; padded with 0 and ended with 1 as T5's."""
    words = ["<pad>", "</s>", "<unk>", "0", "1", "2", ",", "a", "red", "fox", "snow", "forest"]
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()]
    )
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def base() -> dict[str, Any]:
    """The components of a CogVideoX folder."""
    return {
        "tokenizer": tokenizer(),
        "text_encoder": text_encoder(),
        "vae": vae(),
        "transformer": transformer(),
        "scheduler": scheduler(),
    }


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def save_base(folder: Path) -> Path:
    """A CogVideoX folder as the hub holds one, in `folder`."""
    from diffusers import CogVideoXPipeline

    CogVideoXPipeline(**base()).save_pretrained(folder)
    return folder
