"""Which base model, which published weights, on what: everything a family is loaded from."""

from __future__ import annotations

from dataclasses import dataclass, field

from multiplane.pipelines.placement import Dtype, Offload


@dataclass(frozen=True)
class LayerDiffuseConfig:
    """base: hub id, diffusers folder, or one checkpoint file. variant: of the base's files on the
    hub, such as "fp16"; "" for the plain ones. modes: the weights of each mode by its name, as
    `load_mode` takes them; a mode is loaded when a request first needs it. transparency_decoder,
    transparency_encoder: file, folder or hub id; without the encoder a foreground cannot be started
    from. offset_convention: how the encoder is used ("diffusers", "webui", "flux", "paper"); "" as
    its name or its folder says.

    loras: LoRA files or hub ids laid over the base, with loras_weight. controlnets: ControlNet by
    the kind of control it takes ("silhouette", "edges"). scheduler: a diffusers class; "" for the
    base's own. device: "auto" takes CUDA, then Apple's, then the CPU. dtype: "auto" is float16 on
    an accelerator, float32 on the CPU. keep_modes: how many modes stay in memory, at least those of
    one request; an SDXL mode is 0.7 to 3.6 GB beside the base. offload: parts of the model wait in
    memory until used. fast_decode: the transparency decoder in the number format this device is
    quick in, as the pipeline's `use_fast_decoder`; else exact. vae_tiling: decode large pictures
    tile by tile. sequential_guidance: as the pipeline has it. steps, guidance, negative_prompt: the
    defaults of a request.
    """

    base: str
    modes: dict[str, str]
    transparency_decoder: str = ""
    transparency_encoder: str = ""
    offset_convention: str = ""
    variant: str = ""
    loras: tuple[str, ...] = ()
    loras_weight: float = 1.0
    controlnets: dict[str, str] = field(default_factory=dict)
    scheduler: str = ""
    device: str = "auto"
    dtype: Dtype = "auto"
    keep_modes: int = 3
    offload: Offload = "none"
    fast_decode: bool = False
    vae_tiling: bool = False
    sequential_guidance: bool = False
    steps: int = 25
    guidance: float = 7.0
    negative_prompt: str = "bad, ugly"
