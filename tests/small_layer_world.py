"""A folder to train LayerDiffuse's layers in: asset shards, a small base and its latent
transparency."""

from __future__ import annotations

from pathlib import Path

from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from small_diffusion import sd15, sdxl, seeded
from small_layerdiffuse import stir
from small_world import write_shards

CONFIG = """
base = "{root}/{base}"
transparency = "{root}/transparency"
mode = "{mode}"
batch = {batch}
drop_text = 0.2
whole_text = 0.2
{more}
[run]
out = "{root}/{name}"
steps = {steps}
other_rate = {rate}
warmup = 1
anneal = 0.0
compile = false
precision = "no"
log_every = 1
save_every = {save}
sample_every = 1000
[previews]
count = {previews}
steps = 1
[scenes.composed]
shards = "{root}/shards"
size = 64
background_size = 88
"""


def write_layer_world(root: Path, base: str) -> Path:
    """base: "sd15" or "sdxl", the name of the pipeline's folder in `root`."""
    write_shards(root / "shards")
    if base == "sdxl":
        StableDiffusionXLPipeline(**sdxl()).save_pretrained(root / base)
    else:
        StableDiffusionPipeline(**sd15(), requires_safety_checker=False).save_pretrained(
            root / base
        )
    encoder = seeded(lambda: OffsetEncoder((8, 8, 8, 8), offset_scale=1.0), 0)
    stir(encoder).save_pretrained(root / "transparency" / "encoder")  # pyright: ignore
    seeded(lambda: TransparencyDecoder((8, 8, 8, 8), 1, 1), 1).save_pretrained(
        root / "transparency" / "decoder"
    )
    return root


def write_config(root: Path, base: str, name: str, mode: str, **changes: object) -> Path:
    """changes: the other places of CONFIG."""
    usual = {"batch": 2, "more": "", "steps": 2, "rate": 1e-3, "save": 1, "previews": 0}
    path = root / f"{name}.toml"
    path.write_text(
        CONFIG.format(root=root, base=base, name=name, mode=mode, **{**usual, **changes})
    )
    return path
