"""The rows of the task table as training batches: which planes are given, which are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multiplane.models.codecs import Codec
from multiplane.models.layered_transformer import ROLES, LayeredTransformer, PlaneLayout
from multiplane.models.planes import to_model
from multiplane.models.sampling import clip_noise
from multiplane.models.text_encoder import TextEncoder
from multiplane.training.losses import velocity_loss
from multiplane.training.pools import Prompts
from multiplane.training.scenes import SceneFeed, edges, silhouette


@dataclass(frozen=True)
class Row:
    """A row of the task table, or one with a control: names are the roles of the denoiser."""

    given: frozenset[str]
    wanted: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Row:
        """`Row.parse("silhouette -> foreground")`. Raises ValueError for what is no row."""
        left, arrow, right = text.partition("->")
        row = cls(frozenset(left.split()), frozenset(right.split()))
        unknown = (row.given | row.wanted) - set(ROLES)
        if not arrow or not row.wanted or unknown or row.given & row.wanted:
            raise ValueError(
                f"{text!r} is no row: write 'given planes -> wanted planes' with "
                f"{', '.join(ROLES)}, each at most once, at least one wanted"
            )
        return row

    @property
    def layout(self) -> PlaneLayout:
        return PlaneLayout.of(self.given | self.wanted)

    @property
    def alone(self) -> bool:
        """True where nothing but the foreground and its controls is there."""
        return not {"background", "composite"} & (self.given | self.wanted)


@dataclass(frozen=True)
class RowBatch:
    """clean: (B, P, 1, C, h, w) latents. given: (B, P, 1, h, w) bool. text: (B, P, T,
    text_channels) token states; has_text: (B, P, T) bool."""

    clean: Tensor
    given: Tensor
    text: Tensor
    has_text: Tensor
    layout: PlaneLayout


class RowFeed:
    """Scenes of one split as latents, row by row. encoder: for the prompts of flat pictures, which
    join two captions."""

    def __init__(
        self,
        feed: SceneFeed,
        prompts: Prompts,
        autoencoder: Codec,
        encoder: TextEncoder,
    ) -> None:
        self.feed = feed
        self.prompts = prompts
        self.autoencoder = autoencoder
        self.encoder = encoder

    def _joint_text(self, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        texts = self.prompts.texts
        pairs = zip(foreground.tolist(), background.tolist(), strict=True)
        states, mask = self.encoder([f"{texts[f]} in {texts[b]}" for f, b in pairs])
        device = self.prompts.states.device
        return states.to(device), mask.to(device)

    def draw(self, row: Row, count: int, generator: torch.Generator) -> RowBatch:
        """A batch of `count` samples of this row, captions in place, nothing dropped yet."""
        layout = row.layout
        planes: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        if row.alone:
            planes["foreground"], rows["foreground"], _ = self.feed.alone(count, generator)
        else:
            busy = 0.5 if "background" in row.given else 0.3 if "composite" in row.given else 0.0
            scenes = self.feed.scenes(count, busy, generator)
            planes = {
                "foreground": scenes.foreground,
                "background": scenes.background,
                "composite": scenes.composite,
            }
            rows = {
                "foreground": scenes.foreground_prompt,
                "background": scenes.background_prompt,
            }
        for role, control in (("silhouette", silhouette), ("edges", edges)):
            if role in layout.roles:
                planes[role] = control(planes["foreground"])
        clips = {role: planes[role][:, None] for role in layout.roles}
        batch = row_batch(self.autoencoder, self.prompts, row, layout, clips, rows)
        if row.wanted == {"composite"} and not row.given:
            text, has_text = self._joint_text(rows["foreground"], rows["background"])
            batch.text[:, 0], batch.has_text[:, 0] = text, has_text
        return batch


def row_batch(
    codec: Codec,
    prompts: Prompts,
    row: Row,
    layout: PlaneLayout,
    planes: Mapping[str, Tensor],
    captions: Mapping[str, Tensor],
) -> RowBatch:
    """The planes of a row in the denoiser's form, captions in place. planes: of every role of the
    layout, (B, F, 4, S, S) premultiplied in [0, 1]. captions: prompt rows (B,) on CPU, by role; a
    role without one has the empty caption."""
    device = prompts.states.device
    stacked = torch.stack([planes[role] for role in layout.roles], dim=1)
    empty = torch.zeros(len(stacked), dtype=torch.long)
    picked = torch.stack([captions.get(role, empty) for role in layout.roles], dim=1).to(device)
    latents = encode_planes(codec, stacked)
    given = torch.tensor([role in row.given for role in layout.roles], device=device)
    given = given[None, :, None, None, None].expand(*latents.shape[:3], *latents.shape[4:])
    text, has_text = prompts.states[picked].float(), prompts.mask[picked].clone()
    return RowBatch(latents, given, text, has_text, layout)


@torch.no_grad()
def encode_planes(autoencoder: Codec, planes: Tensor) -> Tensor:
    """(B, P, F, 4, S, S) premultiplied in [0, 1] -> (B, P, F, C, h, w) latents, float32."""
    flat = to_model(planes.flatten(0, 2))
    with torch.autocast(planes.device.type, torch.bfloat16):
        latent = autoencoder.encode(flat.contiguous(memory_format=torch.channels_last))
    return latent.float().contiguous().unflatten(0, planes.shape[:3])


def drop_text(batch: RowBatch, everything: float, one: float, generator: torch.Generator) -> Tensor:
    """has_text with all prompts of a sample dropped at rate `everything` (the unguided branch) and
    each plane's alone at rate `one`."""
    count, planes = batch.has_text.shape[:2]
    whole = torch.rand(count, 1, generator=generator) < everything
    single = torch.rand(count, planes, generator=generator) < one
    dropped = (whole | single).to(batch.has_text.device)
    return batch.has_text & ~dropped[..., None]


def keep_rectangles(given: Tensor, generator: torch.Generator) -> Tensor:
    """given: (B, P, F, h, w) bool. The same with, in each sample, a rectangle of one plane or its
    outside given too: inpainting. A plane drawn that is given already changes nothing."""
    count, planes, _, height, width = given.shape
    corners = torch.rand(count, 4, generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    top = (corners[:, 0] * height * 0.6).long()[:, None]
    left = (corners[:, 1] * width * 0.6).long()[:, None]
    tall = (2 + corners[:, 2] * (height - 3)).long()[:, None]
    wide = (2 + corners[:, 3] * (width - 3)).long()[:, None]
    inside_y = (rows[None] >= top) & (rows[None] < top + tall)
    inside_x = (columns[None] >= left) & (columns[None] < left + wide)
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    turned = torch.rand(count, generator=generator) < 0.7
    kept = torch.where(turned[:, None, None], ~inside, inside)  # mostly: repair the rectangle
    plane = torch.randint(planes, (count,), generator=generator)
    chosen = torch.nn.functional.one_hot(plane, planes).bool()[:, :, None, None, None]
    return given | (chosen & kept[:, None, None]).to(given.device)


@dataclass(frozen=True)
class NoiseConfig:
    """time_mean, time_std: logit-normal of the shared time. Given planes get a little noise in half
    of the samples, down to time `given_time`."""

    time_mean: float = -0.6
    time_std: float = 1.0
    given_time: float = 0.92


def given_times(count: int, lowest: float, generator: torch.Generator) -> Tensor:
    """(count,) times of given planes: 1 in half of the samples, else uniform in lowest..1."""
    is_noisy = torch.rand(count, generator=generator) < 0.5
    low = lowest + (1 - lowest) * torch.rand(count, generator=generator)
    return torch.where(is_noisy, low, torch.ones(count))


def noised(
    batch: RowBatch,
    given: Tensor,
    t: Tensor,
    clean_time: Tensor,
    generator: torch.Generator,
    shared_noise: float = 0.0,
) -> Tensor:
    """The denoiser's input (B, P, F, C, h, w): wanted tokens at time t (B,), given tokens at
    clean_time (B,). given: (B, P, F, h, w) bool. shared_noise: see `clip_noise`."""
    noise = clip_noise(batch.clean.shape, shared_noise, generator).to(batch.clean.device)
    shape = (-1, 1, 1, 1, 1, 1)
    time = torch.where(given[:, :, :, None], clean_time.view(shape), t.view(shape))
    return time * batch.clean + (1 - time) * noise


def row_loss(
    denoiser: LayeredTransformer,
    batch: RowBatch,
    given: Tensor,
    has_text: Tensor,
    t: Tensor,
    clean_time: Tensor,
    generator: torch.Generator,
    shuffle_given: bool = False,
    shared_noise: float = 0.0,
) -> Tensor:
    """(B,) losses; the other arguments as `noised` and the denoiser take them. shuffle_given: every
    sample is shown its neighbour's given planes instead of its own (the measure of conditional
    use)."""
    state = noised(batch, given, t, clean_time, generator, shared_noise)
    if shuffle_given:
        state = torch.where(given[:, :, :, None], state.roll(1, dims=0), state)
    predicted = denoiser(state, t, batch.text, has_text, given, batch.layout, clean_time)
    return velocity_loss(predicted, batch.clean, t, ~given)


def heldout_losses(
    denoiser: LayeredTransformer,
    feed: RowFeed,
    rows: Mapping[str, Row],
    count: int,
    shuffle_given: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Mean loss of each row on `count` fixed scenes over a fixed spread of times, for comparing
    weights and for conditional use: loss(true given) / loss(shuffled given) below 1 means the given
    plane is looked at."""
    losses = {}
    for index, (name, row) in enumerate(rows.items()):
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        batch = feed.draw(row, count, generator)
        t = torch.linspace(0.15, 0.85, count).to(batch.clean.device)
        with torch.no_grad():
            ones = torch.ones_like(t)
            values = row_loss(
                denoiser, batch, batch.given, batch.has_text, t, ones, generator, shuffle_given
            )
        losses[name] = float(values.mean())
    return losses
