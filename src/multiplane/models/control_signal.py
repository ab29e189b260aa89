"""The control-signal encoder of LayerDiffuse's conditional SD1.5 models (4,712,736 parameters).

A picture becomes one map for every resolution of the UNet's attentions; each attention picks its
own by the number of its tokens. facts: the released networks; the paper does not describe it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

CHANNELS = 256
MULTIPLE = 64  # the deepest map is 64 times smaller than the picture
_TRUNK = (3, 32, 32, 64, 64, 128, 128, 256, 256)
_TRUNK_STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)


def _stack(widths: tuple[int, ...], strides: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions, each followed by SiLU."""
    layers: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(widths), strides, strict=True):
        layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.SiLU()]
    return nn.Sequential(*layers)


class ControlSignalEncoder(nn.Module):
    """A picture -> {tokens: map}, at 1/8, 1/16, 1/32 and 1/64 of its size.

    State-dict keys are the published ones (`blocks_0.0.weight` ...) without `kwargs_encoder.`."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks_0 = _stack(_TRUNK, _TRUNK_STRIDES)
        for level in (1, 2, 3):
            self.add_module(f"blocks_{level}", _stack((CHANNELS,) * 3, (2, 1)))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """image: (B, 3, H, W) in [-1, 1], H and W multiples of 64: the given layer, an RGBA one
        laid over mid grey (`multiplane.core.condition_image`).

        Returns {h * w: (B, 256, h, w)}. Raises ValueError for another size."""
        height, width = image.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(
                f"the condition picture is {width} x {height}: bring it to the size of the "
                f"generated picture, both sides multiples of {MULTIPLE}"
            )
        signals: dict[int, Tensor] = {}
        for block in self.children():
            image = block(image)
            signals[image.shape[-2] * image.shape[-1]] = image
        return signals
