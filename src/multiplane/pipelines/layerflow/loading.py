"""Folders of LayerFlow weights: what each can do, and the pipeline it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel

from multiplane.core.request import Task, tasks_of
from multiplane.models.layer_embedding import LayerEmbedding
from multiplane.models.weights_io import WEIGHTS, read_tensors
from multiplane.pipelines.base_model import base_missing
from multiplane.pipelines.layerflow.adapters import FILE, add_adapter, use_adapters
from multiplane.pipelines.layerflow.config import LayerFlowConfig
from multiplane.pipelines.layerflow.pipeline import LayerFlowPipeline
from multiplane.weights.layerflow.converting import ABOUT, ConvertedWeights

SHARED = ("tokenizer", "text_encoder", "vae", "scheduler")
PIPELINE = "model_index.json"
SPACE = 8  # pixels a side of one latent of CogVideoX's autoencoder


@dataclass(frozen=True)
class WeightsFolder:
    """One set of weights on disk. tasks: what it was trained for. frames: of its clips.
    native_size: (width, height)."""

    path: Path
    name: str
    tasks: frozenset[Task]
    frames: int
    native_size: tuple[int, int]
    converted: ConvertedWeights | None

    @classmethod
    def read(cls, path: Path) -> WeightsFolder:
        """Raises FileNotFoundError for a folder that is neither, ValueError for one that does not
        say what it was trained for."""
        about = None
        if (path / ABOUT).is_file():
            about = ConvertedWeights.read(path)
            name, tasks, frames = about.release, about.tasks, about.frames
        elif (path / PIPELINE).is_file():
            index = json.loads((path / PIPELINE).read_text(encoding="utf-8"))
            tasks, frames = index.get("clip_tasks", ""), index.get("clip_frames", 0)
            name = path.name
        else:
            raise FileNotFoundError(
                f"{path} holds neither {ABOUT} nor {PIPELINE}: point at a folder that `multiplane "
                "convert` or save_pretrained wrote (docs/layerflow.md)"
            )
        rows = [row.strip() for row in tasks.split(";") if row.strip()]
        if not rows:
            raise ValueError(
                f"{path} does not say what it was trained for: save the pipeline with clip_tasks, "
                'such as "-> foreground background composite"'
            )
        shape = json.loads((path / "transformer" / "config.json").read_text(encoding="utf-8"))
        size = (shape["sample_width"] * SPACE, shape["sample_height"] * SPACE)
        return cls(path, name, tasks_of(*rows), frames, size, about)


def folders_at(path: Path) -> list[Path]:
    """`path` where it is a folder of weights, else those in it."""
    if any((path / name).is_file() for name in (ABOUT, PIPELINE)):
        return [path]
    if not path.is_dir():
        return []
    return sorted(
        inner for inner in path.iterdir() if inner.is_dir() and folders_at(inner) == [inner]
    )


def load_pipeline(
    folder: WeightsFolder, config: LayerFlowConfig, dtype: torch.dtype, shared: Mapping[str, Any]
) -> LayerFlowPipeline:
    """The pipeline of `folder`, in memory. shared: components of the base that are loaded already.

    Raises FileNotFoundError for a base that cannot be had, ValueError for parts that do not fit."""
    about = folder.converted
    if about is None:
        pipeline = LayerFlowPipeline.from_pretrained(folder.path, dtype=dtype)
    else:
        pipeline = _of_converted(folder.path, about, config, dtype, shared)
    if config.joined:
        pipeline.register_to_config(clips_joined=config.joined == "yes")
    return pipeline


def _of_converted(
    path: Path,
    about: ConvertedWeights,
    config: LayerFlowConfig,
    dtype: torch.dtype,
    shared: Mapping[str, Any],
) -> LayerFlowPipeline:
    embedding = None
    if (path / "layer_embedding").is_dir():
        embedding = LayerEmbedding.from_pretrained(path / "layer_embedding", dtype=dtype)
    try:
        transformer = _transformer(path, about, config.base, dtype)
        pipeline = LayerFlowPipeline.from_pretrained(
            config.base,
            dtype=dtype,
            transformer=transformer,
            layer_embedding=embedding,
            clip_variant=about.variant,
            clip_frames=about.frames,
            clip_lead=about.lead,
            clips_joined=about.joined,
            clip_tasks=about.tasks,
            **shared,
        )
    except OSError as error:
        raise base_missing(config.base, error, "its folder", "layerflow.toml") from error
    weights = {"content": 1.0, **({"motion": config.motion} if config.motion else {})}
    found = {name: weight for name, weight in weights.items() if (path / name / FILE).is_file()}
    for name in found:
        tensors = read_tensors(path / name / FILE)
        add_adapter(
            transformer,
            name,
            {key.removeprefix("transformer."): each for key, each in tensors.items()},
        )
    if found:
        use_adapters(transformer, found)
    return pipeline


def _transformer(
    path: Path, about: ConvertedWeights, base: str, dtype: torch.dtype
) -> CogVideoXTransformer3DModel:
    """The converted transformer; what its checkpoint lacked is the base's."""
    if not about.missing:
        return CogVideoXTransformer3DModel.from_pretrained(path / "transformer", torch_dtype=dtype)
    transformer = CogVideoXTransformer3DModel.from_pretrained(
        base, subfolder="transformer", torch_dtype=dtype
    )
    own = read_tensors(path / "transformer" / WEIGHTS)
    try:
        transformer.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{path} lacks tensors, and the base {base!r} is another model: name the CogVideoX-2B "
            "that it was trained from as `base`"
        ) from error
    return transformer
