"""From a denoised sequence to the planes a caller asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multiplane.models.clip_alpha import from_clips, matte_alpha, two_background_alpha
from multiplane.models.clip_codec import ClipCodec
from multiplane.models.subclips import PLANES, ClipName
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas
from multiplane.pipelines.layerflow.given import GivenClips


def decode_planes(
    codec: ClipCodec,
    sequence: Tensor,
    made: Sequence[ClipName],
    given: GivenClips,
    canvas: PaddedCanvas,
) -> dict[str, Tensor]:
    """The sequence (N, latents, C, h, w) -> straight RGBA (N, frames, 4, height, width) float32 in
    [0, 1] on the CPU, by plane; backgrounds and composites opaque.

    A foreground's colour is divided by its alpha, which is its own clip; weights without one show
    the foreground over grey and over the background, and alpha follows from the two."""
    layout = codec.layout
    matting = "foreground" in made and layout.variant == "rgb"
    needed = set(layout.clips_of(PLANES if matting else made))
    whole = {clip for clip in given.clips if given.mask[layout.span(clip)].all()}
    clips = codec.decode(sequence, needed - whole)
    for clip in needed & whole:
        clips[clip] = given.clips[clip].expand(len(sequence), -1, -1, -1, -1)
    rgba: dict[str, Tensor] = {}
    for plane in made:
        if plane != "foreground":
            opaque = ((clips[plane] + 1) / 2).clamp(0, 1)
            rgba[plane] = torch.cat([opaque, torch.ones_like(opaque[:, :, :1])], dim=2)
            continue
        if matting:
            shown = (clips["foreground"], clips["background"], clips["composite"])
            alpha = two_background_alpha(*shown)
        else:
            alpha = matte_alpha(clips["alpha"])
        rgba[plane] = from_clips(clips["foreground"], alpha)
    return {
        plane: torch.stack([canvas.outward(clip) for clip in one]) for plane, one in rgba.items()
    }
