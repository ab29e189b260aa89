"""The denoising loop: everything wanted at one time, given clips clean in place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from torch import Tensor


@dataclass(frozen=True)
class StepCallback:
    """diffusers' callback at the end of a step, and the tensors it asks for."""

    function: Callable[..., Any] | None = None
    tensors: Sequence[str] = ("latents",)


@dataclass
class SequenceDenoising:
    """One run over the steps.

    text, negative: states (N, T, C); negative None for no guidance. guidance: constant; the
    published code bends it by a formula that reads the raw timestep, so that it jumps. one_by_one:
    the two halves of guidance one after the other. clean: (N, latents, C, h, w) float32 with given
    latents in place; mask: (latents,) bool, where. eta, generator: for schedulers that draw."""

    pipeline: Any
    text: Tensor
    negative: Tensor | None
    guidance: float
    one_by_one: bool
    clean: Tensor
    mask: Tensor
    eta: float
    generator: Any
    attention_kwargs: dict[str, Any] | None
    callback: StepCallback

    def __call__(self, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise (N, latents, C, h, w) -> the sequence, given latents exactly as they came."""
        latents = self._placed(noise * self.pipeline.scheduler.init_noise_sigma)
        before: Tensor | None = None
        progress_bar: Any = self.pipeline.progress_bar
        with progress_bar(total=len(timesteps)) as bar:
            for index, time in enumerate(timesteps):
                if self.pipeline.interrupt:
                    break
                predicted = self._guided(latents, time)
                last = timesteps[index - 1] if index else None
                latents, before = self._step(predicted, before, time, last, latents)
                latents = self._report(index, time, self._placed(latents.float()))
                bar.update()
        return latents

    def _placed(self, latents: Tensor) -> Tensor:
        return torch.where(self.mask[:, None, None, None], self.clean, latents)

    def _guided(self, latents: Tensor, time: Tensor) -> Tensor:
        """v, float32, guided by the text; given clips stand in both branches."""
        if self.negative is None:
            return self._predict(latents, self.text, time)
        if self.one_by_one:
            without = self._predict(latents, self.negative, time)
            with_text = self._predict(latents, self.text, time)
        else:
            both = torch.cat([self.negative, self.text])
            without, with_text = self._predict(torch.cat([latents] * 2), both, time).chunk(2)
        return without + self.guidance * (with_text - without)

    def _predict(self, latents: Tensor, text: Tensor, time: Tensor) -> Tensor:
        transformer, scheduler = self.pipeline.transformer, self.pipeline.scheduler
        dtype = transformer.dtype
        with transformer.cache_context("cond_uncond"):
            return transformer(
                hidden_states=scheduler.scale_model_input(latents, time).to(dtype),
                encoder_hidden_states=text.to(dtype),
                timestep=time.expand(len(latents)),
                attention_kwargs=self.attention_kwargs,
                return_dict=False,
            )[0].float()

    def _step(
        self,
        predicted: Tensor,
        before: Tensor | None,
        time: Tensor,
        last: Tensor | None,
        latents: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """The latents one step on, and what CogVideoX's second-order solver keeps for the next."""
        scheduler: Any = self.pipeline.scheduler
        taken = inspect.signature(scheduler.step).parameters
        offered = {"eta": self.eta, "generator": self.generator}
        extra = {name: value for name, value in offered.items() if name in taken}
        if isinstance(self.pipeline.scheduler, CogVideoXDPMScheduler):
            both = scheduler.step(
                predicted, before, time, last, latents, **extra, return_dict=False
            )
            return both[0], both[1]
        stepped = scheduler.step(predicted, time, latents, **extra, return_dict=False)
        return stepped[0], None

    def _report(self, index: int, time: Tensor, latents: Tensor) -> Tensor:
        """Call the caller's callback; what it changed takes effect, but for given latents."""
        if self.callback.function is None:
            return latents
        known = {
            "latents": latents,
            "prompt_embeds": self.text,
            "negative_prompt_embeds": self.negative,
        }
        shown = {name: known[name] for name in self.callback.tensors}
        changed = self.callback.function(self.pipeline, index, time, shown) or {}
        self.text = changed.get("prompt_embeds", self.text)
        self.negative = changed.get("negative_prompt_embeds", self.negative)
        return self._placed(changed.get("latents", latents))
