"""Assets made of something else: glass that is seen through, and a glow around it.

No licensed 3D asset is see-through and none glows, so a model of them would never learn alpha that
is soft over whole areas. Each material is a function of a picture's own colours and alpha, exact as
any other alpha, with words of its own; what it is called in a prompt is all a model is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.models.planes import over, premultiply, unpremultiply

GLOW_ROOM = 0.78  # an object shrinks to this share of its canvas, or its glow would be cut off


def blurred(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, S, S), clear outside. sigma: pixels."""
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = (kernel / kernel.sum()).expand(planes.shape[1], 1, -1)
    channels = planes.shape[1]
    rows = F.conv2d(planes, kernel[:, :, None], padding=(0, reach), groups=channels)
    return F.conv2d(rows, kernel[:, :, :, None], padding=(reach, 0), groups=channels)


def glass(pictures: Tensor) -> Tensor:
    """The object in tinted glass: thin where it is flat, denser at its rim, where its colours
    change and where it shines. (B, 4, S, S) premultiplied in [0, 1], and so returned."""
    size = pictures.shape[-1]
    alpha = pictures[:, 3:]
    color = pictures[:, :3] / alpha.clamp(min=1e-3)
    rim = ((1 - blurred(alpha, size / 28)) * 1.7).clamp(0, 1)
    around = blurred(pictures, size / 40)
    local = around[:, :3] / around[:, 3:].clamp(min=1e-3)
    detail = ((color - local).abs().amax(dim=1, keepdim=True) * 2.2).clamp(0, 1)
    shine = ((color.mean(dim=1, keepdim=True) - local.mean(dim=1, keepdim=True)) * 4).clamp(0, 1)
    density = (0.34 + 0.45 * rim + 0.5 * detail + 0.4 * shine).clamp(0, 0.94)
    lighter = (0.15 + 0.5 * shine).clamp(0, 1)
    tinted = (color + (1 - color) * lighter).clamp(0, 1)
    thinned = alpha * density
    return torch.cat([tinted * thinned, thinned], dim=1)


def glow(pictures: Tensor) -> Tensor:
    """The object, smaller, a little brighter and in a halo of its own light that fades to clear.
    (B, 4, S, S) premultiplied in [0, 1], and so returned."""
    size = pictures.shape[-1]
    inner = round(size * GLOW_ROOM)
    small = F.interpolate(pictures, size=(inner, inner), mode="area")
    before = (size - inner) // 2
    after = size - inner - before
    small = F.pad(small, (before, after, before, after))
    alpha = small[:, 3:]
    bright = torch.cat([small[:, :3] + 0.12 * (alpha - small[:, :3]), alpha], dim=1)
    light = blurred(small, size / 14)
    hue = light[:, :3] / light[:, 3:].clamp(min=1e-3)
    hue = (hue / hue.amax(dim=1, keepdim=True).clamp(min=0.2) * 0.75 + 0.25).clamp(0, 1)
    faint = (light[:, 3:] * 1.5).clamp(0, 1) * 0.8
    faint = faint * (faint > 0.012)
    return over(bright, torch.cat([hue * faint, faint], dim=1)).clamp(0, 1)


# name, as in `style_weights` -> (how it is drawn, how it is asked for)
MATERIALS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "glass": (glass, ("glass {}", "a glass {}", "a see-through {}", "{} made of glass")),
    "glow": (glow, ("glowing {}", "a glowing {}", "a {} with a glow around it")),
}


def captions_of(material: str, name: str) -> list[str]:
    """What the asset called `name` is called in a material; the plain way first."""
    bare = name.removeprefix("a ").removeprefix("an ")
    return [form.format(bare) for form in MATERIALS[material][1]]


def in_material(material: str, pixels: Tensor, chunk: int = 64) -> Tensor:
    """(N, 4, S, S) uint8 straight RGBA -> the same of the pictures in a material."""
    draw = MATERIALS[material][0]
    made = []
    for start in range(0, len(pixels), chunk):
        planes = draw(premultiply(pixels[start : start + chunk].float() / 255))
        made.append((unpremultiply(planes, 0.5 / 255) * 255).round().to(torch.uint8))
    return torch.cat(made)


def first_rows(names: Sequence[str]) -> list[int]:
    """The first row of each name, in the order they come."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    return list(first.values())
