"""How the parity data was made: every weight and input comes from a hash of its name.

A case is reproduced by building a network, filling it with `fill`, and comparing its output with
the stored one; no weights need to be stored. `tests/parity/layerdiffuse/README.md` says what each
file holds and how close a result has to be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "parity" / "layerdiffuse"


def case(name: str) -> dict[str, Tensor]:
    """Every tensor of a parity file, such as "decoder_forward_a64"."""
    from safetensors.torch import load_file

    return load_file(FOLDER / f"{name}.safetensors")


def _normal(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 numbers that follow from the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal(shape).astype(np.float32)


def weight(key: str, shape: tuple[int, ...], salt: str = "") -> Tensor:
    """The tensor of a published key: matrices and kernels at 1/sqrt(fan-in), gains about 1,
    biases about 0. Nothing is zero, also what starts at zero in training."""
    normal = _normal(salt + key, shape)
    if len(shape) >= 2:
        scaled = normal * np.float32(1.0 / math.sqrt(max(1, math.prod(shape[1:]))))
    elif key.rpartition(".")[2] == "weight":
        scaled = np.float32(1.0) + np.float32(0.1) * normal
    else:
        scaled = np.float32(0.1) * normal
    return torch.from_numpy(scaled)


def weights(shapes: Mapping[str, tuple[int, ...]], salt: str = "") -> dict[str, Tensor]:
    """A whole state dict, by published key and shape."""
    return {key: weight(key, tuple(shape), salt) for key, shape in shapes.items()}


def fill(network: nn.Module, salt: str = "", prefix: str = "") -> nn.Module:
    """Give a network (it may be on the meta device) the weights of the rule, in evaluation mode,
    without gradients. Its own names must be the published ones; `prefix` comes before each."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    state = {key: weight(prefix + key, shape, salt) for key, shape in shapes.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def normal_input(name: str, shape: tuple[int, ...]) -> Tensor:
    """A standard normal input tensor by its name, such as "a64.latent"."""
    return torch.from_numpy(_normal("input:" + name, shape))


def unit_input(name: str, shape: tuple[int, ...]) -> Tensor:
    """An input tensor with values in (0, 1)."""
    return torch.sigmoid(normal_input(name, shape))
