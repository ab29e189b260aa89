"""From a configuration to a pipeline on its device."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

from multiplane.pipelines.base_model import base_missing, near, scheduler_named
from multiplane.pipelines.layerdiffuse.config import LayerDiffuseConfig
from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline
from multiplane.pipelines.placement import device_of, dtype_of, place

log = logging.getLogger(__name__)

CHECKPOINTS = (".safetensors", ".ckpt")


def build_pipeline(
    kind: type[LayeredPipeline], config: LayerDiffuseConfig, folder: Path
) -> tuple[LayeredPipeline, LayerDiffuseConfig]:
    """The pipeline of `config` and the configuration with every path whole.

    folder: where relative paths start. Modes are not loaded, but those of a folder that
    `save_pretrained` wrote are. Raises FileNotFoundError for a base that cannot be had, ValueError
    for parts that do not fit each other."""
    config = dataclasses.replace(
        config,
        base=near(folder, config.base),
        modes={mode: near(folder, source) for mode, source in config.modes.items()},
        transparency_decoder=near(folder, config.transparency_decoder),
        transparency_encoder=near(folder, config.transparency_encoder),
        loras=tuple(near(folder, source) for source in config.loras),
        controlnets={kind: near(folder, source) for kind, source in config.controlnets.items()},
    )
    device = device_of(config.device)
    dtype = dtype_of(config.dtype, device)
    pipeline = _base(kind, config, dtype)
    if config.scheduler:
        pipeline.scheduler = scheduler_named(config.scheduler, pipeline.scheduler.config)
    if config.transparency_decoder or config.transparency_encoder:
        pipeline.load_transparency(
            config.transparency_encoder or None,
            config.transparency_decoder or None,
            config.offset_convention or None,
        )
    if config.fast_decode:
        pipeline.use_fast_decoder(device)
    _add_loras(pipeline, config)
    if config.vae_tiling:
        pipeline.vae.enable_tiling()
    place(pipeline, config.offload, device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, config


def controlnet_of(
    pipeline: LayeredPipeline, config: LayerDiffuseConfig, kinds: Sequence[str]
) -> ControlNetModel | MultiControlNetModel:
    """The ControlNets of `kinds`, in that order, as the pipeline takes them."""
    like: dict[str, Any] = {"device": pipeline._execution_device, "dtype": pipeline.unet.dtype}
    nets = [
        ControlNetModel.from_pretrained(config.controlnets[kind]).to(**like).eval()
        for kind in kinds
    ]
    return nets[0] if len(nets) == 1 else MultiControlNetModel(nets)


def _base(
    kind: type[LayeredPipeline], config: LayerDiffuseConfig, dtype: torch.dtype
) -> LayeredPipeline:
    path = Path(config.base)
    options = {"variant": config.variant} if config.variant else {}
    try:
        if path.suffix in CHECKPOINTS and path.is_file():
            return kind.from_single_file(config.base, torch_dtype=dtype)  # pyright: ignore[reportAttributeAccessIssue]
        return kind.from_pretrained(config.base, dtype=dtype, **options)
    except OSError as error:
        raise base_missing(
            config.base, error, "a diffusers folder or checkpoint file", "layerdiffuse.toml"
        ) from error


def _add_loras(pipeline: Any, config: LayerDiffuseConfig) -> None:
    names = [f"lora{index}" for index in range(len(config.loras))]
    for name, source in zip(names, config.loras, strict=True):
        pipeline.load_lora_weights(source, adapter_name=name)
    if names:
        pipeline.set_adapters(names, [config.loras_weight] * len(names))
