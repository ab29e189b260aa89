"""A network's matte made true to the photograph at its own resolution: hair, fur, thin parts.

In a band around the edge alpha is solved anew by closed-form matting: alpha is locally a linear
function of colour (Levin, Lischinski and Weiss 2008), over windows larger than their 3 x 3 so that
the sparse system is a handful of box filters a step (He, Sun and Tang 2010, "Fast matting using
large kernel matting Laplacian matrices"). The network's own matte holds it where that is crisp and
lets go where it is vague: a hard edge stays, a grey ramp becomes strands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import Float, resize_channels


@dataclass(frozen=True)
class RefineConfig:
    """How alpha is solved. Lengths are pixels of a picture of `side`, and grow with larger ones.

    side: pictures are solved at most this large; a larger one follows through the local linear
    model. window: radius of the windows. epsilon: regularises their colour covariance. band: half
    width of the band where the matte is crisp, and where it is vague. hold: weight of the matte
    there. vague: mean softness 4 a (1 - a) from which vagueness begins, and where it is full."""

    side: int = 1536
    window: int = 3
    epsilon: float = 1e-5
    band: tuple[float, float] = (3.0, 20.0)
    hold: tuple[float, float] = (0.5, 0.003)
    vague: tuple[float, float] = (0.1, 0.4)
    softness_radius: float = 8.0
    steps: int = 40
    tolerance: float = 2e-3


DEFAULT = RefineConfig()
_INSIDE, _OUTSIDE = 0.95, 0.05  # of the matte, what counts as sure
_FAINT = 0.02


def refine_alpha(picture: Float, coarse: Float, config: RefineConfig = DEFAULT) -> Float:
    """(H, W) alpha of a picture (H, W, 3), from the coarse matte (H, W) of what is cut out; 0..1.

    Away from the band alpha is exactly 0 or 1. A matte that is sure of nothing comes back as it is.
    Raises ValueError when the sizes differ."""
    if picture.shape[:2] != coarse.shape:
        raise ValueError(f"the picture is {picture.shape[:2]}, its matte {coarse.shape}")
    height, width = coarse.shape
    scale = config.side / max(height, width)
    if scale >= 1.0:
        return _without_residue(_solve(picture, coarse, config))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = resize_channels(picture, size, "area")
    alpha = _solve(small, resize_channels(coarse, size, "area"), config)
    return _enlarge(picture, small, _without_residue(alpha), config)


def _without_residue(alpha: Float) -> Float:
    """`alpha` without the haze mattes leave over a picture: nothing under _FAINT, and nothing that
    does not hang together with something solid. Its range is stretched so that no step appears."""
    import cv2

    stretched = np.clip((alpha - _FAINT) / (1.0 - 2.0 * _FAINT), 0.0, 1.0)
    if not (stretched > 0.5).any():
        return alpha
    _, labels = cv2.connectedComponents((stretched > 0.0).astype(np.uint8), connectivity=8)
    labels = np.asarray(labels)
    solid = np.unique(labels[stretched > 0.5])
    return np.where(np.isin(labels, solid), stretched, np.float32(0.0))


def _solve(picture: Float, coarse: Float, config: RefineConfig) -> Float:
    coarse = coarse.astype(np.float32, copy=False)
    vague = _vagueness(coarse, config)
    reach = config.band[0] + (config.band[1] - config.band[0]) * vague
    inside = _distance_to_edge(coarse > _INSIDE) > reach
    outside = _distance_to_edge(coarse < _OUTSIDE) > reach
    unknown = ~(inside | outside)
    if not (inside.any() and unknown.any()):
        return coarse
    part = _around(unknown, 2 * config.window + 2)
    hold = config.hold[0] ** (1.0 - vague[part]) * config.hold[1] ** vague[part]
    alpha = np.where(inside, np.float32(1.0), np.float32(0.0))
    alpha[part] = _conjugate_gradients(
        np.ascontiguousarray(picture[part], dtype=np.float32),
        np.ascontiguousarray(coarse[part]),
        alpha[part],
        unknown[part],
        hold.astype(np.float32),
        config,
    )
    return alpha


def _vagueness(coarse: Float, config: RefineConfig) -> Float:
    """(H, W) 0..1: how wide the grey of the matte is around a pixel."""
    import cv2

    radius = config.softness_radius
    soft = 4.0 * coarse * (1.0 - coarse)
    mean = cv2.GaussianBlur(soft, (0, 0), radius)
    side = 2 * int(radius) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mean = cv2.GaussianBlur(cv2.dilate(mean, disc), (0, 0), radius / 2)
    low, high = config.vague
    return np.clip((mean - low) / (high - low), 0.0, 1.0).astype(np.float32)


def _distance_to_edge(region: NDArray[np.bool_]) -> Float:
    """(H, W): how far inside `region` a pixel lies, 0 outside it; the picture's own border is no
    edge."""
    import cv2

    if region.all():
        return np.full(region.shape, np.inf, np.float32)
    return np.asarray(
        cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32
    )


def _around(region: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The smallest rows and columns that hold `region` with `margin` pixels about it."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _conjugate_gradients(
    picture: Float,
    coarse: Float,
    known: Float,
    unknown: NDArray[np.bool_],
    hold: Float,
    config: RefineConfig,
) -> Float:
    """Minimise a' L a + sum(hold c (a - coarse)^2) over the unknown pixels, the others `known`;
    c = (2 coarse - 1)^2 is how sure the matte is of a pixel."""
    model = LocalLinear(picture, config.window, config.epsilon)
    trust = np.where(unknown, hold * (2.0 * coarse - 1.0) ** 2, np.float32(0.0))

    def system(values: Float) -> Float:
        return np.where(unknown, values - model.smooth(values) + trust * values, np.float32(0.0))

    fixed = np.where(unknown, np.float32(0.0), known)
    right = np.where(unknown, trust * coarse + model.smooth(fixed), np.float32(0.0))
    solution = np.where(unknown, coarse, np.float32(0.0))
    residual = right - system(solution)
    direction = residual.copy()
    energy = _dot(residual, residual)
    enough = config.tolerance**2 * _dot(right, right)
    for _ in range(config.steps):
        pushed = system(direction)
        curvature = _dot(direction, pushed)
        if energy <= enough or curvature <= 0.0:  # solved as far as float32 goes
            break
        length = np.float32(energy / curvature)
        solution += length * direction
        residual -= length * pushed
        energy, before = _dot(residual, residual), energy
        direction = residual + np.float32(energy / before) * direction
    return np.clip(solution + fixed, 0.0, 1.0)


def _dot(one: Float, other: Float) -> float:
    return float(np.einsum("hw,hw->", one, other, dtype=np.float64))


class LocalLinear:
    """Fits values = a . colour + b in every window of a picture, and averages the fits: one step
    of the guided filter (He, Sun and Tang 2013). values - smooth(values) is the matting Laplacian
    of these windows times values."""

    def __init__(self, picture: Float, radius: int, epsilon: float) -> None:
        self._picture = picture
        self._box = _box_filter(radius)
        self._mean = self._box(picture)
        self._inverse = _inverse_covariance(picture, self._box, epsilon)

    def fit(self, values: Float) -> tuple[Float, Float]:
        """(a (H, W, 3), b (H, W)), averaged over the windows a pixel lies in."""
        mean = self._box(values)
        covariance = self._box(self._picture * values[..., None]) - self._mean * mean[..., None]
        rr, rg, rb, gg, gb, bb = self._inverse
        red, green, blue = covariance[..., 0], covariance[..., 1], covariance[..., 2]
        slope = np.empty_like(covariance)
        slope[..., 0] = rr * red + rg * green + rb * blue
        slope[..., 1] = rg * red + gg * green + gb * blue
        slope[..., 2] = rb * red + gb * green + bb * blue
        offset = mean - np.einsum("hwc,hwc->hw", slope, self._mean)
        return self._box(slope), self._box(offset)

    def smooth(self, values: Float) -> Float:
        slope, offset = self.fit(values)
        return np.einsum("hwc,hwc->hw", slope, self._picture) + offset


def _box_filter(radius: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    import cv2

    side = (2 * radius + 1, 2 * radius + 1)
    return lambda values: np.asarray(cv2.blur(values, side, borderType=cv2.BORDER_REFLECT))


def _inverse_covariance(
    picture: Float, box: Callable[[NDArray[Any]], NDArray[Any]], epsilon: float
) -> tuple[Float, ...]:
    """The six different entries of the inverse of each window's colour covariance + epsilon.

    In double precision: where a window is flat, the differences taken here are all rounding."""
    red, green, blue = (picture[..., channel].astype(np.float64) for channel in range(3))
    mean = {id(channel): box(channel) for channel in (red, green, blue)}

    def covariance(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        found = box(one * other) - mean[id(one)] * mean[id(other)]
        return found + epsilon if one is other else found

    rr, gg, bb = (covariance(channel, channel) for channel in (red, green, blue))
    rg, rb, gb = covariance(red, green), covariance(red, blue), covariance(green, blue)
    cofactors = (
        *(gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg),
        *(rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg),
    )
    scale = 1.0 / (rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2])
    return tuple((each * scale).astype(np.float32) for each in cofactors)


def _enlarge(picture: Float, small: Float, alpha: Float, config: RefineConfig) -> Float:
    """(H, W): the alpha of the small picture at the size of `picture`. Where it is soft it follows
    the large picture's colours by the small one's local linear model; elsewhere it is 0 or 1."""
    height, width = picture.shape[:2]
    model = LocalLinear(small, config.window, config.epsilon)
    slope, offset = model.fit(alpha)
    enlarged = resize_channels(alpha, (width, height))
    soft = (alpha > 0.0) & (alpha < 1.0)
    soft = resize_channels(soft.astype(np.float32), (width, height)) > 0.01
    rows, columns = np.nonzero(soft)
    if rows.size == 0:
        return np.where(enlarged > 0.5, np.float32(1.0), np.float32(0.0))
    follow = _sampled(offset[..., None], rows, columns, picture.shape)[:, 0]
    follow += (_sampled(slope, rows, columns, picture.shape) * picture[soft]).sum(axis=1)
    result = np.where(enlarged > 0.5, np.float32(1.0), np.float32(0.0))
    result[soft] = np.clip(follow, 0.0, 1.0)
    return result


def _sampled(
    values: Float, rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, ...]
) -> Float:
    """(n, C): small (h, w, C) values at pixels of a picture of `shape`, bilinear."""
    import cv2

    x = ((columns + 0.5) * (values.shape[1] / shape[1]) - 0.5).astype(np.float32)
    y = ((rows + 0.5) * (values.shape[0] / shape[0]) - 0.5).astype(np.float32)
    sampled: list[Float] = []
    for start in range(0, len(x), 30_000):  # remap takes sides below 2^15
        part = slice(start, start + 30_000)
        mapped = cv2.remap(
            values, x[part, None], y[part, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        sampled.append(np.asarray(mapped, np.float32).reshape(len(x[part]), -1))
    return np.concatenate(sampled)
