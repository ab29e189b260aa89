"""How the frames of a clip look at one another: attention over time at one place of the canvas.

Beside a network of stills, which then sees each frame by itself. What a layer adds to a token x_f
is how its frames differ, |x_f| out(sum_g a_fg (v_g - v_f)): nothing for a still or for frames that
are alike, so a network of stills stays what it is. Attention to itself alone is no change, even
attention to all with out v = 1 makes the frames one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from multiplane.models.rms_norm import RMSNorm
from multiplane.models.rotary import rotary_angles, rotate

FRAME_UNIT = 0.25  # of the rotary code, from one frame to the next


@dataclass(frozen=True)
class FrameLayersConfig:
    """width, head_channels: of the transformer they stand in. layers: one after each of its blocks.
    max_frequency: radians a unit of four frames of the fastest channel pair. Raises ValueError."""

    width: int = 320
    layers: int = 9
    head_channels: int = 64
    max_frequency: float = 12.0

    def __post_init__(self) -> None:
        if self.width % self.head_channels or self.head_channels % 2:
            raise ValueError(
                f"width {self.width} must be a multiple of head_channels {self.head_channels}, "
                "and that of 2"
            )


class FrameAttention(nn.Module):
    """x + |x| out(attention over the frames - what each frame says itself), at every token.

    |x|: its root mean square."""

    def __init__(self, config: FrameLayersConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = width // config.head_channels
        self.modulation = nn.Parameter(torch.zeros(2, width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = RMSNorm(config.head_channels)
        self.key_norm = RMSNorm(config.head_channels)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, modulation: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """x: (B, F, N, D). modulation: (B, 2, D), scale and shift. cosine, sine: (F,
        head_channels / 2). Returns (B, F, N, D)."""
        modulation = (modulation + self.modulation.type_as(modulation))[:, :, None, None]
        scale, shift = modulation.unbind(dim=1)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        size = (norm * x.shape[-1] ** -0.5).to(x.dtype)
        h = torch.addcmul(shift, F.rms_norm(x, (x.shape[-1],)), 1 + scale)
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).unbind(dim=3)  # (B, F, N, h, d)
        waves = cosine.to(q.dtype)[:, None, None], sine.to(q.dtype)[:, None, None]
        q = rotate(self.query_norm(q), *waves).permute(0, 2, 3, 1, 4)
        k = rotate(self.key_norm(k), *waves).permute(0, 2, 3, 1, 4)
        v = v.permute(0, 2, 3, 1, 4)
        # Scaled first: torch.compile (2.13) takes a product scaled afterwards for a pattern of four
        # axes and breaks.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        mixed = scores.softmax(dim=-1).to(v.dtype) @ v - v
        said = self.out(rearrange(mixed, "b n h f d -> b f n (h d)"))
        return torch.addcmul(x, size, said.to(x.dtype))


class FrameLayers(nn.Module):
    """A `FrameAttention` after each block of a network of stills, and what tells them the time."""

    def __init__(self, config: FrameLayersConfig) -> None:
        super().__init__()
        self.config = config
        self.to_modulation = nn.Linear(config.width, 2 * config.width)
        nn.init.zeros_(self.to_modulation.weight)
        nn.init.zeros_(self.to_modulation.bias)
        self.layers = nn.ModuleList(FrameAttention(config) for _ in range(config.layers))

    def angles(self, frames: int, stride: int, device: torch.device) -> Tensor:
        """(F, head_channels / 2) of frames `stride` apart."""
        place = torch.arange(frames, device=device)[:, None] * (FRAME_UNIT * stride)
        split = (self.config.head_channels // 2,)
        return rotary_angles(place, split, self.config.max_frequency)

    def modulation(self, time: Tensor) -> Tensor:
        """time: (B, D) of the wanted tokens, embedded -> (B, 2, D)."""
        return self.to_modulation(F.silu(time)).unflatten(-1, (2, -1))
