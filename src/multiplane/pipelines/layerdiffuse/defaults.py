"""What the families load when nothing else is said: the authors' files over an open base model."""

from __future__ import annotations

from multiplane.pipelines.layerdiffuse.config import LayerDiffuseConfig

# The authors show their results on community checkpoints (Juggernaut XL v6, Realistic Vision 5.1);
# these are the open bases that both the weights and those checkpoints come from.
SDXL = LayerDiffuseConfig(
    base="stabilityai/stable-diffusion-xl-base-1.0",
    variant="fp16",
    modes={
        "transparent": "layer_xl_transparent_attn",
        "fg2blend": "layer_xl_fg2ble",
        "fgblend2bg": "layer_xl_fgble2bg",
        "bg2blend": "layer_xl_bg2ble",
        "bgblend2fg": "layer_xl_bgble2fg",
    },
    transparency_decoder="ld_diffusers_sdxl_vae_transparent_decoder",
    transparency_encoder="ld_diffusers_sdxl_vae_transparent_encoder",
)
SD15 = LayerDiffuseConfig(
    base="stable-diffusion-v1-5/stable-diffusion-v1-5",
    variant="fp16",
    modes={
        "transparent": "layer_sd15_transparent_attn",
        "joint": "layer_sd15_joint",
        "fg2bg": "layer_sd15_fg2bg",
        "bg2fg": "layer_sd15_bg2fg",
    },
    transparency_decoder="layer_sd15_vae_transparent_decoder",
    transparency_encoder="layer_sd15_vae_transparent_encoder",
)
