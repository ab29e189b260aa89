"""EfficientNet-Lite0: features of pictures, for KID, retrieval and the quality classifiers.

Architecture: Tan and Le 2019 (arXiv 1905.11946), in the lite form of the TensorFlow TPU models
(no squeeze-and-excite, ReLU6, fixed stem and head). Inference only. The published weights are
named after the TensorFlow port (`_blocks.3._depthwise_conv.weight`); `rename_published` maps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Stage:
    """A run of inverted residual blocks; `stride` belongs to the first of them."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    width: int


@dataclass(frozen=True)
class EfficientNetConfig:
    stem: int = 32
    head: int = 1280
    classes: int = 1000
    stages: tuple[Stage, ...] = (
        Stage(1, 3, 1, 1, 16),
        Stage(2, 3, 2, 6, 24),
        Stage(2, 5, 2, 6, 40),
        Stage(3, 3, 2, 6, 80),
        Stage(3, 5, 1, 6, 112),
        Stage(4, 5, 2, 6, 192),
        Stage(1, 3, 1, 6, 320),
    )


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: an odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', ceil(H/s), ceil(W/s))
        stride, kernel = self.stride[0], self.kernel_size[0]
        padding: list[int] = []
        for length in (input.shape[3], input.shape[2]):
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, padding))


class ConvNorm(nn.Module):
    """Convolution, batch norm, and ReLU6 unless `linear`."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x if self.linear else functional.relu6(x)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; the input is added where the shape is kept."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = channels * expand
        self.expand = ConvNorm(channels, inner, 1) if expand > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, width, 1, linear=True)
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else self.expand(x)
        out = self.project(self.depthwise(inner))
        return x + out if self.residual else out


class EfficientNetLite(nn.Module):
    """`features` gives the pooled (B, 1280) that every measure here uses; `forward` the 1000
    ImageNet logits, kept because they are how the port is checked."""

    def __init__(self, config: EfficientNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or EfficientNetConfig()
        self.stem = ConvNorm(3, self.config.stem, 3, stride=2)
        blocks: list[nn.Module] = []
        channels = self.config.stem
        for stage in self.config.stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    InvertedResidual(channels, stage.width, stage.kernel, stride, stage.expand)
                )
                channels = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(channels, self.config.head, 1)
        self.classifier = nn.Linear(self.config.head, self.config.classes)

    def features(self, picture: Tensor) -> Tensor:  # (B, 3, H, W) normalised -> (B, 1280)
        x = self.stem(picture)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean(dim=(2, 3))

    def forward(self, picture: Tensor) -> Tensor:  # (B, 3, H, W) normalised -> (B, 1000) logits
        return self.classifier(self.features(picture))


def rename_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published key -> ours, for every tensor of the file; raises KeyError on an unknown one."""
    parts = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        "_conv_head": "head.conv",
        "_bn1": "head.norm",
        "_fc": "classifier",
    }
    block_parts = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    renamed: dict[str, Tensor] = {}
    for key, tensor in published.items():
        head, _, rest = key.partition(".")
        if head == "_blocks":
            index, part, leaf = rest.split(".")
            renamed[f"blocks.{index}.{block_parts[part]}.{leaf}"] = tensor
        else:
            renamed[f"{parts[head]}.{rest}"] = tensor
    return renamed


def load_published(path: Path) -> EfficientNetLite:
    """EfficientNet-Lite0 in evaluation mode from the published state dict (.pth) at `path`."""
    network = EfficientNetLite()
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(rename_published(state))
    return network.eval().requires_grad_(False)
