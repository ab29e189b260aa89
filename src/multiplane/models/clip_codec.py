"""Clips into the latents of a video autoencoder and back, apart or as one video."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from multiplane.models.subclips import ClipName, SubclipLayout

_TIME_LAST = "n f c h w -> n c f h w"


@dataclass(frozen=True)
class ClipCodec:
    """vae: diffusers' AutoencoderKLCogVideoX. joined: clips that stand next to each other pass as
    one video, as the published weights were trained: the causal autoencoder then carries the end of
    a clip into the beginning of the next. Otherwise each passes alone and nothing leaks. device:
    where the autoencoder computes.

    Videos pass one at a time: memory is that of one, and a video does not depend on its batch.
    """

    vae: Any
    layout: SubclipLayout
    joined: bool = False
    device: torch.device | str = "cpu"

    def encode(self, clips: Mapping[ClipName, Tensor]) -> dict[ClipName, Tensor]:
        """Clips (N, frames, 3, H, W) in [-1, 1] -> scaled latents (N, t, C, h, w) float32, the
        first clip's with the leading one where the layout has it.

        The mean of the posterior, where the published code draws from it: a given plane should not
        change from seed to seed."""
        alone: list[tuple[ClipName, ...]] = [(clip,) for clip in clips]
        runs = self.layout.runs(clips) if self.joined else alone
        latents: dict[ClipName, Tensor] = {}
        for run in runs:
            video = torch.cat([self._led(clip, clips[clip]) for clip in run], dim=1)
            coded = torch.cat([self._encode(one[None]) for one in video])
            lengths = [_length(self.layout.span(clip)) for clip in run]
            latents.update(zip(run, coded.split(lengths, dim=1), strict=True))
        return latents

    def decode(
        self, latents: Tensor, clips: Collection[ClipName] | None = None
    ) -> dict[ClipName, Tensor]:
        """The whole sequence, scaled latents (N, latents, C, h, w), -> its clips (N, frames, 3, H,
        W) float32 on the CPU, about [-1, 1], the leading frame dropped. clips: the ones wanted, all
        when None."""
        layout = self.layout
        wanted: list[ClipName] = [c for c in layout.clips if clips is None or c in clips]
        if self.joined:
            video = torch.cat([self._decode(one[None]) for one in latents])
            return {clip: video[:, layout.video_span(clip)] for clip in wanted}
        decoded: dict[ClipName, Tensor] = {}
        for clip in wanted:
            own = latents[:, layout.span(clip)]
            video = torch.cat([self._decode(one[None]) for one in own])
            decoded[clip] = video[:, -layout.frames :]
        return decoded

    def _led(self, clip: ClipName, video: Tensor) -> Tensor:
        """With its first frame once more in front, where the layout wants that."""
        leads = self.layout.lead and clip == self.layout.clips[0]
        return torch.cat([video[:, :1], video], dim=1) if leads else video

    def _encode(self, video: Tensor) -> Tensor:
        pixels = rearrange(video, _TIME_LAST).to(self.device, self.vae.dtype)
        posterior = self.vae.encode(pixels).latent_dist
        scaled = posterior.mode().float() * self.vae.config.scaling_factor
        return rearrange(scaled, "n c f h w -> n f c h w")

    def _decode(self, latents: Tensor) -> Tensor:
        plain = rearrange(latents / self.vae.config.scaling_factor, _TIME_LAST)
        video = self.vae.decode(plain.to(self.device, self.vae.dtype)).sample
        return rearrange(video.float().cpu(), "n c f h w -> n f c h w")


def _length(span: slice) -> int:
    return span.stop - span.start
