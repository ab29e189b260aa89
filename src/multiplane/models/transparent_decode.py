"""The eight-fold decode of latent transparency: the network on every flip and quarter turn.

The network is not symmetric, and where it guesses alpha wrong it mostly does so in some orientation
only. The published decode takes the lower median of all eight (`torch.median` of eight values is
the fourth smallest, not the mean of the middle two). `decode_transparent` is that, with fewer
passes where time matters more and in tiles where memory does; `for_inference` makes the network
itself faster. What each costs and saves is measured by `benchmarks/transparent_decode.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multiplane.models.latent_transparency import TransparencyDecoder
from multiplane.models.precision import preferred_dtype

# (flip the width, then so many quarter turns counter-clockwise), in the published order.
PASSES = tuple((flip, turns) for flip in (False, True) for turns in range(4))
# Which of them a quick decode takes: both hands, and as many of the quarter turns as there can be.
CHOSEN = {1: (0,), 2: (0, 6), 4: (0, 2, 5, 7), 8: tuple(range(8))}


@dataclass(frozen=True)
class DecodeOptions:
    """passes: 8 as published; 4, 2 or 1 are quicker and less sure. together: how many
    passes the network takes at once; None takes what suits the device and the size.
    tile: None, or decode in squares of this side, in pixels, for pictures beyond memory.
    overlap: how far neighbouring tiles reach into each other, in pixels; blended linearly there.
    """

    passes: int = 8
    together: int | None = None
    tile: int | None = None
    overlap: int = 128

    def __post_init__(self) -> None:
        if self.passes not in CHOSEN:
            raise ValueError(f"passes must be 1, 2, 4 or 8, got {self.passes}")
        if self.together is not None and self.together < 1:
            raise ValueError(f"together must be at least 1, got {self.together}")
        if self.tile is not None and not 0 <= self.overlap <= self.tile // 2:
            raise ValueError(
                f"overlap must be 0 to half of the tile, {self.tile // 2}, got {self.overlap}"
            )


def for_inference(
    decoder: TransparencyDecoder,
    precision: Literal["fast", "float32"] = "fast",
    device: torch.device | None = None,
) -> TransparencyDecoder:
    """A copy of the network laid out for speed, without gradients; the one given stays as it is.

    device: where it will run, if not where it is; the copy is not moved there.

    "float32" only changes the memory layout: results differ in the last bits. "fast" computes in
    float16 on an accelerator, in bfloat16 on a CPU with instructions for it, and in float32 on
    others. The choice follows from the hardware, never from a clock: the same machine always
    gives the same bytes.
    """
    dtype = torch.float32
    if precision == "fast":
        runs_on = device or decoder.device
        dtype = preferred_dtype() if runs_on.type == "cpu" else torch.float16
    elif precision != "float32":
        raise ValueError(f"precision must be fast or float32, got {precision!r}")
    network = copy.deepcopy(decoder)
    network.eval()
    network.requires_grad_(False)
    for parameter in network.parameters():
        layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
        parameter.data = parameter.data.to(dtype, memory_format=layout)
    return network


def turned(values: Tensor, flip: bool, turns: int) -> Tensor:
    """(B, C, H, W): flipped along the width if asked, then turned counter-clockwise."""
    if flip:
        values = values.flip(-1)
    return values.rot90(turns, (2, 3))


def turned_back(values: Tensor, flip: bool, turns: int) -> Tensor:
    """The inverse of `turned`."""
    values = values.rot90(-turns, (2, 3))
    return values.flip(-1) if flip else values


@torch.no_grad()
def decode_transparent(
    decoder: TransparencyDecoder,
    picture: Tensor,
    latent: Tensor,
    options: DecodeOptions | None = None,
) -> Tensor:
    """picture (B, 3, H, W) in 0..1 and its unscaled latent (B, C, h, w) -> (B, 4, H, W) alpha and
    straight colour A, R, G, B in 0..1, float32, on the picture's device.

    Computes in the network's own dtype. With eight passes the lower median as published; with two
    or four the plain median, whose mean of the middle two has no lean towards clear. Raises
    ValueError for sizes that do not fit the network or the tile."""
    options = options or DecodeOptions()
    if options.tile is not None:
        return _decode_tiled(decoder, picture, latent, options)
    singles = [
        _decode_single(decoder, one, its, options)
        for one, its in zip(picture.split(1), latent.split(1), strict=True)
    ]
    return torch.cat(singles)


def _decode_single(
    decoder: TransparencyDecoder, picture: Tensor, latent: Tensor, options: DecodeOptions
) -> Tensor:
    """(1, 3, H, W), (1, C, h, w) -> (1, 4, H, W): each picture is alone, as published."""
    chosen = [PASSES[index] for index in CHOSEN[options.passes]]
    results = []
    for group in _groups(chosen, options.together or _at_once(picture)):
        raw = decoder(
            torch.cat([turned(picture, *each) for each in group]).to(decoder.dtype),
            torch.cat([turned(latent, *each) for each in group]).to(decoder.dtype),
        )
        clipped = raw.float().clamp(0, 1).split(1)
        results += [turned_back(one, *each) for one, each in zip(clipped, group, strict=True)]
    stack = torch.cat(results)  # (passes, 4, H, W): Apple's median takes four axes at most
    if options.passes == 8:
        return stack.median(dim=0, keepdim=True).values
    middle = slice((options.passes - 1) // 2, options.passes // 2 + 1)
    return stack.sort(dim=0).values[middle].mean(dim=0, keepdim=True)


def _at_once(picture: Tensor) -> int:
    """How many passes to take at once. Weights are read once for all of them, which is most of the
    work on a small picture; a large one is faster alone, while its maps fit a CPU's cache."""
    if picture.device.type != "cpu":
        return 4
    return max(1, 256**2 // (picture.shape[-1] * picture.shape[-2]))


def _groups(chosen: list[tuple[bool, int]], together: int) -> Iterator[list[tuple[bool, int]]]:
    """Passes that go through the network at once: lying and standing ones apart."""
    for parity in (0, 1):
        alike = [each for each in chosen if each[1] % 2 == parity]
        for start in range(0, len(alike), together):
            yield alike[start : start + together]


def _decode_tiled(
    decoder: TransparencyDecoder, picture: Tensor, latent: Tensor, options: DecodeOptions
) -> Tensor:
    tile, overlap, multiple = options.tile or 0, options.overlap, decoder.multiple
    if tile < multiple or tile % multiple or overlap % multiple:
        raise ValueError(
            f"tile and overlap must be multiples of {multiple} for this network, got {tile} and "
            f"{overlap}"
        )
    decoder.check_sizes(picture, latent)
    height, width = picture.shape[-2:]
    whole = DecodeOptions(options.passes, options.together)
    total = torch.zeros(picture.shape[0], 4, height, width, device=picture.device)
    weight = torch.zeros(1, 1, height, width, device=picture.device)
    factor = decoder.factor
    for top, bottom, down in _spans(height, tile, overlap):
        for left, right, across in _spans(width, tile, overlap):
            part = decode_transparent(
                decoder,
                picture[..., top:bottom, left:right],
                latent[..., top // factor : bottom // factor, left // factor : right // factor],
                whole,
            )
            share = (down[:, None] * across).to(picture.device)
            total[..., top:bottom, left:right] += part * share
            weight[..., top:bottom, left:right] += share
    return total / weight


def _spans(size: int, tile: int, overlap: int) -> Iterator[tuple[int, int, Tensor]]:
    """(start, end, weights) of the tiles along one axis, the last one flush with the end."""
    if size <= tile:
        yield 0, size, torch.ones(size)
        return
    starts = [*range(0, size - tile, tile - overlap), size - tile]
    ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
    for start in starts:
        weights = torch.ones(tile)
        if start > 0:
            weights[:overlap] *= ramp
        if start + tile < size:
            weights[tile - overlap :] *= ramp.flip(0)
        yield start, start + tile, weights
