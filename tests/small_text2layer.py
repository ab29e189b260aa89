"""Text2Layer's networks at a size a test can run, untrained."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from multiplane.models.cat2i_autoencoder import CaT2IAutoencoder, CaT2IConfig
from multiplane.models.latent_unet import LatentUNetConfig, build_unet
from multiplane.models.layer_codecs import FlatLatents, JointLatents, LayerCodec, SeparateLatents
from multiplane.models.text_encoder import TextEncoder, write_quantized
from multiplane.pipelines.text2layer import Text2LayerDefaults, Text2LayerPipeline
from multiplane.training.diffusion_loss import preview_schedule
from small_world import write_text_encoder

SIZE = 32
CAT2I = CaT2IConfig((8, 8, 16), layers=1, latent_channels=4, groups=4, size=SIZE)


def a_cat2i() -> CaT2IAutoencoder:
    torch.manual_seed(0)
    return CaT2IAutoencoder(CAT2I).eval()


def a_vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
        scaling_factor=0.5,
    ).eval()


def a_codec(form: str) -> LayerCodec:
    if form == "joint":
        return JointLatents(a_cat2i())
    return {"separate": SeparateLatents, "flat": FlatLatents}[form](a_vae())


def a_pipeline(folder: Path, form: str = "joint") -> Text2LayerPipeline:
    """folder: where the text encoder is written, as `folder`/text."""
    if not (folder / "text").is_dir():
        write_quantized(write_text_encoder(folder / "published"), folder / "text")
    codec = a_codec(form)
    torch.manual_seed(1)
    config = LatentUNetConfig(8, codec.latent_channels, (8, 16), 1, 2, 4, 12)
    return Text2LayerPipeline(
        build_unet(config).eval(),
        codec,
        TextEncoder.from_pretrained(folder / "text"),
        preview_schedule(),
        Text2LayerDefaults(version="test", steps=3, guidance=3.0, size=SIZE),
    )
