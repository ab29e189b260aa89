"""The batched colour fill against the one of the core, a picture at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multiplane.core.padding import pad_colour
from multiplane.models.padding import pad_colour_batch
from multiplane.models.planes import premultiply


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (16, 9), (1, 5)])
def test_equal_to_the_core(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.random((3, *size, 4), dtype=np.float32)
    pictures[0, ..., 3] = np.round(pictures[0, ..., 3])  # a hard matte
    pictures[1, ..., 3] *= np.linspace(0, 1, size[1])  # a soft one
    pictures[2, ..., 3] = 0  # nothing
    straight = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    filled = pad_colour_batch(premultiply(straight)).permute(0, 2, 3, 1).numpy()
    for picture, made in zip(pictures, filled, strict=True):
        assert np.abs(made - pad_colour(picture)).max() < 2e-5


def test_under_autocast_it_stays_in_float32() -> None:
    premul = premultiply(torch.rand(1, 4, 20, 20))
    with torch.autocast("cpu", torch.bfloat16):
        made = pad_colour_batch(premul)
    assert made.dtype == torch.float32
    assert torch.equal(made, pad_colour_batch(premul))
