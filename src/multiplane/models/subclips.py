"""Layers as one long video (LayerFlow, arXiv 2506.04228, section 3.2): where each clip stands.

Foreground, its alpha, background and composite are clips of equal length, laid one after the other
along time. A video transformer sees them as one video, so attention ties them together; given clips
stay clean in place while the others are noised.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor

Variant = Literal["rgb", "rgba"]
ClipName = Literal["foreground", "alpha", "background", "composite"]

CLIPS: dict[Variant, tuple[ClipName, ...]] = {
    "rgb": ("foreground", "background", "composite"),
    "rgba": ("foreground", "alpha", "background", "composite"),
}
PLANES: tuple[ClipName, ...] = CLIPS["rgb"]  # the order of prompts too; alpha has none of its own
FRAMES_PER_LATENT = 4
# The video autoencoder round-trips an even number of latents; 4 and 12 frames come back as 1 and 9.
FRAME_STEP = 2 * FRAMES_PER_LATENT


@dataclass(frozen=True)
class SubclipLayout:
    """variant: with an alpha clip or without. frames: of each clip. lead: the first frame of the
    foreground stands in front once more, as the published RGBA weights for given foregrounds and
    backgrounds have it: a causal autoencoder keeps that frame in a latent of its own.

    Raises ValueError for a variant there is not, or frames that would not come back."""

    variant: Variant = "rgba"
    frames: int = 16
    lead: bool = False

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant must be 'rgb' or 'rgba', got {self.variant!r}")
        if self.frames < FRAME_STEP or self.frames % FRAME_STEP:
            below = self.frames // FRAME_STEP * FRAME_STEP
            fits = f"{below} or {below + FRAME_STEP}" if below > 0 else f"{FRAME_STEP}"
            raise ValueError(
                f"a clip must have a multiple of {FRAME_STEP} frames (another number does not come "
                f"back from the video autoencoder), got {self.frames}: take {fits}"
            )

    @property
    def clips(self) -> tuple[ClipName, ...]:
        """In their order along time."""
        return CLIPS[self.variant]

    @property
    def latents(self) -> int:
        """Latent frames of the whole sequence."""
        return self._starts()[-1]

    @property
    def video_frames(self) -> int:
        """Pixel frames of the whole sequence."""
        return len(self.clips) * self.frames + int(self.lead)

    def span(self, clip: ClipName) -> slice:
        """Where a clip's latents stand."""
        index, starts = self.clips.index(clip), self._starts()
        return slice(starts[index], starts[index + 1])

    def video_span(self, clip: ClipName) -> slice:
        """Where a clip's own pixel frames stand; the leading frame belongs to none."""
        start = self.clips.index(clip) * self.frames + int(self.lead)
        return slice(start, start + self.frames)

    def clips_of(self, planes: Collection[str]) -> tuple[ClipName, ...]:
        """The clips that show these planes: a foreground is its colour and its alpha."""
        shown = {*planes, *(("alpha",) if "foreground" in planes else ())}
        return tuple(clip for clip in self.clips if clip in shown)

    def given_latents(self, planes: Collection[str]) -> Tensor:
        """(latents,) bool: which ones are clean when these planes are given."""
        mask = torch.zeros(self.latents, dtype=torch.bool)
        for clip in self.clips_of(planes):
            mask[self.span(clip)] = True
        return mask

    def runs(self, clips: Iterable[ClipName]) -> list[tuple[ClipName, ...]]:
        """`clips` in order, those that follow each other without a gap together."""
        chosen = set(clips)
        runs: list[tuple[ClipName, ...]] = []
        for before, clip in zip((None, *self.clips), self.clips, strict=False):
            if clip not in chosen:
                continue
            if runs and before in chosen:
                runs[-1] = (*runs[-1], clip)
            else:
                runs.append((clip,))
        return runs

    def _starts(self) -> list[int]:
        """Where each clip begins, and where the last one ends."""
        each = self.frames // FRAMES_PER_LATENT
        lengths = [each] * len(self.clips)
        lengths[0] += int(self.lead)
        return list(accumulate(lengths, initial=0))


def prompted_planes(given: Collection[str]) -> tuple[ClipName, ...]:
    """The planes whose prompts are read, in order. A given composite needs no words: the published
    decomposition reads two prompts."""
    return PLANES[:2] if "composite" in given else PLANES


def indexed_prompt(plane: ClipName, words: str) -> str:
    """A prompt as the text encoder reads it: "index, description"."""
    return f"{PLANES.index(plane)}, {words}"
