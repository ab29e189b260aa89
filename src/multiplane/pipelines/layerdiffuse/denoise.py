"""The denoising loop every mode of every base runs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from multiplane.pipelines.layerdiffuse.modes import Mode
from multiplane.pipelines.layerdiffuse.noise import Generators, Kept, Times
from multiplane.pipelines.layerdiffuse.predict import NoisePredictor
from multiplane.pipelines.layerdiffuse.settings import Settings

if TYPE_CHECKING:
    from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline


def plain_unet_below(scheduler: Any, stop_at: float) -> float | None:
    """The time under which the plain UNet takes over, None for never.

    stop_at is a part of the noise schedule, as the published interfaces count it: 0.5 is the middle
    of the training times whatever the number of steps."""
    if stop_at >= 1.0:
        return None
    last = scheduler.config.num_train_timesteps - 1
    return float("inf") if stop_at <= 0.0 else (1.0 - stop_at) * last


@dataclass
class Denoising:
    """One pass of a mode over its steps."""

    pipeline: LayeredPipeline
    mode: Mode
    settings: Settings
    scheduler: Any
    predictor: NoisePredictor
    run: Times
    generator: Generators
    kept: Kept | None = None

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents (N, C, h, w) at the first time -> at the end."""
        pipeline, steps = self.pipeline, len(self.run.timesteps)
        stop_at = self.mode.stop_at if self.settings.stop_at is None else self.settings.stop_at
        below = plain_unet_below(self.scheduler, stop_at)
        extra = self._extra_arguments()
        pipeline._num_timesteps = steps
        progress_bar: Any = pipeline.progress_bar  # its decorated type says otherwise
        with progress_bar(total=steps) as bar:
            for index, time in enumerate(self.run.timesteps):
                if pipeline.interrupt:
                    break
                if below is not None and float(time) < below:
                    pipeline.detach_mode()
                    self.predictor, below = self.predictor.without_conditions(), None
                span = (index / steps, (index + 1) / steps)
                predicted = self.predictor(latents, time, span)
                stepped = self.scheduler.step(predicted, time, latents, **extra, return_dict=False)
                latents = stepped[0].to(latents.dtype)
                if self.kept is not None:
                    after = self.run.timesteps[index + 1] if index + 1 < steps else None
                    latents = self.kept.settle(latents, self.scheduler, after)
                latents = self._report(index, time, latents)
                bar.update()
        return latents

    def _extra_arguments(self) -> dict[str, Any]:
        """What this scheduler's step takes of eta and generator."""
        taken = inspect.signature(self.scheduler.step).parameters
        offered = {"eta": self.settings.eta, "generator": self.generator}
        return {name: value for name, value in offered.items() if name in taken}

    def _report(self, index: int, time: Tensor, latents: Tensor) -> Tensor:
        """Call the caller's callback; what it changed takes effect."""
        if self.settings.callback is None:
            return latents
        branches = self.predictor.branches
        known = {
            "latents": latents,
            "prompt_embeds": branches[-1].embeds,
            "negative_prompt_embeds": branches[0].embeds if len(branches) > 1 else None,
        }
        shown = {name: known[name] for name in self.settings.callback_tensors}
        changed = self.settings.callback(self.pipeline, index, time, dict(shown)) or {}
        text = [
            changed.get(name, known[name]) for name in ("negative_prompt_embeds", "prompt_embeds")
        ]
        self.predictor = self.predictor.with_embeds(text[-len(branches) :])
        return changed.get("latents", latents)
