"""What a LayerDiffuse pipeline returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from multiplane.core.request import PLANE_KINDS
from multiplane.pipelines.layerdiffuse.grey import GreyCheck
from multiplane.pipelines.layerdiffuse.pictures import OutputType, write_pictures


@dataclass
class LayerDiffuseOutput(BaseOutput):
    """images: the main plane (the foreground where one is made, else the background). planes: every
    plane made, by name, given ones not among them. Both are RGBA whatever the plane, as
    `output_type` says: "pil" a list of pictures, "uint8" and "np" (N, H, W, 4), "pt" (N, 4, H, W)
    float32 straight alpha in [0, 1]; "latent" the scaled latents (N, 4, h, w) of the padded canvas.

    flat: what the plain VAE decodes of the transparent planes, subject on grey, the same type with
    alpha 1. grey_checks: for each transparent plane one check a picture: does the base model fit?
    nsfw_content_detected: one a picture where a safety checker is loaded; flagged ones are clear.
    """

    images: Any
    planes: dict[str, Any]
    flat: dict[str, Any] = field(default_factory=dict)
    grey_checks: dict[str, list[GreyCheck]] = field(default_factory=dict)
    nsfw_content_detected: list[bool] | None = None


@dataclass
class MadePictures:
    """What one mode made, on the caller's canvas.

    latents: scaled (N, C, h, w) by plane. rgba: (N, 4, H, W) float32 straight [0, 1] by plane, on
    CPU. flat: (N, 3, H, W) plain decodes of transparent planes. checks: by transparent plane.
    flagged: what a safety checker found, None without one."""

    latents: dict[str, Tensor]
    rgba: dict[str, Tensor] = field(default_factory=dict)
    flat: dict[str, Tensor] = field(default_factory=dict)
    checks: dict[str, list[GreyCheck]] = field(default_factory=dict)
    flagged: list[bool] | None = None

    def add(self, other: MadePictures) -> None:
        """Take over what a later mode made."""
        self.latents.update(other.latents)
        self.rgba.update(other.rgba)
        self.flat.update(other.flat)
        self.checks.update(other.checks)

    def blank(self, flagged: Sequence[bool]) -> None:
        """Clear the flagged pictures on every plane."""
        for pictures in (*self.rgba.values(), *self.flat.values()):
            pictures[torch.tensor(flagged)] = 0.0

    def output(self, output_type: OutputType) -> LayerDiffuseOutput:
        """In the form the caller asked for."""
        if output_type == "latent":
            planes: dict[str, Any] = dict(self.latents)
        else:
            planes = {name: write_pictures(one, output_type) for name, one in self.rgba.items()}
        main = next(name for name in PLANE_KINDS if name in planes)
        opaque = {
            name: torch.cat([one, torch.ones_like(one[:, :1])], dim=1)
            for name, one in self.flat.items()
        }
        flat = {name: write_pictures(one, output_type) for name, one in opaque.items()}
        return LayerDiffuseOutput(planes[main], planes, flat, self.checks, self.flagged)
