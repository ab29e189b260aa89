"""What `LayerRequest.options` may say to a LayerDiffuse family."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multiplane.core.request import RequestError
from multiplane.models.transparent_decode import DecodeOptions
from multiplane.pipelines.base_model import scheduler_named
from multiplane.pipelines.layerdiffuse.settings import HiresFix


@dataclass(frozen=True)
class RequestOptions:
    """negative_prompt: None for the configured one. prompt: said of every plane, after its own.
    scheduler: a diffusers class such as "EulerAncestralDiscreteScheduler", with " karras" behind it
    for Karras's times; "" for the configured one. stop_at: part of the noise schedule after which
    the plain base goes on. clip_skip, guidance_rescale: as diffusers. hires: scale of a second pass
    over the enlarged result, 0 for none; hires_strength: how far it may change. passes: of the
    transparency decoder, 8, 4, 2 or 1. use_offset: whether a foreground that is started from gives
    its alpha too."""

    negative_prompt: str | None = None
    prompt: str = ""
    scheduler: str = ""
    stop_at: float | None = None
    clip_skip: int | None = None
    guidance_rescale: float = 0.0
    hires: float = 0.0
    hires_strength: float = 0.45
    passes: int = 8
    use_offset: bool = True

    def __post_init__(self) -> None:
        DecodeOptions(passes=self.passes)
        if self.hires:
            HiresFix(scale=self.hires, strength=self.hires_strength)

    @property
    def decode(self) -> DecodeOptions:
        return DecodeOptions(passes=self.passes)

    @property
    def second_pass(self) -> HiresFix | None:
        if self.hires == 0.0:
            return None
        return HiresFix(scale=self.hires, strength=self.hires_strength)

    def call(self, negative_prompt: str) -> dict[str, Any]:
        """Arguments of a pipeline's call. negative_prompt: the configured one."""
        own = self.negative_prompt
        return {
            "prompt": self.prompt or None,
            "join_prompts": bool(self.prompt),
            "negative_prompt": negative_prompt if own is None else own,
            "stop_at": self.stop_at,
            "clip_skip": self.clip_skip,
            "guidance_rescale": self.guidance_rescale,
            "hires": self.second_pass,
            "use_offset": self.use_offset,
            "decode": self.decode,
        }

    def scheduler_for(self, config: Mapping[str, Any]) -> Any:
        """The scheduler that was asked for, with the settings of the base's own."""
        try:
            return scheduler_named(self.scheduler, config)
        except ValueError as error:
            raise RequestError(str(error)) from error

    def report(self) -> dict[str, Any]:
        """What was said, for the record of a picture."""
        default = RequestOptions()
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(default, field.name)
            and field.name != "scheduler"
        }
