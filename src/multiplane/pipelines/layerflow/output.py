"""Clips into and out of a LayerFlow pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from multiplane.pipelines.layerdiffuse.pictures import (
    OutputType,
    Picture,
    read_pictures,
    write_pictures,
)

# One clip: a list of pictures, (F, H, W, C) numpy or (F, C, H, W) torch; or a batch of such clips.
Video: TypeAlias = "Sequence[Any] | np.ndarray | Tensor"


@dataclass
class LayerFlowOutput(BaseOutput):
    """frames: the main plane (what the camera sees, where it was made). planes: every plane made,
    by name, given ones not among them.

    All are RGBA whatever the plane, as `output_type` says: "pil" a list of lists of pictures,
    "uint8" and "np" (N, F, H, W, 4), "pt" (N, F, 4, H, W) float32 straight alpha in [0, 1];
    "latent" the scaled latents (N, t, C, h, w) of the padded canvas, a foreground's under
    "foreground" and "alpha"."""

    frames: Any
    planes: dict[str, Any]


def read_clips(plane: str, video: Video) -> Tensor:
    """Clips of a plane -> (N, F, 4, H, W) float32 straight alpha in [0, 1]; a still is a clip of
    one frame. Each picture as `read_pictures` takes it.

    Raises ValueError for what is no clip, or a batch of clips that differ in size or length."""
    clips = [read_pictures(plane, one) for one in _clips_in(video)]
    if len({tuple(clip.shape) for clip in clips}) > 1:
        raise ValueError(
            f"{plane}: the clips of a batch differ in size or number of frames: make them alike"
        )
    return torch.stack(clips)


def _clips_in(video: Video) -> list[Picture]:
    if isinstance(video, np.ndarray | Tensor):
        return list(video) if video.ndim == 5 else [video]
    if isinstance(video, Image.Image):
        return [video]
    if not isinstance(video, Sequence) or not len(video):
        raise ValueError(f"a clip must be pictures, got {type(video).__name__} with none in it")
    first = video[0]
    batch = isinstance(first, Sequence) or getattr(first, "ndim", 0) == 4
    return list(video) if batch else [video]


def write_clips(clips: Tensor, output_type: OutputType) -> Any:
    """(N, F, 4, H, W) as `LayerFlowOutput` has it."""
    written = [write_pictures(clip, output_type) for clip in clips]
    if output_type == "pil":
        return written
    return torch.stack(written) if output_type == "pt" else np.stack(written)
