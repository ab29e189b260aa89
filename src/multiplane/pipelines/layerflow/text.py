"""Prompts of the planes into the text states of one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multiplane.models.subclips import ClipName, indexed_prompt

Prompt = str | list[str] | None


def count_of(prompts: Mapping[str, Prompt]) -> int:
    """How many prompts a call has. Raises ValueError for lists of different lengths."""
    lengths = {len(each) for each in prompts.values() if isinstance(each, list)}
    if len(lengths) > 1:
        raise ValueError(f"lists of prompts have {sorted(lengths)} entries: make them one length")
    return lengths.pop() if lengths else 1


@dataclass(frozen=True)
class PromptEncoder:
    """tokens: of each prompt, padded; longer ones are cut. device: where the encoder computes."""

    tokenizer: Any
    text_encoder: Any
    tokens: int
    width: int
    device: torch.device

    def __call__(
        self, prompts: Mapping[str, Prompt], planes: Sequence[ClipName], count: int
    ) -> Tensor:
        """(count, planes * tokens, width): every plane's prompt with its index before it, encoded
        by itself, one after the other. A plane without words has zeros, as dropped prompts had in
        training."""
        return torch.cat([self._plane(plane, prompts.get(plane), count) for plane in planes], dim=1)

    def _plane(self, plane: ClipName, prompt: Prompt, count: int) -> Tensor:
        if not prompt:
            return torch.zeros(count, self.tokens, self.width, device=self.device)
        if self.text_encoder is None or self.tokenizer is None:
            raise ValueError(
                "this pipeline has no text encoder: load one, or pass prompt_embeds and "
                "negative_prompt_embeds"
            )
        words = [prompt] if isinstance(prompt, str) else prompt
        inputs = self.tokenizer(
            [indexed_prompt(plane, each) for each in words],
            padding="max_length",
            max_length=self.tokens,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        states = self.text_encoder(inputs.input_ids.to(self.device))[0]
        said = torch.tensor([bool(each) for each in words], device=states.device)
        states = states * said[:, None, None]
        return states.expand(count, -1, -1) if len(words) == 1 else states

    def pair(
        self,
        prompts: Mapping[str, Prompt],
        negative: Prompt,
        given: tuple[Tensor | None, Tensor | None],
        planes: Sequence[ClipName],
        counts: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """States with the prompts and without, (N, planes * tokens, width). given: states of a
        caller's own, which stand in. counts: prompts, and videos of each.

        Raises ValueError for states of another shape."""
        text, without = given
        if text is None:
            text = self(prompts, planes, counts[0])
        if without is None:
            without = self(dict.fromkeys(planes, negative), planes, counts[0])
        shape = (counts[0], len(planes) * self.tokens, self.width)
        for name, states in (("prompt_embeds", text), ("negative_prompt_embeds", without)):
            if tuple(states.shape) != shape:
                raise ValueError(f"{name} have shape {tuple(states.shape)}, this needs {shape}")
        text, without = text.to(self.device), without.to(self.device)
        return text.repeat_interleave(counts[1], dim=0), without.repeat_interleave(counts[1], dim=0)
