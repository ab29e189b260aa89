"""Attention sharing: LayerDiffuse's SD1.5 layers are made as streams of one batch that see each
other.

A unit takes the place of one attention of the UNet. Every stream (foreground, background, blend)
has its own low-rank change of the projections; a second, "temporal" attention then runs across the
streams at each place of the picture. Differs from the paper (section 3.4: keys and values of all
streams side by side) because the released weights do. With one stream the temporal part still runs.

Batches are laid out (b f): the streams of one picture follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multiplane.models.attention_merging import MergedUnit, merge_unit, unit_state
from multiplane.models.control_signal import CHANNELS as CONTROL_CHANNELS
from multiplane.models.linear_weights import fingerprint

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")
NORM_EPS = 1e-6
_MOST_PLACES = 1 << 15  # a kernel launch takes 65,535 problems at most on some devices


@dataclass(frozen=True)
class UnitConfig:
    """channels: C of the attention. context: width of the text states, None for self attention.
    control: whether the unit reads the control signal."""

    channels: int
    context: int | None = None
    frames: int = 1
    rank: int = 256
    control: bool = False


class Projections(NamedTuple):
    """The frozen attention's own layers (nn.Linear, or wrapped by PEFT), and its heads."""

    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    to_out: nn.Module
    heads: int


@dataclass(frozen=True, eq=False)
class SharingConditions:
    """What one picture's sampling tells every unit; its tensors must not be written to.

    unconditional: (B,) 1 for latents of the unconditional half, 0 for the conditional; None: all
    are conditional. overwrite: for each stream the text states (1 or b, T, C) that replace the
    context on the conditional half, or None. signals: what ControlSignalEncoder returned."""

    unconditional: Tensor | None = None
    overwrite: tuple[Tensor | None, ...] = ()
    signals: Mapping[int, Tensor] = field(default_factory=dict)


NOTHING = SharingConditions()

# (projection name, states (B, N, C_in)) -> (B, N, C), each stream by its own weights
Project = Callable[[str, Tensor], Tensor]
# (project, hidden (B, N, C), text (B, T, Cc) or None) -> the attention's output, projected
Attend = Callable[[Project, Tensor, "Tensor | None"], Tensor]


class LowRank(nn.Module):
    """up (out, rank) @ down (rank, in), without bias or scale. Starts as zero."""

    def __init__(self, width_in: int, width_out: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width_in, rank, bias=False)
        self.up = nn.Linear(rank, width_out, bias=False)
        nn.init.zeros_(self.up.weight)


def _holders(module: nn.Module) -> list[tuple[Any, str]]:
    """(dict, name) where each parameter is found now and after it was replaced; walking the modules
    at every call would take longer than all else that is checked."""
    return [
        (each._parameters, name)
        for each in module.modules()
        for name, parameter in each._parameters.items()
        if parameter is not None
    ]


def _control_convolutions(width: int) -> nn.Sequential:
    last = nn.Conv2d(CONTROL_CHANNELS, width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
    first = nn.Conv2d(CONTROL_CHANNELS, CONTROL_CHANNELS, 3, padding=1)
    return nn.Sequential(first, nn.SiLU(), last)


@dataclass(frozen=True, eq=False)
class _Kept:
    """A tensor that stays the same from step to step, and what it was made from."""

    made_from: tuple[object, ...]
    state: tuple[object, ...]
    value: Tensor

    def holds(self, made_from: tuple[object, ...], state: tuple[object, ...]) -> bool:
        same = all(a is b for a, b in zip(self.made_from, made_from, strict=True))
        return same and self.state == state


class SharedAttention(nn.Module):
    """One unit; the parameters have their published names. A new one changes nothing: its low-rank
    factors, its temporal output and its control end in zeros."""

    def __init__(self, config: UnitConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        for name in PROJECTIONS:
            seen = config.context or width if name in ("to_k", "to_v") else width
            streams = [LowRank(seen, width, config.rank) for _ in range(config.frames)]
            self.add_module(f"{name}_lora", nn.ModuleList(streams))
        controlled = config.frames if config.control else 0
        self.control_convs = nn.ModuleList(_control_convolutions(width) for _ in range(controlled))
        self.temporal_n = nn.LayerNorm(width, eps=NORM_EPS)
        for name in "iqkvo":
            self.add_module(f"temporal_{name}", nn.Linear(width, width))
        nn.init.zeros_(self.get_parameter("temporal_o.weight"))
        nn.init.zeros_(self.get_parameter("temporal_o.bias"))
        self.holders = _holders(self)
        self._control_holders = _holders(self.control_convs)
        self.release()

    def release(self) -> None:
        """Drop what was merged and kept between calls (it is made again when needed)."""
        self._merged: tuple[tuple[object, ...], MergedUnit] | None = None
        self._kept_control: _Kept | None = None
        self._kept_text: _Kept | None = None

    def forward(
        self,
        hidden: Tensor,
        context: Tensor | None,
        attention: Projections,
        conditions: SharingConditions = NOTHING,
        attend: Attend | None = None,
    ) -> Tensor:
        """What the unit adds to `hidden` (B, N, C), B = b * frames: control, attention within each
        stream, attention across the streams. The block adds it as it adds a plain attention's.

        context: (B, T, Cc) text states, None for self attention. attend: another way to attend
        within the streams, given their projections. Without gradients each stream's weights are
        merged once and kept until one of them changes; with gradients, and where a frozen layer
        has no plain matrix (quantised, offloaded), they are applied factor by factor. Raises
        ValueError for a batch, a signal or an overwriting text that does not fit."""
        frames = self.config.frames
        if hidden.shape[0] % frames:
            raise ValueError(
                f"the batch holds {hidden.shape[0]} latents: attention sharing over {frames} "
                f"streams takes a multiple of {frames}, the streams of a picture side by side"
            )
        merged = None if torch.is_grad_enabled() else self._merge(attention)
        if merged is not None and attend is None:
            return self._fast(merged, hidden, context, attention.heads, conditions)
        control = self._control(hidden, conditions)
        inner = hidden if control is None else self._with_control(hidden, control)
        text = None if context is None else self._overwritten(context, conditions)

        def project(name: str, x: Tensor) -> Tensor:
            if merged is not None:
                out = self._back(torch.bmm(self._streams(x), merged.weights(name)), len(x))
                bias = merged.out_bias if name == "to_out" else None
                return out if bias is None else out + bias
            return getattr(attention, name)(x) + self._low_rank(name, x)

        attended = (attend or _plain(attention.heads))(project, inner, text)
        x = inner + attended
        return x + self._across(x, merged, attention.heads) - hidden

    def _fast(
        self,
        merged: MergedUnit,
        hidden: Tensor,
        context: Tensor | None,
        heads: int,
        conditions: SharingConditions,
    ) -> Tensor:
        """The merged form: streams outermost, one product for all of a kind of projection."""
        batch = len(hidden)
        x = inner = self._streams(hidden)  # (f, b n, c)
        added = merged.out_bias
        control = self._control(hidden, conditions)
        if control is not None:
            signal = control.expand(-1, batch // self.config.frames, -1, -1).flatten(1, 2)
            inner, added = x + signal, signal + merged.out_bias
        if context is None:
            q, k, v = _split(torch.bmm(inner, merged.first), 3, batch, heads)
        else:
            (q,) = _split(torch.bmm(inner, merged.first), 1, batch, heads)
            k, v = _split(self._text_keys(merged, context, conditions), 2, batch, heads)
        attended = F.scaled_dot_product_attention(q, k, v)  # (f b, h, n, d)
        attended = attended.transpose(1, 2).reshape(x.shape)
        delta = torch.baddbmm(added.expand_as(x), attended, merged.out)
        across = merged.across(F.layer_norm(x + delta, x.shape[-1:], eps=NORM_EPS), heads)
        return self._back(delta + across, batch)

    def _merge(self, attention: Projections) -> MergedUnit | None:
        """The merged weights, made anew when any weight they come from has changed; None when a
        frozen layer has no plain matrix."""
        state = unit_state(self, attention)
        if state is None:
            return None
        if self._merged is None or self._merged[0] != state:
            self._merged = (state, merge_unit(self, attention))
        return self._merged[1]

    def _streams(self, x: Tensor) -> Tensor:
        """(b f, N, C) -> (f, b N, C)."""
        return rearrange(x, "(b f) n c -> f (b n) c", f=self.config.frames)

    def _back(self, x: Tensor, batch: int) -> Tensor:
        """(f, b N, C) -> (b f, N, C)."""
        return rearrange(x, "f (b n) c -> (b f) n c", b=batch // self.config.frames)

    def _low_rank(self, name: str, x: Tensor) -> Tensor:
        """up_f @ down_f applied to each stream f of (b f, N, C_in)."""
        factors = list(self.get_submodule(f"{name}_lora").children())
        down = torch.stack([each.get_parameter("down.weight") for each in factors])
        up = torch.stack([each.get_parameter("up.weight") for each in factors])
        narrow = torch.bmm(self._streams(x), down.to(x).transpose(1, 2))
        return self._back(torch.bmm(narrow, up.to(narrow).transpose(1, 2)), len(x))

    def _across(self, x: Tensor, merged: MergedUnit | None, heads: int) -> Tensor:
        """Attention across the streams of each place; x and result (b f, N, C)."""
        if merged is not None:
            normal = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
            return self._back(merged.across(self._streams(normal), heads), len(x))

        def layer(name: str, states: Tensor) -> Tensor:
            weight = self.get_parameter(f"temporal_{name}.weight")
            bias = self.get_parameter(f"temporal_{name}.bias")
            return F.linear(states, weight.to(states), bias.to(states))

        norm = self.temporal_n
        normal = F.layer_norm(x, x.shape[-1:], norm.weight.to(x), norm.bias.to(x), eps=NORM_EPS)
        z = layer("i", normal)
        q, k, v = (self._streams(layer(name, z)) for name in "qkv")
        return layer("o", self._back(across_streams(q, k, v, heads), len(x)))

    def _control(self, hidden: Tensor, conditions: SharingConditions) -> Tensor | None:
        """(f, 1 or b, N, C) added to each stream; None for a unit without control."""
        if not self.config.control:
            return None
        tokens = hidden.shape[1]
        if tokens not in conditions.signals:
            known = ", ".join(map(str, conditions.signals)) or "none"
            raise ValueError(
                f"this attention has {tokens} tokens and the control signal has none for it "
                f"(it has {known}): encode a condition picture of the size that is generated"
            )
        signal = conditions.signals[tokens]
        weights = tuple(fingerprint(holder[name]) for holder, name in self._control_holders)
        made_from, state = (signal,), (fingerprint(signal), hidden.dtype, hidden.device, weights)
        kept = self._kept_control
        if kept is not None and not torch.is_grad_enabled() and kept.holds(made_from, state):
            return kept.value
        first = next(self.control_convs.parameters())
        maps = [convolve(signal.to(first)) for convolve in self.control_convs]
        control = rearrange(torch.stack(maps), "f b c h w -> f b (h w) c").to(hidden)
        if not torch.is_grad_enabled():
            self._kept_control = _Kept(made_from, state, control)
        return control

    def _with_control(self, hidden: Tensor, control: Tensor) -> Tensor:
        streams = rearrange(hidden, "(b f) n c -> f b n c", f=self.config.frames)
        return rearrange(streams + control, "f b n c -> (b f) n c")

    def _overwritten(self, context: Tensor, conditions: SharingConditions) -> Tensor:
        """The context (b f, T, Cc) with each stream's own text on the conditional half."""
        frames = self.config.frames
        if all(each is None for each in conditions.overwrite):
            return context
        if len(conditions.overwrite) > frames:
            raise ValueError(
                f"{len(conditions.overwrite)} overwriting texts for {frames} streams: one a stream"
            )
        streams = list(rearrange(context, "(b f) t c -> f b t c", f=frames).unbind())
        mark = conditions.unconditional
        marks = context.new_zeros(len(context)) if mark is None else mark.to(context)
        by_stream = rearrange(marks, "(b f) -> f b 1 1", f=frames)
        for index, text in enumerate(conditions.overwrite):
            if text is None:
                continue
            if text.shape[1:] != context.shape[1:]:
                raise ValueError(
                    f"the text of stream {index} is {tuple(text.shape[1:])} (tokens, width), the "
                    f"prompt {tuple(context.shape[1:])}: encode both with as many tokens"
                )
            m = by_stream[index]
            streams[index] = text.to(context) * (1 - m) + streams[index] * m
        return rearrange(torch.stack(streams), "f b t c -> (b f) t c")

    def _text_keys(
        self, merged: MergedUnit, context: Tensor, conditions: SharingConditions
    ) -> Tensor:
        """Keys and values of the text, (f, b T, 2 C); kept while the text stays the same."""
        made_from, state = (context, conditions, merged), fingerprint(context)
        kept = self._kept_text
        if kept is not None and kept.holds(made_from, state):
            return kept.value
        text = self._streams(self._overwritten(context, conditions))
        keys = torch.bmm(text, merged.weights("text"))
        self._kept_text = _Kept(made_from, state, keys)
        return keys


def _split(x: Tensor, parts: int, batch: int, heads: int) -> tuple[Tensor, ...]:
    """(f, b n, parts * h * d) -> `parts` tensors (f b, h, n, d), without a copy."""
    split = x.view(batch, -1, parts, heads, x.shape[-1] // (parts * heads))
    return tuple(each.transpose(1, 2) for each in split.unbind(2))


def _plain(heads: int) -> Attend:
    """Ordinary multi-head attention: heads are cut from the channels in order, scale d^-1/2."""

    def attend(project: Project, hidden: Tensor, text: Tensor | None) -> Tensor:
        seen = hidden if text is None else text
        states = (("to_q", hidden), ("to_k", seen), ("to_v", seen))
        q, k, v = (
            rearrange(project(name, x), "b n (h d) -> b h n d", h=heads) for name, x in states
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return project("to_out", rearrange(attended, "b h n d -> b n (h d)"))

    return attend


def across_streams(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention along the first axis: (f, places, C) each, and the result."""
    form = "f m (h d) -> m h f d"
    q, k, v = (rearrange(each, form, h=heads) for each in (q, k, v))
    parts = zip(*(each.split(_MOST_PLACES) for each in (q, k, v)), strict=True)
    attended = [F.scaled_dot_product_attention(*part) for part in parts]
    whole = attended[0] if len(attended) == 1 else torch.cat(attended)
    return rearrange(whole, "m h f d -> f m (h d)")
