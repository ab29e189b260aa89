"""The latent diffusion model: a diffusers `UNet2DConditionModel` from a config of our own kind, and
sampling from it with any diffusers scheduler.

Text enters as token states (B, T, C), zero past a prompt's end; a prompt that is absent is all
zeros, whose attention adds nothing, so classifier-free guidance needs no state of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

OnLatents = Callable[[int, int, Tensor], None]
PLAIN_ATTENTION = 256  # cells


@dataclass(frozen=True)
class LatentUNetConfig:
    """size: latent cells a side it is trained on. channels: width of each level, halved from one to
    the next; the deepest has cross-attention only where there are two levels or fewer. layers:
    residual blocks a level. heads: attention heads a level. text_channels: of the token states.
    The defaults are Stable Diffusion 1's, with this project's sentence encoder for CLIP."""

    size: int = 64
    latent_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    groups: int = 32
    text_channels: int = 384


def build_unet(config: LatentUNetConfig) -> UNet2DConditionModel:
    """Random weights."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    levels = len(config.channels)
    attending = [index < levels - 1 or levels <= 2 for index in range(levels)]
    down = ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attending]
    up = ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attending)]
    return UNet2DConditionModel(
        sample_size=config.size,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        attention_head_dim=config.heads,  # the name in diffusers; it means the number of heads
        norm_num_groups=config.groups,
        cross_attention_dim=config.text_channels,
    )


def prefer_plain_attention(unet: UNet2DConditionModel) -> None:
    """Where no GPU is and the latent has few cells, attention by two products and a softmax:
    torch's fused attention (2.13, CPU) takes five times as long to train at 64 tokens, and is
    quicker only from about 500 on. The result is the same to rounding."""
    from diffusers.models.attention_processor import AttnProcessor

    if not torch.cuda.is_available() and unet.config["sample_size"] ** 2 <= PLAIN_ATTENTION:
        unet.set_attn_processor(AttnProcessor())


def starting_noise(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """(B, C, h, w) standard normal, each picture from a CPU generator of its own, so that it does
    not depend on what else is in the batch. shape: (C, h, w)."""
    return torch.stack([torch.randn(*shape, generator=each) for each in generators])


@torch.no_grad()
def sample_latents(
    unet: UNet2DConditionModel,
    scheduler: Any,
    states: Tensor,
    noise: Tensor,
    generators: Sequence[torch.Generator],
    steps: int = 50,
    guidance: float = 7.5,
    on_step: OnLatents | None = None,
) -> Tensor:
    """Latents (B, C, h, w) for prompts with token states (B, T, C), by classifier-free guidance (Ho
    and Salimans, arXiv 2207.12598): e = e_none + guidance (e_text - e_none); guidance 1 asks for
    the text alone.

    scheduler: any of diffusers'. noise: of `starting_noise`. generators: one a picture, for
    schedulers that draw noise on the way. on_step gets (step, steps, latents as they stand),
    counted by the scheduler's own steps, which may be more than asked. Raises ValueError for no
    step."""
    if steps < 1:
        raise ValueError(f"sampling takes at least 1 step, got {steps}")
    device = states.device
    scheduler.set_timesteps(steps, device=device)
    latents = noise.to(device) * scheduler.init_noise_sigma
    accepted = inspect.signature(scheduler.step).parameters
    extra = {"generator": list(generators)} if "generator" in accepted else {}
    guided = guidance != 1.0 and bool(states.any())
    context = torch.cat([torch.zeros_like(states), states]) if guided else states
    times = scheduler.timesteps
    for index, time in enumerate(times):
        seen = scheduler.scale_model_input(latents, time)
        seen = torch.cat([seen, seen]) if guided else seen
        predicted = unet(seen, time, encoder_hidden_states=context, return_dict=False)[0].float()
        if guided:
            without, with_text = predicted.chunk(2)
            predicted = torch.lerp(without, with_text, guidance)
        latents = scheduler.step(predicted, time, latents, return_dict=False, **extra)[0]
        if on_step is not None:
            on_step(index + 1, len(times), latents)
    return latents
