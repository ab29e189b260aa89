"""A clip that goes on from stills: what the first frames of the other planes follow from.

Clips were trained with the first frame of every plane given at once, so what can be known of the
others is made known too: a composite is over(foreground, background), and a composite alone is
taken apart as a still before it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from multiplane.models.planes import over
from multiplane.pipelines.tiny.state import PlaneInput

LAYERS = ("foreground", "background")
MakeStill = Callable[[Mapping[str, PlaneInput]], dict[str, Tensor]]


def known_frames(one: PlaneInput) -> int:
    """How many frames of a clip's plane are known whole, from the first on."""
    if one.pixels is None or one.strength is not None:
        return 0
    if one.keep is None:
        return len(one.pixels)
    whole = (one.keep >= 1).flatten(1).all(dim=1)
    return int(whole.long().cumprod(dim=0).sum())


def with_first_frames(inputs: Mapping[str, PlaneInput], still: MakeStill) -> dict[str, PlaneInput]:
    """`inputs` with the first frames of wanted planes that follow from what is known. still: makes
    the wanted planes of a still. Returns the same where nothing follows; planes with pixels of
    their own stay as they are."""
    found = dict(inputs)
    if set(found) != {*LAYERS, "composite"}:
        return found
    bare = [name for name, one in found.items() if one.pixels is None]
    known = {name: known_frames(one) for name, one in found.items()}
    if bare == ["composite"]:
        count = min(known[name] for name in LAYERS)
        front, back = (found[name].pixels for name in LAYERS)
        if count and front is not None and back is not None:
            found["composite"] = _beginning(found["composite"], over(front, back), count)
    elif set(bare) == set(LAYERS) and known["composite"] > 0 and not found["composite"].given:
        composite = found["composite"]
        assert composite.pixels is not None
        planes = {name: PlaneInput(found[name].prompt) for name in LAYERS}
        made = still({**planes, "composite": PlaneInput(composite.prompt, composite.pixels[0])})
        for name in LAYERS:
            clip = made[name].expand_as(composite.pixels)
            found[name] = _beginning(found[name], clip, 1)
    return found


def _beginning(one: PlaneInput, pixels: Tensor, count: int) -> PlaneInput:
    """`one` with its first `count` frames known. pixels: (F, 4, S, S) premultiplied."""
    keep = torch.zeros(len(pixels), *pixels.shape[-2:])
    keep[:count] = 1
    return PlaneInput(one.prompt, pixels, keep)
