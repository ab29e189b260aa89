"""Which base, which weights, on what: everything the family is loaded from."""

from __future__ import annotations

from dataclasses import dataclass

from multiplane.pipelines.placement import Dtype, Offload

CONFIG = "layerflow.toml"
BASE = "zai-org/CogVideoX-2b"  # Apache-2.0: tokenizer, text encoder, autoencoder, scheduler


@dataclass(frozen=True)
class LayerFlowConfig:
    """weights: folders that `multiplane convert` or `save_pretrained` wrote; each says which tasks
    it is for, the first that can do a request does it, and one is in memory at a time. base: hub id
    or folder of CogVideoX-2B, for the parts that converted weights share with it. joined: "yes" or
    "no" for whether clips pass the autoencoder as one video; "" as the weights were trained.
    motion: weight of the Motion LoRA, 0 for none as published; 1 holds the picture still.

    scheduler: a diffusers class; "" for the base's own. device, dtype: as everywhere; "auto" is
    bfloat16 on an accelerator. offload: "model" keeps one component on the accelerator,
    "sequential" one layer. vae_tiling: code frames tile by tile. sequential_guidance: the halves of
    guidance one after the other. steps, guidance, negative_prompt: the defaults of a request.
    """

    weights: tuple[str, ...]
    base: str = BASE
    joined: str = ""
    motion: float = 0.0
    scheduler: str = ""
    device: str = "auto"
    dtype: Dtype = "auto"
    offload: Offload = "none"
    vae_tiling: bool = False
    sequential_guidance: bool = False
    steps: int = 50
    guidance: float = 6.0
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("weights names no folder: name at least one")
        if self.joined not in ("", "yes", "no"):
            raise ValueError(f'joined must be "yes", "no" or "", got {self.joined!r}')
        if not 0.0 <= self.motion <= 1.0:
            raise ValueError(f"motion must be 0..1, got {self.motion}")


@dataclass(frozen=True)
class RequestOptions:
    """What `LayerRequest.options` may say. foreground, background: what a given plane shows, in
    words; a plane that is given has no prompt of its own, and the weights were trained with words
    for all. negative_prompt: None for the configured one."""

    foreground: str = ""
    background: str = ""
    negative_prompt: str | None = None
