"""The mask losses of Text2Layer (arXiv 2307.09781, section IV-C), which it takes from the matting
literature: absolute, composition and Laplacian pyramid error.

Every sum over pixels is divided by the number of pixels of the picture and of pictures of the
batch; the formulas' own proportions are kept, and the figures do not depend on the size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 3
EPSILON = 1e-6


def composition_error(
    predicted: Tensor, mask: Tensor, foreground: Tensor, background: Tensor
) -> Tensor:
    """Mean over pixels and colours of sqrt((C - C')^2 + eps^2), C = m F + (1 - m) B with the true
    mask and C' with the predicted one, F and B the true ones in both (Deep Image Matting, Xu et
    al., arXiv 1703.03872, equation 2): only the mask is taught.

    predicted, mask: (B, 1, H, W) in [0, 1]. foreground, background: (B, 3, H, W). The paper's text
    does not tell eps = 1e-6 from eps^2 = 1e-6; eps is 1e-6 here. Returns a scalar."""
    difference = (predicted - mask) * (foreground - background)  # C' - C
    return (difference.square() + EPSILON**2).sqrt().mean()


def _blurred(picture: Tensor, gain: float) -> Tensor:
    """(B, 1, H, W) filtered by the 5 x 5 binomial kernel times `gain`, mirrored at the border."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=picture.device) / 16
    kernel = gain * taps[:, None] * taps[None]
    return F.conv2d(F.pad(picture, (2, 2, 2, 2), mode="reflect"), kernel[None, None])


def laplacian_pyramid(picture: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """The band-pass levels of (B, 1, H, W), finest first: what each halving loses (Burt and
    Adelson 1983). The last blurred picture is left out. Raises ValueError for sides the levels
    cannot halve down to at least 3 pixels."""
    height, width = picture.shape[-2:]
    if height % 2**levels or width % 2**levels or min(height, width) < 3 * 2 ** (levels - 1):
        raise ValueError(
            f"{levels} levels need sides that are multiples of {2**levels} and at least "
            f"{3 * 2 ** (levels - 1)}, got {width} x {height}"
        )
    found = []
    for _ in range(levels):
        smaller = _blurred(picture, 1.0)[..., ::2, ::2]
        spread = torch.zeros_like(picture)
        spread[..., ::2, ::2] = smaller
        found.append(picture - _blurred(spread, 4.0))
        picture = smaller
    return found


def laplacian_error(predicted: Tensor, mask: Tensor, levels: int = LEVELS) -> Tensor:
    """sum_j 2^(j-1) |phi_j(m') - phi_j(m)|_1 over the levels j = 1.. of the Laplacian pyramid
    (weights 1, 2, 4: Context-Aware Image Matting, Hou and Liu, arXiv 1909.09725, section 3.2), over
    the number of pixels of the masks (B, 1, H, W). Returns a scalar."""
    bands = laplacian_pyramid((predicted - mask).float(), levels)  # the pyramid is linear
    total = torch.stack([2**j * band.abs().sum() for j, band in enumerate(bands)]).sum()
    return total / mask.numel()


def mask_loss(predicted: Tensor, mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """L_mask = |m' - m|_1 + 2 composition + 3 Laplacian. Shapes as in `composition_error`."""
    absolute = (predicted - mask).abs().mean()
    composition = composition_error(predicted, mask, foreground, background)
    return absolute + 2 * composition + 3 * laplacian_error(predicted, mask)
