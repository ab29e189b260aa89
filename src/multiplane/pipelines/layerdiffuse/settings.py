"""Everything one call of a pipeline says, checked, apart from its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from multiplane.models.transparent_decode import DecodeOptions
from multiplane.pipelines.layerdiffuse.control import ControlArguments
from multiplane.pipelines.layerdiffuse.noise import Generators
from multiplane.pipelines.layerdiffuse.predict import Guidance

# An empty one was reported to give wholly clear pictures; the authors' examples all use this.
NEGATIVE_PROMPT = "bad, ugly"
PICTURE_STRENGTH = 0.7  # image to image, as in the authors' example


@dataclass(frozen=True)
class HiresFix:
    """A second pass over an enlarged result, its alpha kept.

    scale: of both sides; or size: (width, height), which wins. strength: part of the steps the
    second pass runs. steps: None for those of the first. upscale: "pixels" enlarges the decoded
    picture, colour weighted by alpha, and encodes it with its alpha; "latent" enlarges the latents,
    which is quicker and blurs more, so it wants a strength of 0.5 or more."""

    scale: float = 1.5
    size: tuple[int, int] | None = None
    strength: float = 0.45
    steps: int | None = None
    upscale: str = "pixels"

    def __post_init__(self) -> None:
        if self.upscale not in ("pixels", "latent"):
            raise ValueError(f"upscale must be 'pixels' or 'latent', got {self.upscale!r}")
        if self.size is None and self.scale < 1.0:
            raise ValueError(
                f"the second pass enlarges: scale must be at least 1, got {self.scale}"
            )
        if not 0.0 <= self.strength < 1.0:
            raise ValueError(
                f"strength of the second pass must be 0..1 and below 1, got {self.strength}"
            )

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the second pass for a first one of `size`."""
        if self.size is not None:
            return self.size
        return round(size[0] * self.scale), round(size[1] * self.scale)


@dataclass(frozen=True)
class Settings:
    """One call. Names and meanings are those of `LayeredPipeline.__call__`.

    batch: prompts; count: pictures, batch * num_images_per_prompt."""

    batch: int
    prompt: str | list[str] | None
    plane_prompts: Mapping[str, str | list[str]]
    join_prompts: bool
    negative_prompt: str | list[str] | None
    num_images_per_prompt: int
    num_inference_steps: int
    timesteps: list[int] | None
    sigmas: list[float] | None
    guidance: Guidance
    stop_at: float | None
    strength: float | None
    hires: HiresFix | None
    generator: Generators
    latents: Tensor | None
    eta: float
    control: ControlArguments
    ip_adapter_image: Any
    ip_adapter_image_embeds: Any
    cross_attention_kwargs: dict[str, Any] | None
    clip_skip: int | None
    use_offset: bool
    decode: DecodeOptions | None
    callback: Callable[..., Any] | None
    callback_tensors: Sequence[str]
    text: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.stop_at is not None and not 0.0 <= self.stop_at <= 1.0:
            raise ValueError(f"stop_at must be 0..1, got {self.stop_at}")
        if self.num_images_per_prompt < 1:
            raise ValueError(
                f"num_images_per_prompt must be at least 1, got {self.num_images_per_prompt}"
            )

    @property
    def count(self) -> int:
        return self.batch * self.num_images_per_prompt

    @property
    def negative_list(self) -> list[str] | None:
        """The negative prompt, one a prompt; None where there is none, or its states are given.

        Raises ValueError for a list of another length."""
        negative = self.negative_prompt
        if negative is None or self.text.get("negative_prompt_embeds") is not None:
            return None
        if isinstance(negative, str):
            return [negative] * self.batch
        if len(negative) != self.batch:
            raise ValueError(f"{len(negative)} negative prompts for {self.batch} prompts")
        return negative


def batch_of(prompt: Any, prompt_embeds: Tensor | None, planes: Mapping[str, Any]) -> int:
    """How many prompts a call has. Raises ValueError when there is neither text nor embeddings, or
    both."""
    if prompt is not None and prompt_embeds is not None:
        raise ValueError("give prompt or prompt_embeds, not both")
    if prompt_embeds is not None:
        return prompt_embeds.shape[0]
    texts = [prompt, *planes.values()]
    lengths = {len(text) for text in texts if text is not None and not isinstance(text, str)}
    if all(text is None for text in texts):
        raise ValueError("no prompt: give prompt, plane_prompts or prompt_embeds")
    if len(lengths) > 1:
        raise ValueError(f"lists of prompts have {sorted(lengths)} entries: make them one length")
    return lengths.pop() if lengths else 1
