"""Is this mask good? Is this completion good? One trained neuron each over a frozen network.

The filters of Text2Layer (Zhang et al. 2023, section III-D): an ImageNet network whose last layer
is replaced by one neuron, all else frozen. Theirs is EfficientNet-B0; ours is EfficientNet-Lite0,
the lite form of it, whose weights can be had as a package. The paper does not say how the mask
classifier takes its two inputs: here the picture is shown several times, each time with something
greyed out, and the features of these views are laid end to end before the neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels

if TYPE_CHECKING:
    from multiplane.models.efficientnet import EfficientNetLite

GREY = np.float32(0.5)


def _picture(image: Float, mask: Float) -> Float:
    return image


def _object(image: Float, mask: Float) -> Float:
    return GREY + mask[..., None] * (image - GREY)


def _rest(image: Float, mask: Float) -> Float:
    return image + mask[..., None] * (GREY - image)


# How a picture (H, W, 3) and its mask (H, W) are shown to the network.
VIEWS: Mapping[str, Callable[[Float, Float], Float]] = {
    "picture": _picture,  # the mask does not show
    "object": _object,  # outside the mask is grey
    "rest": _rest,  # inside the mask is grey
}


@dataclass(frozen=True, eq=False)
class Neuron:
    """sigmoid(weight . features + bias). weight: (len(views) * D,) float32, the views in their
    order. threshold: from which probability on the answer is "good"."""

    views: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: float
    threshold: float

    def __post_init__(self) -> None:
        unknown = sorted(set(self.views) - set(VIEWS))
        if unknown or not self.views:
            raise ValueError(f"views must be some of {', '.join(VIEWS)}, got {self.views}")
        if self.weight.ndim != 1 or self.weight.size % len(self.views):
            raise ValueError(
                f"{self.weight.shape} weights do not fit {len(self.views)} views of equal size"
            )

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, len(views) * D) -> (N,) probabilities of "good"."""
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-(features.astype(np.float64) @ self.weight + self.bias)))


class FrozenFeatures:
    """The frozen network: pooled features of pictures. side: pixels of the square it reads."""

    def __init__(self, network: EfficientNetLite, side: int) -> None:
        self.side = side
        self._network = network.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """D, the features of one picture."""
        return self._network.config.head

    def __call__(self, pictures: Sequence[Float]) -> NDArray[np.float32]:
        """(H, W, 3) sRGB 0..1 each -> (N, D). Normalised (x - 127) / 128 on 0..255, as the
        published weights were trained."""
        import torch

        size = (self.side, self.side)
        small = np.stack([resize_channels(picture, size, "area") for picture in pictures])
        batch = torch.from_numpy((small.transpose(0, 3, 1, 2) * 255.0 - 127.0) / 128.0)
        with torch.inference_mode():
            return self._network.features(batch.float()).numpy()

    def of_views(
        self, image: Float, mask: Float | None, views: Sequence[str]
    ) -> NDArray[np.float32]:
        """(len(views) * D,) of one picture (H, W, 3). mask: (H, W) 0..1; None where no view but
        "picture" is asked for."""
        if mask is None:
            if tuple(views) != ("picture",):
                raise ValueError(f"the views {tuple(views)} need a mask")
            return self([image])[0]
        if mask.shape != image.shape[:2]:
            raise ValueError(f"the picture is {image.shape[:2]}, its mask {mask.shape}")
        return self([VIEWS[name](image, mask) for name in views]).reshape(-1)
