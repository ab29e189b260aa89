"""LayerDiffuse's training on small pipelines of Stable Diffusion 1.5 and SDXL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from PIL import Image

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.recipes import layerdiffuse_sd
from multiplane.training import checkpoint
from small_diffusion import sd15, sdxl, seeded
from small_layerdiffuse import stir
from small_world import write_shards

CONFIG = """
base = "{root}/{base}"
transparency = "{root}/transparency"
lora_rank = {rank}
batch = 2
drop_text = 0.5
steps = 1
prompts = ["a red ball", "a green ball"]
[run]
out = "{root}/{name}"
steps = {steps}
other_rate = 1e-3
warmup = 1
anneal = 0.0
compile = false
precision = "no"
log_every = 1
save_every = 1
sample_every = 1000
[feed]
shards = "{root}/shards"
size = 64
background_size = 88
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_shards(root / "shards")
    StableDiffusionPipeline(**sd15(), requires_safety_checker=False).save_pretrained(root / "sd15")
    StableDiffusionXLPipeline(**sdxl()).save_pretrained(root / "sdxl")
    encoder = seeded(lambda: OffsetEncoder((8, 8, 8, 8), offset_scale=1.0), 0)
    stir(encoder)
    encoder.save_pretrained(root / "transparency" / "encoder")
    seeded(lambda: TransparencyDecoder((8, 8, 8, 8), 1, 1), 1).save_pretrained(
        root / "transparency" / "decoder"
    )
    return root


def trained(root: Path, base: str, name: str, rank: int, steps: int = 2) -> Path:
    path = root / f"{name}.toml"
    path.write_text(CONFIG.format(root=root, base=base, name=name, rank=rank, steps=steps))
    layerdiffuse_sd.main(path)
    return root / name


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_a_lora_loads_into_the_plain_pipeline_and_changes_it(world: Path, base: str) -> None:
    out = trained(world, base, f"{base}_lora", rank=4)
    kind = StableDiffusionXLPipeline if base == "sdxl" else StableDiffusionPipeline
    pipeline = kind.from_pretrained(world / base)
    pipeline.set_progress_bar_config(disable=True)

    def made() -> torch.Tensor:
        said = {"height": 64, "width": 64, "num_inference_steps": 1, "output_type": "latent"}
        found = pipeline("a ball", generator=torch.Generator().manual_seed(0), **said)
        return found.images  # pyright: ignore

    without = made()
    pipeline.load_lora_weights(str(out / "lora"))
    names = {name for name, _ in pipeline.unet.named_parameters() if "lora_A" in name}
    sites = [name for name, m in pipeline.unet.named_modules() if name.endswith(("attn1", "attn2"))]
    assert len(names) == 4 * len(sites) > 0
    assert not torch.allclose(made(), without, atol=1e-7)
    before = UNet2DConditionModel.from_pretrained(world / base / "unet").state_dict()
    for key, value in checkpoint.load(out / "step-0000002")["model"].items():
        if "lora" not in key:
            assert torch.equal(value, before[key.replace(".base_layer", "")]), key
    assert Image.open(out / "sheet-000002.png").size == (128, 128)


def test_every_weight_moves_at_rank_0_and_it_resumes_exactly(world: Path) -> None:
    whole = trained(world, "sd15", "whole", rank=0)
    trained(world, "sd15", "parts", rank=0, steps=1)
    parts = trained(world, "sd15", "parts", rank=0)
    one, other = (checkpoint.load(out / "step-0000002")["model"] for out in (whole, parts))
    before = UNet2DConditionModel.from_pretrained(world / "sd15" / "unet").state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    moved = [not torch.equal(one[key], before[key]) for key in one]
    assert sum(moved) > 0.9 * len(moved)
    assert UNet2DConditionModel.from_pretrained(whole / "unet").config["in_channels"] == 4


def test_a_pipeline_without_a_unet_is_refused(world: Path, tmp_path: Path) -> None:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    unet = UNet2DModel(8, block_out_channels=(4, 4), norm_num_groups=2,
                       down_block_types=("DownBlock2D",) * 2,
                       up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(world / "ddpm")
    with pytest.raises(ValueError, match="is a DDPMPipeline without a Stable Diffusion UNet"):
        trained(world, "ddpm", "refused", rank=4)
