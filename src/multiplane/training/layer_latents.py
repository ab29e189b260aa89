"""Planes and captions as LayerDiffuse's multi-layer and conditional models learn them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from einops import rearrange
from torch import Tensor

from multiplane.models.planes import to_model
from multiplane.models.transparent_vae import scale_latents
from multiplane.pipelines.layerdiffuse.modes import Mode
from multiplane.training.diffusion_loss import noise_loss
from multiplane.training.flat_pictures import GREY, flatten
from multiplane.training.latent_transparency import LatentTransparency
from multiplane.training.layer_scenes import LayerScenes, SceneSource

TRANSPARENT = "foreground"

# Captions -> (token states (B, T, C), what else the UNet takes)
Text = Callable[[Sequence[str]], tuple[Tensor, dict[str, Tensor]]]


def shown(planes: Tensor) -> Tensor:
    """A given plane as the model is shown it: (B, 4, S, S) premultiplied in [0, 1] over mid grey ->
    (B, 3, S, S) in [-1, 1]."""
    return to_model(flatten(planes, GREY))


@torch.no_grad()
def shown_latents(vae: AutoencoderKL, planes: Tensor) -> Tensor:
    """Scaled latents (B, C, h, w) of `shown` planes: the mean of the plain VAE's posterior, the
    same that conditions are encoded to when the model is used."""
    posterior = vae.encode(shown(planes), return_dict=False)[0]
    return scale_latents(vae, posterior.mean.float())


def stream_latents(
    scenes: LayerScenes, streams: Sequence[str], transparent: LatentTransparency
) -> Tensor:
    """Scaled latents (B streams, C, h, w) to be learned, the stream index fastest: the foreground's
    are adjusted to carry its alpha, the others' are the plain VAE's."""
    latents = [
        transparent.encode(scenes.planes[name])
        if name == TRANSPARENT
        else shown_latents(transparent.vae, scenes.planes[name])
        for name in streams
    ]
    return rearrange(latents, "f b c h w -> (b f) c h w")


def stream_captions(
    scenes: LayerScenes,
    streams: Sequence[str],
    drop: float,
    whole: float,
    generator: torch.Generator,
) -> list[str]:
    """B captions a stream, the stream index fastest.

    drop: share of scenes without any caption, which is what guidance takes away. whole: share of
    scenes in which every stream is told the composite's, as a request with one prompt does."""
    told = []
    count = len(scenes.captions["composite"])
    for index, chance in enumerate(torch.rand(count, generator=generator).tolist()):
        for name in streams:
            own = "composite" if chance < drop + whole else name
            told.append("" if chance < drop else scenes.captions[own][index])
    return told


@dataclass(frozen=True)
class LayerBatch:
    """latents: (B streams, C, h, w) clean and scaled, the stream index fastest; states: (B streams,
    T, C) and added: what their captions are to the UNet. given: the mode's conditions in its order,
    (B, 4, S, S) premultiplied in [0, 1] each."""

    latents: Tensor
    states: Tensor
    added: dict[str, Tensor]
    given: tuple[Tensor, ...]


@dataclass(frozen=True)
class LayerLesson:
    """What a mode's model learns. drop, whole: of the captions, see `stream_captions`."""

    mode: Mode
    transparent: LatentTransparency
    text: Text
    schedule: Any
    drop: float = 0.0
    whole: float = 0.0

    def draw(self, source: SceneSource, count: int, generator: torch.Generator) -> LayerBatch:
        """`count` scenes, encoded in full precision."""
        streams = self.mode.streams
        with torch.autocast(self.transparent.vae.device.type, enabled=False):
            scenes = source.draw(count, generator)
            latents = stream_latents(scenes, streams, self.transparent)
            captions = stream_captions(scenes, streams, self.drop, self.whole, generator)
            states, added = self.text(captions)
        given = tuple(scenes.planes[name] for name in self.mode.conditions)
        return LayerBatch(latents, states, added, given)

    def losses(self, unet: Any, batch: LayerBatch, generator: torch.Generator) -> Tensor:
        """(B, streams) mean squared errors of the noise that `unet` predicts."""
        streams = len(self.mode.streams)
        losses = noise_loss(unet, self.schedule, batch.latents, batch.states, generator, streams)
        return losses.view(-1, streams)
