"""Pictures into and out of a pipeline, and the padded canvas between them.

Inside, a picture is (B, 4, H, W) float32, straight alpha, [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from multiplane.core.condition_image import condition_image
from multiplane.core.pixels import resize, to_float, to_u8
from multiplane.core.request import MAX_SIDE
from multiplane.pipelines.layerdiffuse.modes import TRANSPARENT

Picture: TypeAlias = "Image.Image | np.ndarray | Tensor | Sequence[Any]"
OutputType = Literal["pil", "uint8", "np", "pt", "latent"]
OUTPUT_TYPES: tuple[OutputType, ...] = ("pil", "uint8", "np", "pt", "latent")
STEP = 64  # the transparency decoder and the control encoder halve six times


def read_pictures(name: str, picture: Picture) -> Tensor:
    """Pictures of the plane `name` -> (N, 4, H, W).

    picture: PIL, (H, W, C) or (N, H, W, C) numpy (uint8, uint16, or float 0..1), (C, H, W) or
    (N, C, H, W) torch floats in [0, 1], or a list of equal ones. A foreground needs an alpha; for
    an opaque plane C may be 3, and an alpha, when there is one, must be 1 throughout.
    Raises ValueError for other channels, shapes, ranges, or sizes that differ."""
    if isinstance(picture, Sequence) and not isinstance(picture, str):
        parts = [read_pictures(name, one) for one in picture]
        if not parts:
            raise ValueError(f"{name}: the list of pictures is empty")
        sizes = {tuple(part.shape[-2:]) for part in parts}
        if len(sizes) > 1:
            text = ", ".join(f"{w} x {h}" for h, w in sorted(sizes))
            raise ValueError(f"{name}: pictures of one batch differ in size ({text}): resize them")
        return torch.cat(parts)
    batch = _channels_first(name, picture)
    channels = batch.shape[1]
    if channels == 3 and name not in TRANSPARENT:
        return torch.cat([batch, torch.ones_like(batch[:, :1])], dim=1)
    if channels != 4:
        allowed = "4 (RGBA)" if name in TRANSPARENT else "3 (RGB), or 4 with alpha 1 throughout"
        raise ValueError(f"{name} has {channels} channels, it needs {allowed}: convert it first")
    if name not in TRANSPARENT and float(batch[:, 3].min()) < 1.0:
        raise ValueError(
            f"the {name} is see-through (alpha goes down to {float(batch[:, 3].min()):.2f}) and a "
            f"{name} is opaque: flatten it onto a colour first"
        )
    return batch


def read_masks(name: str, mask: Picture) -> Tensor:
    """Masks -> (N, 1, H, W) in [0, 1]. mask: PIL (read as grey), (H, W) or (N, H, W) numpy or
    torch, or a list. Raises ValueError for other shapes or values."""
    if isinstance(mask, Sequence):
        return torch.cat([read_masks(name, one) for one in mask])
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"))
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(
            to_float(mask.astype(np.uint8) * 255 if mask.dtype == bool else mask)
        )
    values = mask.float()
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (2, 3):
        raise ValueError(
            f"keep for {name} has shape {tuple(values.shape)}: give (H, W), or (N, H, W) for a "
            "batch"
        )
    _need_unit(f"keep for {name}", values)
    return values.reshape(-1, 1, *values.shape[-2:])


def _channels_first(name: str, picture: Any) -> Tensor:
    if isinstance(picture, Image.Image):
        has_alpha = "A" in picture.getbands() or "transparency" in picture.info
        picture = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    if isinstance(picture, np.ndarray):
        if picture.ndim not in (3, 4):
            raise ValueError(f"{name} has shape {picture.shape}: give (H, W, C) or (N, H, W, C)")
        values = torch.from_numpy(np.array(to_float(picture), dtype=np.float32)).movedim(-1, -3)
    elif isinstance(picture, Tensor):
        if picture.ndim not in (3, 4) or not picture.is_floating_point():
            raise ValueError(
                f"{name} is a {picture.dtype} tensor of shape {tuple(picture.shape)}: give floats "
                "in [0, 1], (C, H, W) or (N, C, H, W)"
            )
        values = picture.detach().to("cpu", torch.float32)
    else:
        raise ValueError(
            f"{name} is a {type(picture).__name__}: give a PIL picture, a numpy array or a tensor"
        )
    _need_unit(name, values)
    # One memory layout whatever it was given as: convolutions round by it.
    return (values if values.ndim == 4 else values[None]).contiguous()


def _need_unit(name: str, values: Tensor) -> None:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # also refuses NaN
        raise ValueError(f"{name} has values {low:.3g}..{high:.3g}: floats must be in 0..1")


def fit_size(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 4, H, W) -> (N, 4, height, width): scaled until it covers size = (width, height), the
    rest cut off evenly. Colour is weighted by alpha; colour under clear pixels goes."""
    width, height = size
    if tuple(pictures.shape[-2:]) == (height, width):
        return pictures
    scale = max(width / pictures.shape[-1], height / pictures.shape[-2])
    cover = (
        max(width, round(pictures.shape[-1] * scale)),
        max(height, round(pictures.shape[-2] * scale)),
    )
    x, y = (cover[0] - width) // 2, (cover[1] - height) // 2
    scaled = [resize(one.permute(1, 2, 0).numpy(), cover) for one in pictures]
    stack = torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)
    return stack[..., y : y + height, x : x + width].contiguous()


def shown_to_model(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Given planes (N, 4, H, W) as conditions: over mid grey, brought to size = (width, height) the
    published way, (N, 3, height, width); (1, ...) where one picture serves all."""
    width, height = size
    different = pictures[:1] if pictures.stride(0) == 0 else pictures
    made = [condition_image(one.permute(1, 2, 0).numpy(), height, width) for one in different]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous().clamp(0, 1)


@dataclass(frozen=True)
class PaddedCanvas:
    """A picture of any size in the middle of one whose sides are multiples of `step`.

    width, height: of the picture, checked by `of`."""

    width: int
    height: int
    step: int = STEP

    @classmethod
    def of(cls, width: int, height: int, step: int = STEP) -> PaddedCanvas:
        """Raises ValueError for a size no picture can have."""
        for name, side in (("width", width), ("height", height)):
            if not isinstance(side, int | np.integer) or not 1 <= side <= MAX_SIDE:
                raise ValueError(f"{name} must be a whole number 1..{MAX_SIDE}, got {side!r}")
        return cls(int(width), int(height), step)

    @property
    def inner(self) -> tuple[int, int]:
        """(width, height) the model works at."""
        return -(-self.width // self.step) * self.step, -(-self.height // self.step) * self.step

    @property
    def _margins(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom."""
        across, down = self.inner[0] - self.width, self.inner[1] - self.height
        return across // 2, across - across // 2, down // 2, down - down // 2

    def inward(self, picture: Tensor) -> Tensor:
        """(N, C, height, width) -> (N, C, inner height, inner width): the border pixels go on
        beyond the edge, so an object cut by the frame is not cut anew inside it."""
        return F.pad(picture, self._margins, mode="replicate")

    def outward(self, picture: Tensor) -> Tensor:
        """(N, C, inner height, inner width) -> (N, C, height, width)."""
        left, _, top, _ = self._margins
        return picture[..., top : top + self.height, left : left + self.width]


def write_pictures(pictures: Tensor, output_type: OutputType) -> Any:
    """(N, 4, H, W) -> a list of RGBA PIL pictures, (N, H, W, 4) uint8 or float32, or as it is.

    Rounded to the nearest level, so that what was read from 8 bits comes back exactly; the released
    code truncates."""
    if output_type == "pt":
        return pictures
    array = pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if output_type == "np":
        return array
    levels = to_u8(array)
    return levels if output_type == "uint8" else [Image.fromarray(one, "RGBA") for one in levels]
