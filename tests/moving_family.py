"""The flat family with a clock: its shapes move, and known frames steer the rest.

It draws over known frames too: keeping them is the engine's part.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from flat_family import FlatFamily
from multiplane.core.family import FamilyEntry, Progress
from multiplane.core.frames import request_at
from multiplane.core.request import LayerRequest, MadePlanes


class MovingFamily(FlatFamily):
    """Every frame is the still of that frame, its foreground a pixel further right."""

    name = "moving"
    fps = Fraction(8)
    max_frames = 12

    def make(self, request: LayerRequest, progress: Progress | None = None) -> MadePlanes:
        if request.frames == 1:
            return super().make(request, progress)
        made = [
            super(MovingFamily, self).make(request_at(request, t)) for t in range(request.frames)
        ]
        self.requests[-request.frames :] = [request]
        foregrounds = ()
        if request.foregrounds:
            moved = [np.roll(each.foregrounds[0], t, axis=1) for t, each in enumerate(made)]
            given = request.foregrounds[0].state == "given"
            foregrounds = (np.stack([m.foregrounds[0] for m in made] if given else moved),)
        backgrounds = [each.background for each in made if each.background is not None]
        composites = [each.composite for each in made if each.composite is not None]
        if progress is not None:
            progress(1, 1, composites[0] if composites else None)
        return MadePlanes(
            foregrounds,
            np.stack(backgrounds) if backgrounds else None,
            np.stack(composites) if composites else None,
            {"frames": request.frames},
        )


MOVING = FamilyEntry(
    name="moving",
    target="moving_family:MovingFamily",
    summary="flat shapes that move, for tests",
    tasks=MovingFamily.tasks,
    extra="moving",
    clips=True,
)
