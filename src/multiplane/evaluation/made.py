"""Single foregrounds, made once a run however many parts look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multiplane.core.pixels import to_float
from multiplane.core.request import LayerRequest, Plane

if TYPE_CHECKING:
    from multiplane.evaluation.bench import Bench


@dataclass(frozen=True, eq=False)
class MadeForeground:
    """picture: (H, W, 4) straight alpha 0..1. report: what the family told of making it."""

    picture: NDArray[np.float32]
    seconds: float
    report: Mapping[str, Any]


def made_foreground(bench: Bench, name: str, words: str) -> MadeForeground:
    """The foreground of these words at the suite's size; its seed is fixed by `name`. Kept on the
    bench, so that a second part that asks for it has it at once, with the seconds it took."""
    found = bench.made.get((name, words))
    if found is None:
        request = LayerRequest(
            foregrounds=(Plane(wanted=True, prompt=words),),
            size=(bench.side, bench.side),
            seed=bench.seed_for("foregrounds", name),
            model=bench.family.name,
        )
        document, made, seconds = bench.run(request)
        picture = to_float(document.leaves()[-1].pixels)
        found = bench.made[name, words] = MadeForeground(picture, seconds, made.report)
    return found
