"""How layered clips move, and how sharp their alpha is where the truth is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.models.planes import over


def frame_difference(clips: Tensor) -> float:
    """Mean absolute difference between neighbouring frames. clips: (..., F, C, S, S) in [0, 1];
    nan for a single frame."""
    return float(clips.diff(dim=-4).abs().mean())


def edge_band(alpha: Tensor, reach: int = 2) -> Tensor:
    """(..., 1, S, S) bool: within `reach` pixels of where alpha crosses one half, and wherever it
    is partial (0.05 to 0.95). alpha: the same shape, in [0, 1]."""
    inside = (alpha >= 0.5).float().flatten(0, -4)
    width = 2 * reach + 1
    grown = F.max_pool2d(inside, width, 1, reach)
    shrunk = -F.max_pool2d(-inside, width, 1, reach)
    near = (grown > shrunk).view(alpha.shape)
    return near | ((alpha > 0.05) & (alpha < 0.95))


def alpha_edge_error(made: Tensor, true: Tensor, reach: int = 2) -> float:
    """Mean absolute alpha error in the true edge band. made, true: (..., 4, S, S) in [0, 1]; nan
    where the truth has no edge."""
    band = edge_band(true[..., 3:, :, :], reach)
    return float((made - true)[..., 3:, :, :].abs()[band].mean())


def alpha_softness(made: Tensor) -> float:
    """Share of touched pixels (alpha above 0.05) that are partial (below 0.95): blur raises it."""
    alpha = made[..., 3, :, :]
    touched = alpha > 0.05
    return float((touched & (alpha < 0.95)).sum() / touched.sum().clamp(min=1))


def alpha_figures(made: Tensor, true: Tensor) -> dict[str, float]:
    """What is judged of foregrounds whose truth is known. made, true: (..., F, 4, S, S)."""
    return {
        "alpha edge error": alpha_edge_error(made, true),
        "softness": alpha_softness(made),
        "motion": frame_difference(made),
    }


def plane_figures(clips: Tensor, planes: tuple[str, ...]) -> dict[str, float]:
    """Frame difference of each plane, and the mean distance of the composite from
    over(foreground, background). clips: (B, P, F, 4, S, S) premultiplied in [0, 1]."""
    by_name = dict(zip(planes, clips.unbind(dim=1), strict=True))
    figures = {f"motion {name}": frame_difference(plane) for name, plane in by_name.items()}
    behind = torch.cat(
        [
            by_name["background"][..., :3, :, :],
            torch.ones_like(by_name["background"][..., 3:, :, :]),
        ],
        dim=-3,
    )
    whole = over(by_name["foreground"], behind)
    apart = (whole - by_name["composite"])[..., :3, :, :].abs().mean()
    return {
        **figures,
        "disagreement": float(apart),
        "softness": alpha_softness(by_name["foreground"]),
    }


def film_strip(clip: Tensor) -> Tensor:
    """Frames side by side, a row a plane: (P, F, 4, S, S) -> (P, 4, S, F * S)."""
    return torch.cat(list(clip.unbind(dim=1)), dim=-1)
