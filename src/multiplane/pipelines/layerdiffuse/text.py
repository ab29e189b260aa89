"""What a prompt is to the denoiser, a stream at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Branch:
    """One side of classifier-free guidance.

    embeds: (N, T, C) text states. added: what else the UNet takes, (N, ...) each (SDXL:
    text_embeds, time_ids), or a list of such (an IP-Adapter's image_embeds)."""

    embeds: Tensor
    added: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def joined(cls, branches: Sequence[Branch]) -> Branch:
        """All of them as one batch."""
        if len(branches) == 1:
            return branches[0]
        added = {
            key: _joined([branch.added[key] for branch in branches]) for key in branches[0].added
        }
        return cls(torch.cat([branch.embeds for branch in branches]), added)

    def with_added(self, **added: Any) -> Branch:
        """A copy with more for the UNet."""
        return replace(self, added={**self.added, **added})


def _joined(values: Sequence[Any]) -> Any:
    """Tensors as one batch; lists of tensors place by place."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [torch.cat(parts) for parts in zip(*values, strict=True)]


def interleaved(streams: Sequence[Branch], filler: Tensor | None = None) -> Branch:
    """One branch a stream, (B, ...) each -> (B streams, ...), the stream index fastest.

    filler: (1, T, C) text states of an empty prompt, which continue the shorter prompts where
    streams differ in their number of tokens. Raises ValueError when they do and there is none."""
    if len(streams) == 1:
        return streams[0]
    embeds = equal_tokens([branch.embeds for branch in streams], filler)
    added = {
        key: rearrange([branch.added[key] for branch in streams], "f b ... -> (b f) ...")
        for key in streams[0].added
    }
    stacked = rearrange(embeds, "f b t c -> (b f) t c")
    return Branch(stacked, added)


def equal_tokens(embeds: Sequence[Tensor], filler: Tensor | None) -> list[Tensor]:
    """(B, T, C) each -> the same with equal T: shorter ones go on with `filler` (1, T', C).

    Raises ValueError when the lengths differ and there is no filler."""
    longest = max(one.shape[1] for one in embeds)
    if all(one.shape[1] == longest for one in embeds):
        return list(embeds)
    if filler is None:
        found = ", ".join(str(one.shape[1]) for one in embeds)
        raise ValueError(f"prompts of one batch have {found} tokens: encode them to one length")
    repeated = filler.repeat(1, -(-longest // filler.shape[1]), 1)
    return [
        torch.cat([one, repeated[:, : longest - one.shape[1]].expand(one.shape[0], -1, -1)], dim=1)
        for one in embeds
    ]


def prompts_of(
    plane: str,
    prompt: str | Sequence[str] | None,
    plane_prompts: Mapping[str, str | Sequence[str]],
    join: bool,
    count: int,
    embedded: bool = False,
) -> list[str] | None:
    """The prompts of one plane for `count` pictures: its own, else the global one, else an empty
    one; None where the global prompt is `embedded`, given as text states. join: "its own, the
    global one", as the web interface does it. Raises ValueError for a list of another length."""
    own, common = plane_prompts.get(plane), prompt
    if own is None:
        if common is None:
            return None if embedded else [""] * count
        return _list("prompt", common, count)
    own = _list(f"the prompt of {plane}", own, count)
    if not join or common is None:
        return own
    both = zip(own, _list("prompt", common, count), strict=True)
    return [", ".join(part for part in pair if part) for pair in both]


def _list(name: str, value: str | Sequence[str], count: int) -> list[str]:
    if isinstance(value, str):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} is a list of {len(value)}, the batch has {count} pictures")
    return list(value)
