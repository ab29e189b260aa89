"""The denoiser behind `tiny`: one transformer over the tokens of every present plane.

Each plane (foreground, background, composite, or a control that steers one of them) brings its
picture tokens and its own prompt's tokens. Absent planes cost nothing. Time is per token: clean
where pixels are given, one shared time for everything wanted (design section 4). t runs from 0
(noise) to 1 (data).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from multiplane.models.frame_attention import FRAME_UNIT, FrameLayers, FrameLayersConfig
from multiplane.models.rms_norm import RMSNorm
from multiplane.models.rotary import rotary_angles, rotate

ROLES = ("background", "foreground", "composite", "silhouette", "edges")
# Where a plane stands on the plane axis; a control stands where the plane it steers does.
PLACES = {"background": 0.0, "foreground": 1.0, "composite": -1.0, "silhouette": 1.0, "edges": 1.0}


@dataclass(frozen=True)
class LayeredTransformerConfig:
    """Picture tokens are `channels` wide, `grid` a side. width, depth: of the transformer, in heads
    of `head_channels`; a block's hidden layer is `hidden_ratio` times as wide. text_channels: the
    text encoder's width; text_tokens: its states a prompt.

    rotary_split: channel pairs of a head for (plane, frame, y, x); sums to head_channels / 2.
    max_frequency: radians a unit of the fastest pair (`rotary_angles`). frame_layers: each frame is
    a picture of its own, and layers between the blocks let frames look at one another
    (`FrameLayers`); without them every token attends to all of every frame. Raises ValueError.
    """

    channels: int = 32
    grid: int = 8
    width: int = 320
    depth: int = 9
    head_channels: int = 64
    hidden_ratio: float = 8 / 3
    text_channels: int = 384
    text_tokens: int = 16
    rotary_split: tuple[int, int, int, int] = (4, 4, 12, 12)
    max_frequency: float = 12.0
    frame_layers: bool = False

    def __post_init__(self) -> None:
        if self.width % self.head_channels:
            raise ValueError(f"width {self.width} must be a multiple of {self.head_channels}")
        if sum(self.rotary_split) * 2 != self.head_channels:
            raise ValueError(
                f"rotary_split {self.rotary_split} must sum to {self.head_channels // 2}"
            )

    @property
    def frame_config(self) -> FrameLayersConfig:
        """Of the frame layers that stand in such a network."""
        return FrameLayersConfig(self.width, self.depth, self.head_channels, self.max_frequency)


@dataclass(frozen=True)
class PlaneLayout:
    """What the planes of a batch are: role names and their place on the plane axis, in order.

    places: 0 background, 1, 2, ... foregrounds from the back, -1 composite; a control carries the
    place of the plane it steers. stride: from one of the frames to the next, in frames of the clip.
    """

    roles: tuple[str, ...]
    places: tuple[float, ...]
    frames: int = 1
    stride: int = 1

    @classmethod
    def of(cls, names: Iterable[str], frames: int = 1, stride: int = 1) -> PlaneLayout:
        """The layout of these roles in their fixed order, controls steering the foreground. Raises
        ValueError for an unknown role."""
        present = set(names)
        if unknown := sorted(present - set(ROLES)):
            raise ValueError(f"unknown role {', '.join(unknown)}: roles are {', '.join(ROLES)}")
        roles = tuple(role for role in ROLES if role in present)
        return cls(roles, tuple(PLACES[role] for role in roles), frames, stride)


# Up to this many tokens a CPU trains quicker on plain matrix products than on torch's fused kernel.
FEW_TOKENS = 2048


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v; all (B, heads, N, d). Where gradients are wanted of few tokens on
    a CPU by plain products (a compiled training step takes 0.6 of the time at 80 tokens, 0.75 at
    1,584), else fused."""
    if q.requires_grad and q.device.type == "cpu" and q.shape[-2] <= FEW_TOKENS:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return scores.softmax(dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Block(nn.Module):
    """Attention and SwiGLU, each with scale, shift and gate from the shared modulation."""

    def __init__(self, config: LayeredTransformerConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.hidden_ratio) // 32 * 32
        self.heads = width // config.head_channels
        self.modulation = nn.Parameter(torch.zeros(6, width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = RMSNorm(config.head_channels)
        self.key_norm = RMSNorm(config.head_channels)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def attend(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Every token of every plane attends to all. x: (B, P, L, D); cosine, sine: (P * L,
        head_channels / 2)."""
        planes = x.shape[1]
        q, k, v = rearrange(self.qkv(x), "b p l (n h d) -> n b h (p l) d", n=3, h=self.heads)
        q = rotate(self.query_norm(q), cosine, sine)
        k = rotate(self.key_norm(k), cosine, sine)
        mixed = attention(q, k, v)
        return self.out(rearrange(mixed, "b h (p l) d -> b p l (h d)", p=planes))

    def forward(self, x: Tensor, modulation: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """x: (B, P, L, D). modulation: (B, P, 1 or L, 6, D). cosine, sine: (P * L, head_channels /
        2). Returns (B, P, L, D)."""
        shifted = (modulation + self.modulation.type_as(modulation)).unbind(dim=-2)
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = shifted
        shape = (x.shape[-1],)
        h = F.rms_norm(x, shape) * (1 + scale_a) + shift_a
        x = x + gate_a * self.attend(h, cosine, sine)
        h = F.rms_norm(x, shape) * (1 + scale_m) + shift_m
        gate, value = self.up(h).chunk(2, dim=-1)
        return x + gate_m * self.down(F.silu(gate) * value)


class TimeEmbedding(nn.Module):
    """Waves of t at frequencies from 1 to 1000, geometrically, through a small network."""

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(
            nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """t: (...,) in 0..1 -> (..., width)."""
        steps = torch.linspace(0, 1, self.frequencies, device=t.device)
        angles = t.float()[..., None] * 1000.0**steps
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(waves)


class LayeredTransformer(nn.Module):
    """Predicts the clean picture tokens of every plane from their noised state (x-prediction)."""

    def __init__(self, config: LayeredTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.gates: dict[str, Tensor] = {}  # (B,) or (1,) each, of adapters (`models.lora`)
        width = config.width
        self.picture_in = nn.Linear(config.channels, width)
        self.text_in = nn.Linear(config.text_channels, width)
        self.text_pool = nn.Linear(config.text_channels, width)
        self.no_text = nn.Parameter(torch.zeros(config.text_tokens, config.text_channels))
        self.roles = nn.Embedding(len(ROLES), width)
        self.text_role = nn.Parameter(torch.zeros(width))
        self.time = TimeEmbedding(width)
        self.to_modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.frames = FrameLayers(config.frame_config) if config.frame_layers else None
        self.final_modulation = nn.Linear(width, 2 * width)
        self.picture_out = nn.Linear(width, config.channels)
        nn.init.normal_(self.roles.weight, std=0.02)
        nn.init.normal_(self.no_text, std=0.02)
        for zero in (self.to_modulation, self.final_modulation, self.picture_out):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    @property
    def hidden(self) -> nn.ModuleList:
        """The layers between input and output: what `make_optimizers` gives orthogonal updates."""
        return nn.ModuleList([*self.blocks, *([] if self.frames is None else self.frames.layers)])

    def add_frames(self, layers: FrameLayers | None = None) -> FrameLayers:
        """Put frame layers into a network of stills, whose stills stay the same to the bit; None:
        new ones, which change nothing yet. Returns them. Raises ValueError where they are of
        another network."""
        wanted = self.config.frame_config
        layers = FrameLayers(wanted) if layers is None else layers
        if layers.config != wanted:
            raise ValueError(
                f"frame layers of {layers.config} do not fit a network that needs {wanted}"
            )
        self.frames = layers.to(self.picture_in.weight.device)
        self.config = replace(self.config, frame_layers=True)
        return layers

    def _positions(
        self, layout: PlaneLayout, height: int, width: int, device: torch.device
    ) -> Tensor:
        """(P * L, 4) of (plane, frame, y, x): picture tokens, then the plane's text tokens at the
        canvas centre. y, x run -1..1 over the canvas; a frame is a quarter of a unit."""
        y = (torch.arange(height, device=device) + 0.5) / height * 2 - 1
        x = (torch.arange(width, device=device) + 0.5) / width * 2 - 1
        frame = torch.arange(layout.frames, device=device) * (FRAME_UNIT * layout.stride)
        cells = torch.stack(torch.meshgrid(frame, y, x, indexing="ij"), dim=-1).reshape(-1, 3)
        text = torch.zeros(self.config.text_tokens, 3, device=device)
        one_plane = torch.cat([cells, text])
        planes = [
            torch.cat([torch.full_like(one_plane[:, :1], place), one_plane], dim=-1)
            for place in layout.places
        ]
        return torch.cat(planes)

    def _modulation(self, t: Tensor, clean: Tensor, pooled: Tensor, given: Tensor) -> Tensor:
        """Scale, shift, gate for every token: (B, P, 1 or L, 6, D).

        t, clean: (B,) times of wanted and given tokens. pooled: (B, P, D). given: (B, P, N) bool of
        the N picture tokens; a plane's text tokens count as given where all of them are."""
        times = self.time(torch.stack([t, clean], dim=1))  # (B, 2, D)
        both = F.silu(times[:, None] + pooled[:, :, None])  # (B, P, 2, D)
        both = rearrange(self.to_modulation(both), "b p s (n d) -> b p s n d", n=6)
        if bool((given == given[..., :1]).all()):
            flag = given[..., :1]
        else:
            text = given.all(dim=-1, keepdim=True).expand(-1, -1, self.config.text_tokens)
            flag = torch.cat([given, text], dim=-1)
        return torch.where(flag[..., None, None], both[:, :, 1:2], both[:, :, 0:1])

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        has_text: Tensor,
        given: Tensor,
        layout: PlaneLayout,
        clean_time: Tensor | None = None,
    ) -> Tensor:
        """noisy: (B, P, F, C, h, w) wanted tokens at time t, given tokens (almost) clean.
        t: (B,) in 0..1, 1 = data. text: (B, P, T, text_channels) token states, zero past the
        prompt. has_text: (B, P, T) bool. given: (B, P, F, h, w) bool. clean_time: (B,) time of the
        given tokens, 1 by default. Returns the clean tokens, shaped like `noisy`. Raises ValueError
        for an adapter's gate of another batch."""
        if clean_time is None:
            clean_time = torch.ones_like(t)
        for name, gate in self.gates.items():
            if len(gate) not in (1, len(noisy)):
                raise ValueError(
                    f"the gate of adapter {name!r} is for {len(gate)} samples, the batch has "
                    f"{len(noisy)}: give one number for all or one for each"
                )
        layers, frames = self.frames, layout.frames
        if layers is None or frames == 1:
            return self._predict(noisy, t, text, has_text, given, layout, clean_time)
        angles = layers.angles(frames, layout.stride, noisy.device)
        waves = angles.cos(), angles.sin()
        modulation = layers.modulation(self.time(t))

        def across(index: int, tokens: Tensor) -> Tensor:
            """Between two blocks, tokens (B * F, P, L, D)."""
            planes = tokens.shape[1]
            clips = rearrange(tokens, "(b f) p l d -> b f (p l) d", f=frames)
            clips = layers.layers[index](clips, modulation.to(tokens.dtype), *waves)
            return rearrange(clips, "b f (p l) d -> (b f) p l d", p=planes)

        pictures, shown = (rearrange(x, "b p f ... -> (b f) p 1 ...") for x in (noisy, given))
        t, text, has_text, clean_time = (
            x.repeat_interleave(frames, dim=0) for x in (t, text, has_text, clean_time)
        )
        still = replace(layout, frames=1)
        made = self._predict(pictures, t, text, has_text, shown, still, clean_time, across)
        return rearrange(made, "(b f) p 1 c h w -> b p f c h w", f=frames)

    def _predict(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        has_text: Tensor,
        given: Tensor,
        layout: PlaneLayout,
        clean_time: Tensor,
        across: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """`forward` with every token of a sample attending to all. across: what tokens (B, P, L, D)
        go through after the block of that index."""
        _, _, frames, _, height, width = noisy.shape
        roles = torch.tensor([ROLES.index(role) for role in layout.roles], device=noisy.device)
        role = self.roles(roles)[:, None]  # (P, 1, D)
        text = torch.where(has_text[..., None], text, self.no_text.to(text.dtype))
        cells = rearrange(noisy, "b p f c h w -> b p (f h w) c")
        tokens = torch.cat(
            [self.picture_in(cells) + role, self.text_in(text) + self.text_role + role], dim=2
        )
        pooled = self.text_pool(text.mean(dim=2)) + role[:, 0]
        flat_given = rearrange(given, "b p f h w -> b p (f h w)")
        modulation = self._modulation(t, clean_time, pooled, flat_given).to(tokens.dtype)
        positions = self._positions(layout, height, width, noisy.device)
        angles = rotary_angles(positions, self.config.rotary_split, self.config.max_frequency)
        cosine, sine = angles.cos().to(tokens.dtype), angles.sin().to(tokens.dtype)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, modulation, cosine, sine)
            if across is not None:
                tokens = across(index, tokens)
        cells = tokens[:, :, : cells.shape[2]]
        scale, shift = self.final_modulation(F.silu(self.time(t)))[:, None, None].chunk(2, dim=-1)
        cells = F.rms_norm(cells, (cells.shape[-1],)) * (1 + scale) + shift
        return rearrange(
            self.picture_out(cells), "b p (f h w) c -> b p f c h w", f=frames, h=height, w=width
        )
