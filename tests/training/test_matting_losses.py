"""The mask losses against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from multiplane.training.matting_losses import (
    composition_error,
    laplacian_error,
    laplacian_pyramid,
    mask_loss,
)

TAPS = np.array([1, 4, 6, 4, 1]) / 16
KERNEL = np.outer(TAPS, TAPS)


def a_mask(seed: int, size: int = 32) -> torch.Tensor:
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(seed))


def plain_pyramid(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    """Burt and Adelson by scipy, one picture."""
    found = []
    for _ in range(levels):
        smaller = convolve(picture, KERNEL, mode="mirror")[::2, ::2]
        spread = np.zeros_like(picture)
        spread[::2, ::2] = smaller
        found.append(picture - convolve(spread, 4 * KERNEL, mode="mirror"))
        picture = smaller
    return found


def test_the_pyramid_is_scipys() -> None:
    mask = a_mask(0)
    made = laplacian_pyramid(mask)
    for row in range(2):
        wanted = plain_pyramid(mask[row, 0].double().numpy(), 3)
        for one, two in zip(made, wanted, strict=True):
            np.testing.assert_allclose(one[row, 0].numpy(), two, atol=1e-5)


def test_a_constant_mask_has_an_empty_pyramid_inside() -> None:
    bands = laplacian_pyramid(torch.full((1, 1, 32, 32), 0.7))
    for band in bands:
        assert float(band.abs().max()) < 1e-6


def test_the_laplacian_error_weighs_the_levels_one_two_four() -> None:
    made, mask = a_mask(1), a_mask(2)
    wanted = 0.0
    for row in range(2):
        difference = (made - mask)[row, 0].double().numpy()
        levels = plain_pyramid(difference, 3)
        wanted += sum(2**j * np.abs(level).sum() for j, level in enumerate(levels))
    np.testing.assert_allclose(float(laplacian_error(made, mask)), wanted / made.numel(), rtol=1e-5)


def test_the_composition_error_is_that_of_the_composites() -> None:
    generator = torch.Generator().manual_seed(3)
    made, mask = a_mask(4).double(), a_mask(5).double()
    f, b = (torch.rand(2, 3, 32, 32, generator=generator).double() for _ in range(2))
    true = (mask * f + (1 - mask) * b).numpy()
    other = (made * f + (1 - made) * b).numpy()
    wanted = np.sqrt((true - other) ** 2 + 1e-12).mean()
    np.testing.assert_allclose(float(composition_error(made, mask, f, b)), wanted, rtol=1e-9)


def test_only_the_mask_is_taught_and_weights_are_one_two_three() -> None:
    made = a_mask(6).requires_grad_()
    mask = a_mask(7)
    f, b = (torch.rand(2, 3, 32, 32, requires_grad=True) for _ in range(2))
    loss = mask_loss(made, mask, f.detach(), b.detach())
    parts = (
        (made - mask).abs().mean()
        + 2 * composition_error(made, mask, f, b)
        + 3 * laplacian_error(made, mask)
    )
    torch.testing.assert_close(loss, parts)
    loss.backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert float(mask_loss(mask, mask, f, b)) < 1e-5


def test_sides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        laplacian_pyramid(torch.zeros(1, 1, 20, 24))
