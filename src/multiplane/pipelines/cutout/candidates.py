"""Several ways to cut one photograph, scored without knowing the answer; and whether there is
anything to cut at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from multiplane.core.pixels import Float
from multiplane.pipelines.cutout.refine import RefineConfig

MAX_CANDIDATES = 6
LEAST_AREA, MOST_AREA = 0.002, 0.97  # of the picture, covered by more than half
LEAST_DECIDED = 0.6  # share of a matte that lies where it is more than half
MARGIN = 0.02  # of the total: by which another way must beat the plain one


class NoSubject(ValueError):
    """Nothing in the picture stands out clearly enough to be cut; the text says what was seen."""


@dataclass(frozen=True)
class Recipe:
    """How one candidate is cut. levels: the matte's values that become 0 and 1, before the edge is
    refined."""

    matte: str
    refine: RefineConfig | None
    levels: tuple[float, float] = (0.0, 1.0)

    @property
    def name(self) -> str:
        edge = "as it is" if self.refine is None else self._edge(self.refine)
        low, high = self.levels
        cut = "" if (low, high) == (0.0, 1.0) else f", levels {low:g} to {high:g}"
        return f"{self.matte}, {edge}{cut}"

    @staticmethod
    def _edge(config: RefineConfig) -> str:
        return "firm edge" if config.band[1] <= FIRM.band[1] else "fine edge"


FINE = RefineConfig()
FIRM = replace(FINE, band=(3.0, 4.0), hold=(0.5, 0.1))
# The promptable segmenter paints at 256 px: its grey is want of resolution, not of certainty.
PROMPTED = Recipe("prompted", replace(FINE, band=(3.0, 8.0), hold=(0.5, 0.1)), (0.25, 0.75))


def recipes(matte: str, count: int, refine: bool = True) -> tuple[Recipe, ...]:
    """The first `count` ways to try, the plain one first; they need no download beyond `matte`."""
    other = "u2net" if matte == "u2netp" else "u2netp"
    second = matte if other == "u2net" else other  # u2net is never fetched unasked
    tried = (
        Recipe(matte, FINE),
        Recipe(matte, FIRM),
        Recipe(matte, FINE, (0.3, 0.7)),
        Recipe(second, FINE),
        Recipe(second, FIRM, (0.3, 0.7)),
        Recipe(matte, FIRM, (0.1, 0.4)),
    )
    unique = dict.fromkeys(each if refine else replace(each, refine=None) for each in tried)
    return tuple(unique)[:count]


@dataclass(frozen=True)
class Scores:
    """What is known of a cut before its background is completed.

    area: share covered by more than half. recomposition: mean difference of the picture and its
    estimated colours laid together, where the edge is soft. entropy: mean uncertainty of alpha, in
    bits, over what it covers. duplicate: how alike foreground and background are along the edge, 1
    for the same (an edge through the middle of something shows it on both sides). agreement: mean
    IoU with the other candidates. empty: nothing, or the whole picture, is covered."""

    area: float
    recomposition: float
    entropy: float
    duplicate: float
    agreement: float
    empty: bool

    @property
    def total(self) -> float:
        """Higher is better; an empty cut is below every other."""
        if self.empty:
            return -1.0
        unsettled = min(self.recomposition / 0.05, 1.0)
        return (
            0.4 * self.agreement
            + 0.3 * (1.0 - self.duplicate)
            + 0.2 * (1.0 - min(self.entropy, 1.0))
            + 0.1 * (1.0 - unsettled)
        )

    def report(self) -> Mapping[str, float | bool]:
        """The figures as plain JSON."""
        figures = {
            name: round(float(getattr(self, name)), 5)
            for name in ("area", "recomposition", "entropy", "duplicate", "agreement")
        }
        return {**figures, "empty": self.empty, "total": round(self.total, 5)}


def chosen(totals: Sequence[float]) -> int:
    """The index of the best total; the first, which is the plain way, unless another is better by
    more than MARGIN (totals this close say nothing: docs/decompose.md)."""
    best = max(range(len(totals)), key=lambda index: totals[index])
    return best if totals[best] > totals[0] + MARGIN else 0


def score(
    picture: Float,
    alpha: Float,
    colours: tuple[Float, Float],
    others: Sequence[Float],
) -> Scores:
    """Scores of one cut. colours: (foreground, background) as `estimate_foreground` gives them.
    others: the alphas of the other candidates."""
    solid = alpha > 0.5
    area = float(solid.mean())
    edge = (alpha > 0.02) & (alpha < 0.98)
    front, back, seen, share = (
        (values[edge] for values in (*colours, picture, alpha[..., None]))
        if edge.any()
        else (np.zeros((1, channels), np.float32) for channels in (3, 3, 3, 1))
    )
    laid = front * share + back * (1.0 - share)
    contrast = float(np.abs(front - back).max(axis=1).mean()) if edge.any() else 0.25
    covered = np.clip(alpha[alpha > 0.02], 1e-4, 1.0 - 1e-4).astype(np.float64)
    bits = -(covered * np.log2(covered) + (1.0 - covered) * np.log2(1.0 - covered))
    return Scores(
        area=area,
        recomposition=float(np.abs(laid - seen).mean()),
        entropy=float(bits.mean()) if covered.size else 1.0,
        duplicate=float(np.exp(-contrast / 0.1)),
        agreement=float(np.mean([iou(alpha, other) for other in others])) if others else 1.0,
        empty=not LEAST_AREA <= area <= MOST_AREA,
    )


def iou(one: Float, other: Float) -> float:
    """Soft intersection over union; 1 for two empty mattes."""
    union = float(np.maximum(one, other).sum(dtype=np.float64))
    return float(np.minimum(one, other).sum(dtype=np.float64)) / union if union > 0.0 else 1.0


def check_subject(coarse: Float) -> None:
    """Raises NoSubject when a network's matte (H, W) found nothing clear: too little, nearly all,
    or mostly doubt."""
    solid = coarse > 0.5
    area = float(solid.mean())
    decided = float(coarse[solid].sum(dtype=np.float64)) / max(
        float(coarse.sum(dtype=np.float64)), 1e-6
    )
    advice = "say what to cut with --point x,y or --box x0,y0,x1,y1"
    if area < LEAST_AREA:
        raise NoSubject(
            f"no clear subject: nothing stands out ({area:.2%} of the picture); {advice}"
        )
    if area > MOST_AREA:
        raise NoSubject(f"no clear subject: the matte takes {area:.0%} of the picture; {advice}")
    if decided < LEAST_DECIDED:
        raise NoSubject(
            f"no clear subject: only {decided:.0%} of the matte is sure of itself; {advice}"
        )
