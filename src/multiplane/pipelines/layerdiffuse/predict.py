"""The noise a UNet predicts, with classifier-free guidance, conditions and ControlNets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor

from multiplane.pipelines.layerdiffuse.control import ControlGuide
from multiplane.pipelines.layerdiffuse.text import Branch


@dataclass(frozen=True)
class Guidance:
    """scale: 1 or less is the plain prediction. rescale: phi of Lin et al. 2305.08891 section 3.4.
    sequential: the two halves one after the other, which needs half the memory."""

    scale: float = 7.0
    rescale: float = 0.0
    sequential: bool = False

    def mixed(self, without: Tensor, with_text: Tensor) -> Tensor:
        guided = without + self.scale * (with_text - without)
        if self.rescale > 0.0:
            guided = rescale_noise_cfg(guided, with_text, guidance_rescale=self.rescale)
        return guided


@dataclass
class NoisePredictor:
    """One run's UNet calls.

    unet: a diffusers UNet2DConditionModel. branches: [with the prompt], or [without, with].
    concat: (N, C, h, w) latents that follow the noisy ones, or None. control: ControlNets, or None.
    announce: told before each call how many halves of guidance it has (attention sharing listens).
    timestep_cond: guidance embedding of distilled models. cross_attention_kwargs: as diffusers."""

    unet: Any
    scheduler: Any
    branches: Sequence[Branch]
    guidance: Guidance
    concat: Tensor | None = None
    control: ControlGuide | None = None
    announce: Callable[[int], None] | None = None
    timestep_cond: Tensor | None = None
    cross_attention_kwargs: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._joined = Branch.joined(self.branches)

    def __call__(self, latents: Tensor, time: Tensor, span: tuple[float, float]) -> Tensor:
        """latents: (N, C, h, w). span: where in the run the step begins and ends, 0..1."""
        scaled = self.scheduler.scale_model_input(latents, time)
        if len(self.branches) == 1:
            return self._predict(scaled, time, self._joined, 1, span)
        if self.guidance.sequential:
            halves = [self._predict(scaled, time, one, 1, span) for one in self.branches]
        else:
            halves = self._predict(scaled, time, self._joined, 2, span).chunk(2)
        return self.guidance.mixed(*halves)

    def without_conditions(self) -> NoisePredictor:
        """The same for the plain UNet: what was concatenated is dropped."""
        return replace(self, concat=None, announce=None)

    def with_embeds(self, embeds: Sequence[Tensor]) -> NoisePredictor:
        """The same with these text states a branch; itself when they are the ones it has."""
        pairs = list(zip(self.branches, embeds, strict=True))
        if all(branch.embeds is one for branch, one in pairs):
            return self
        return replace(self, branches=[replace(branch, embeds=one) for branch, one in pairs])

    def _predict(
        self, scaled: Tensor, time: Tensor, branch: Branch, halves: int, span: tuple[float, float]
    ) -> Tensor:
        """The UNet on `scaled` as often as there are halves in `branch`."""
        noisy = torch.cat([scaled] * halves)
        more: dict[str, Any] = {}
        if self.control is not None:
            more = self.control.residuals(noisy, time, branch, span)
        if self.announce is not None:
            self.announce(halves)
        shown = noisy
        if self.concat is not None:
            shown = torch.cat([noisy, torch.cat([self.concat] * halves)], dim=1)
        cond = self.timestep_cond
        return self.unet(
            shown,
            time,
            encoder_hidden_states=branch.embeds,
            timestep_cond=None if cond is None else torch.cat([cond] * halves),
            cross_attention_kwargs=self.cross_attention_kwargs,
            added_cond_kwargs=dict(branch.added) or None,
            return_dict=False,
            **more,
        )[0]
