"""Given planes as clean latents at their places in the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from multiplane.models.clip_alpha import to_clips
from multiplane.models.clip_codec import ClipCodec
from multiplane.models.subclips import FRAMES_PER_LATENT, PLANES, ClipName, SubclipLayout
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas, fit_size


@dataclass(frozen=True)
class GivenClips:
    """clips: (N, frames, 3, H, W) in [-1, 1] of the padded canvas, the last frame held to the end.
    mask: (latents,) bool, which latents of the sequence they determine."""

    clips: Mapping[ClipName, Tensor]
    mask: Tensor

    def clean(self, codec: ClipCodec, like: Tensor) -> Tensor:
        """The sequence with given latents in place and zeros elsewhere, (N, latents, C, h, w) as
        `like`; one video serves a whole batch."""
        sequence = torch.zeros_like(like)
        for clip, latents in codec.encode(self.clips).items():
            sequence[:, codec.layout.span(clip)] = latents.to(like)
        return sequence


def planes_to_make(planes: Mapping[str, Tensor], layout: SubclipLayout) -> list[ClipName]:
    """The planes that are not given over the whole clip; planes: (N, F, 4, H, W) by name.

    Raises ValueError for a plane there is not, one with more frames than a clip has, or when
    nothing is left to make."""
    strange = set(planes) - set(PLANES)
    if strange:
        raise ValueError(f"unknown planes {', '.join(sorted(strange))}: give {', '.join(PLANES)}")
    counts = {plane: video.shape[1] for plane, video in planes.items()}
    for plane, count in counts.items():
        if count > layout.frames:
            raise ValueError(
                f"the given {plane} has {count} frames and a clip has {layout.frames}: cut it"
            )
    made: list[ClipName] = [plane for plane in PLANES if counts.get(plane, 0) < layout.frames]
    if not made:
        raise ValueError("every plane is given, there is nothing to make: leave one out")
    return made


def given_clips(
    planes: Mapping[str, Tensor], layout: SubclipLayout, canvas: PaddedCanvas, count: int
) -> GivenClips:
    """planes: straight RGBA (1 or count, F, 4, H, W) in [0, 1] of any size, scaled until they cover
    the canvas.

    A plane with fewer frames than the layout is given in its first ones alone, counted in latents
    of four frames each and at least one of them: a still is held over the first latent. Raises
    ValueError for another number of clips."""
    clips: dict[ClipName, Tensor] = {}
    mask = torch.zeros(layout.latents, dtype=torch.bool)
    for plane, video in planes.items():
        if len(video) not in (1, count):
            raise ValueError(
                f"{len(video)} clips of the {plane} for {count} videos: give one, or one a video"
            )
        frames = video.shape[1]
        held = video[:, -1:].expand(-1, layout.frames - frames, -1, -1, -1)
        colour, matte = to_clips(_fitted(torch.cat([video, held], dim=1), canvas))
        for clip in layout.clips_of({plane}):
            clips[clip] = matte if clip == "alpha" else colour
            mask[_known(layout, clip, frames)] = True
    return GivenClips(clips, mask)


def _known(layout: SubclipLayout, clip: ClipName, frames: int) -> slice:
    """The latents of `clip` that its first `frames` frames determine."""
    span = layout.span(clip)
    if frames >= layout.frames:
        return span
    lead = span.stop - span.start - layout.frames // FRAMES_PER_LATENT
    return slice(span.start, span.start + lead + max(1 - lead, frames // FRAMES_PER_LATENT))


def _fitted(rgba: Tensor, canvas: PaddedCanvas) -> Tensor:
    flat = fit_size(rearrange(rgba, "n f c h w -> (n f) c h w"), (canvas.width, canvas.height))
    return rearrange(canvas.inward(flat), "(n f) c h w -> n f c h w", n=len(rgba))
