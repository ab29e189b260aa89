"""The blocks of the transparency decoder: resnets, self-attention, levels of a UNet.

Written out here rather than taken from diffusers, so that the published weights do not hang on the
internals of a host library. Attribute names are the published tensor names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def activated(x: Tensor) -> Tensor:
    """SiLU of a map that nothing else holds: written over it where no gradient needs it."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResnetBlock(nn.Module):
    """Two normalised 3 x 3 convolutions beside a shortcut, which is 1 x 1 where widths differ."""

    def __init__(self, before: int, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before, eps=1e-5)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width, eps=1e-5)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        if before != width:
            self.conv_shortcut = nn.Conv2d(before, width, 1)
        self.has_shortcut = before != width

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(activated(self.norm1(x)))
        hidden = self.conv2(activated(self.norm2(hidden)))
        hidden += self.conv_shortcut(x) if self.has_shortcut else x
        return hidden


class SelfAttention(nn.Module):
    """Every position attends to every other; the result is added to the map."""

    def __init__(self, width: int, head_width: int, groups: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, columns = x.shape
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)  # (B, heads, N, head_width)
        tokens = self.to_out[0](mixed.transpose(1, 2).flatten(2))
        return x + tokens.transpose(1, 2).reshape(batch, width, height, columns)


class Resampler(nn.Module):
    """Half or twice the size. The convolution's name is the published one."""

    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x)


class _Level(nn.Module):
    """Resnets, attention after each of them where there is any, then a resampler if not the last.

    before: channels that come into each resnet, its skip included."""

    def __init__(
        self, before: Sequence[int], width: int, head_width: int | None, groups: int
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, width, groups) for channels in before)
        if head_width is not None:
            self.attentions = nn.ModuleList(
                SelfAttention(width, head_width, groups) for _ in before
            )
        self.has_attention = head_width is not None

    def step(self, index: int, x: Tensor) -> Tensor:
        x = self.resnets[index](x)
        return self.attentions[index](x) if self.has_attention else x


class DownLevel(_Level):
    """-> the map, and every map on the way for the skips."""

    def __init__(
        self,
        before: Sequence[int],
        width: int,
        head_width: int | None,
        groups: int,
        resample: bool,
    ) -> None:
        super().__init__(before, width, head_width, groups)
        self.downsamplers = nn.ModuleList([Resampler(width, up=False)] if resample else [])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for index in range(len(self.resnets)):
            x = self.step(index, x)
            skips.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            skips.append(x)
        return x, skips


class UpLevel(_Level):
    """Takes one skip a resnet, the last first."""

    def __init__(
        self,
        before: Sequence[int],
        width: int,
        head_width: int | None,
        groups: int,
        resample: bool,
    ) -> None:
        super().__init__(before, width, head_width, groups)
        self.upsamplers = nn.ModuleList([Resampler(width, up=True)] if resample else [])

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        for index, skip in enumerate(reversed(skips)):
            x = self.step(index, torch.cat([x, skip], dim=1))
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x


class MiddleLevel(nn.Module):
    """Resnet, attention, resnet at the deepest level."""

    def __init__(self, width: int, head_width: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([SelfAttention(width, head_width, groups)])
        self.resnets = nn.ModuleList(ResnetBlock(width, width, groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))
