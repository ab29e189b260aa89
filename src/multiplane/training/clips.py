"""Layered clips as training batches: exact, frozen to one frame, or coarse as a segmenter and a
background completion would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from multiplane.data.clip_set import read_clips
from multiplane.models.layered_transformer import PlaneLayout
from multiplane.models.patches import PixelPatches
from multiplane.models.planes import over, premultiply, to_model
from multiplane.models.text_encoder import TextEncoder
from multiplane.training.pools import Prompts
from multiplane.training.rows import NoiseConfig, RowBatch

PLANES = ("background", "foreground", "composite")
# Weight by the planes given: LayerFlow's four tasks and the two with two planes given.
TASKS = {
    "": 0.5,
    "composite": 0.2,
    "foreground": 0.08,
    "background": 0.1,
    "background composite": 0.07,
    "foreground composite": 0.05,
}


@dataclass(frozen=True)
class ClipTraining:
    """What every stage shares. shards: folder of clip shards. text_encoder: folder that
    multiplane.recipes.text_encoder wrote. patch: pixels a side of a token. batch: clips a step and
    process. videos, images: styles of the moving clips, and of those whose frames are the layered
    pictures. tasks: see `draw_given_planes`. shared_noise: see `clip_noise`. drop_all_text,
    drop_one_text: see `drop_text`. limit: the most clips read of each shard, 0 for all. heldout:
    clips in the held-out losses."""

    shards: Path
    text_encoder: Path
    patch: int = 16
    batch: int = 16
    videos: tuple[str, ...] = ("animated",)
    images: tuple[str, ...] = ("3d",)
    tasks: dict[str, float] = field(default_factory=lambda: dict(TASKS))
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    shared_noise: float = 0.0
    drop_all_text: float = 0.1
    drop_one_text: float = 0.05
    limit: int = 0
    heldout: int = 32


@dataclass(frozen=True)
class ClipBatch:
    """foreground, background: (B, F, 4, S, S) premultiplied in [0, 1], the background opaque;
    composite: the same, what the camera saw. prompts: (B, 3) rows of the text states, in the order
    of `PLANES`."""

    foreground: Tensor
    background: Tensor
    composite: Tensor
    prompts: Tensor

    def frozen(self, generator: torch.Generator) -> ClipBatch:
        """One frame of each clip, drawn by chance, in the place of all."""
        count, frames = self.foreground.shape[:2]
        chosen = torch.randint(frames, (count,), generator=generator)
        index = torch.arange(count)

        def still(planes: Tensor) -> Tensor:
            picked = planes[index.to(planes.device), chosen.to(planes.device)]
            return picked[:, None].expand_as(planes)

        return replace(
            self,
            foreground=still(self.foreground),
            background=still(self.background),
            composite=still(self.composite),
        )

    def where(self, condition: Tensor, other: ClipBatch) -> ClipBatch:
        """These clips where `condition` (B,) holds, else the other's."""
        mask = condition.to(self.foreground.device)[:, None, None, None, None]
        return ClipBatch(
            torch.where(mask, self.foreground, other.foreground),
            torch.where(mask, self.background, other.background),
            torch.where(mask, self.composite, other.composite),
            torch.where(condition[:, None], self.prompts, other.prompts),
        )


@dataclass(frozen=True)
class CoarseConfig:
    """Faults of layered video made by a segmenter and a completion (LayerFlow, section 4.1).

    slack: chances that a frame's mask is 0, 1, 2, ... pixels larger than the object; drawn for
    every frame, so the border also flickers. blur: pixels over which the filled-in background is
    averaged."""

    slack: tuple[float, ...] = (0.2, 0.4, 0.4)
    blur: int = 16

    def __post_init__(self) -> None:
        if not self.slack or min(self.slack) < 0 or not sum(self.slack) > 0 or self.blur < 1:
            raise ValueError(f"slack needs chances of 0 or more, blur at least 1 px; got {self}")


def coarsened(batch: ClipBatch, config: CoarseConfig, generator: torch.Generator) -> ClipBatch:
    """The layers a segmenter and a completion would find in these composites: a binary, slack,
    flickering mask; the foreground cut from the composite with it, background shining in at its
    border; behind it a blurred fill. The composite itself stays true."""
    count, frames, _, size, _ = batch.foreground.shape
    inside = (batch.foreground[:, :, 3:].flatten(0, 1) > 0.5).float()
    picked = torch.multinomial(
        torch.tensor(config.slack), count * frames, replacement=True, generator=generator
    ).to(inside.device)
    mask = inside
    for pixels in range(1, len(config.slack)):
        grown = F.max_pool2d(inside, 2 * pixels + 1, 1, pixels)
        mask = torch.where((picked == pixels)[:, None, None, None], grown, mask)
    picture, behind = batch.composite.flatten(0, 1), batch.background.flatten(0, 1)
    cells = F.avg_pool2d(behind, min(config.blur, size), ceil_mode=True)
    fill = F.interpolate(cells, size=(size, size), mode="bilinear", align_corners=False)
    shape = (count, frames)
    return replace(
        batch,
        foreground=(picture * mask).unflatten(0, shape),
        background=torch.where(mask > 0, fill, behind).unflatten(0, shape),
    )


@dataclass(frozen=True)
class ClipPool:
    """Clips in memory. foreground: (N, F, 4, S, S) uint8 straight; background: (N, F, 3, S, S)
    uint8. styles: of each clip. captions: for each clip and plane, rows of `prompts`."""

    styles: list[str]
    foreground: Tensor
    background: Tensor
    captions: list[tuple[list[int], ...]]
    prompts: Prompts

    @classmethod
    def load(
        cls,
        config: ClipTraining,
        split: str,
        styles: Sequence[str],
        encoder: TextEncoder,
        device: torch.device,
    ) -> ClipPool:
        """The clips of a split and styles with the states of their captions. Raises as
        `read_clips`."""
        clips = read_clips(config.shards, split, styles, config.limit)
        texts = [
            (behind[:2], front[:2], [whole])
            for whole, front, behind in zip(
                clips.captions, clips.foreground_captions, clips.background_captions, strict=True
            )
        ]
        prompts = Prompts.encode(encoder, [text for clip in texts for one in clip for text in one])
        rows = prompts.lookup()
        return cls(
            clips.styles,
            torch.from_numpy(clips.foreground).to(device),
            torch.from_numpy(clips.background).to(device),
            [tuple([rows[text] for text in one] for one in clip) for clip in texts],
            prompts.to(device),
        )

    def batch(
        self,
        rows: Tensor,
        mirrored: Tensor,
        picks: Sequence[float],
        frames: slice = slice(None),
    ) -> ClipBatch:
        """The clips of these rows (B,), mirrored where `mirrored` (B,); picks: one number in 0..1 a
        clip, which of its captions are used. frames: which of theirs."""
        chosen = rows.to(self.foreground.device)
        flip = mirrored.to(chosen.device)[:, None, None, None, None]
        foreground = premultiply(self.foreground[:, frames][chosen].float() / 255)
        color = self.background[:, frames][chosen].float() / 255
        background = torch.cat([color, torch.ones_like(color[:, :, :1])], dim=2)
        foreground, background = (
            torch.where(flip, planes.flip(-1), planes) for planes in (foreground, background)
        )
        prompts = [
            [options[int(pick * len(options))] for options in self.captions[row]]
            for row, pick in zip(rows.tolist(), picks, strict=True)
        ]
        composite = over(foreground, background)
        return ClipBatch(foreground, background, composite, torch.tensor(prompts))

    def rows_of(self, styles: Sequence[str]) -> Tensor:
        """The rows of clips of these styles. Raises ValueError where there are none."""
        rows = [row for row, style in enumerate(self.styles) if style in styles]
        if not rows:
            raise ValueError(f"no clip of style {', '.join(styles)}; there are {set(self.styles)}")
        return torch.tensor(rows)

    def draw(
        self,
        count: int,
        generator: torch.Generator,
        among: Tensor | None = None,
        frames: slice = slice(None),
    ) -> ClipBatch:
        """`count` clips by chance, half of them mirrored. among: rows to draw from; None: all.
        frames: which of theirs."""
        among = torch.arange(len(self.captions)) if among is None else among
        rows = among[torch.randint(len(among), (count,), generator=generator)]
        mirrored = torch.rand(count, generator=generator) < 0.5
        picks = torch.rand(count, generator=generator).tolist()
        return self.batch(rows, mirrored, picks, frames)

    def draw_stills(self, count: int, generator: torch.Generator) -> ClipBatch:
        """One frame, by chance the same, of each of `count` clips."""
        frame = int(torch.randint(self.foreground.shape[1], (1,), generator=generator))
        return self.draw(count, generator, frames=slice(frame, frame + 1))

    def first(self, count: int, among: Tensor | None = None) -> ClipBatch:
        """The first clips as they are, with their best captions; fewer where there are fewer.
        among: rows to take them from; None: all."""
        rows = torch.arange(len(self.captions)) if among is None else among
        rows = rows[:count]
        return self.batch(rows, torch.zeros(len(rows), dtype=torch.bool), [0.0] * len(rows))


def as_rows(
    batch: ClipBatch, prompts: Prompts, codec: PixelPatches, planes: Sequence[str] = PLANES
) -> RowBatch:
    """The batch in the denoiser's form, nothing given yet. planes: in the order of `PLANES`."""
    frames = batch.foreground.shape[1]
    pictures = torch.stack([getattr(batch, plane) for plane in planes], dim=1)
    tokens = codec.encode(to_model(pictures.flatten(0, 2))).unflatten(0, pictures.shape[:3])
    rows = batch.prompts[:, [PLANES.index(plane) for plane in planes]].to(prompts.states.device)
    given = torch.zeros(*tokens.shape[:3], *tokens.shape[4:], dtype=torch.bool)
    return RowBatch(
        tokens.contiguous(),
        given.to(tokens.device),
        prompts.states[rows].float(),
        prompts.mask[rows].clone(),
        PlaneLayout.of(planes, frames),
    )
