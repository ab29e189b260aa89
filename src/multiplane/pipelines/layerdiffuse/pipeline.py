"""What the LayerDiffuse pipelines of every base share: one call, its weights, its decode."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from multiplane.models.transparent_decode import DecodeOptions
from multiplane.pipelines.layerdiffuse.codec import PlaneCodec
from multiplane.pipelines.layerdiffuse.control import ControlArguments, nets_in
from multiplane.pipelines.layerdiffuse.inputs import read_inputs
from multiplane.pipelines.layerdiffuse.loading import LayerWeights
from multiplane.pipelines.layerdiffuse.modes import Mode, Workflow, find
from multiplane.pipelines.layerdiffuse.output import LayerDiffuseOutput, MadePictures
from multiplane.pipelines.layerdiffuse.pictures import (
    OUTPUT_TYPES,
    OutputType,
    PaddedCanvas,
    Picture,
)
from multiplane.pipelines.layerdiffuse.predict import Guidance
from multiplane.pipelines.layerdiffuse.run import Conditions, Inputs, ModeRun
from multiplane.pipelines.layerdiffuse.settings import (
    NEGATIVE_PROMPT,
    HiresFix,
    Settings,
    batch_of,
)
from multiplane.pipelines.layerdiffuse.text import Branch

CALLBACK_TENSORS = ("latents", "prompt_embeds", "negative_prompt_embeds")
log = logging.getLogger(__name__)


class LayeredPipeline(LayerWeights, DiffusionPipeline):
    """A Stable Diffusion pipeline that makes planes with alpha.

    workflows: the modes of this base. text_arguments: what its text conditioning takes by name
    beyond the shared arguments. Subclasses are diffusers pipelines of their base and keep its
    loaders (LoRA, textual inversion, IP-Adapter, single files)."""

    workflows: ClassVar[Mapping[str, Workflow]]
    text_arguments: ClassVar[frozenset[str]]
    # Of the base's diffusers pipeline.
    vae_scale_factor: int
    _callback_tensor_inputs: ClassVar[list[str]]
    prepare_ip_adapter_image_embeds: Callable[..., list[Tensor]]
    get_guidance_scale_embedding: Callable[..., Tensor]
    if TYPE_CHECKING:

        @property
        def do_classifier_free_guidance(self) -> bool: ...
        @property
        def interrupt(self) -> bool: ...

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        mode: str = "transparent",
        planes: Mapping[str, Picture] | None = None,
        *,
        plane_prompts: Mapping[str, str | list[str]] | None = None,
        join_prompts: bool = False,
        negative_prompt: str | list[str] | None = NEGATIVE_PROMPT,
        image: Picture | Mapping[str, Picture] | None = None,
        keep: Picture | Mapping[str, Picture] | None = None,
        strength: float | None = None,
        use_offset: bool = True,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 25,
        timesteps: list[int] | None = None,
        sigmas: list[float] | None = None,
        guidance_scale: float = 7.0,
        guidance_rescale: float = 0.0,
        sequential_guidance: bool = False,
        num_images_per_prompt: int = 1,
        stop_at: float | None = None,
        second_scheduler: Any = None,
        hires: HiresFix | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        eta: float = 0.0,
        control_image: Picture | Mapping[str, Picture] | None = None,
        controlnet_conditioning_scale: float | list[float] = 1.0,
        control_guidance_start: float | list[float] = 0.0,
        control_guidance_end: float | list[float] = 1.0,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: list[Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        decode: DecodeOptions | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **text: Any,
    ) -> LayerDiffuseOutput | tuple[Any]:
        """Make the planes of `mode`; its weights must be loaded (`load_mode`). "plain" is the base.

        prompt: for every plane that has none of its own. plane_prompts: by plane. join_prompts: a
        plane's own prompt followed by the global one, as the web interface does it, instead of
        alone. negative_prompt: the authors' by default.
        planes: the given ones, by name: pictures of any size, one or one a prompt.
        image: what a made plane starts from, by name (a bare picture: the first plane that the last
        step makes), with strength 0..1 of the steps; 0 gives its latents back, 1 forgets it.
        Default 0.7, or 1 with keep. keep: masks by plane, 1 where the picture's pixels stay,
        exactly; the rest is made anew. use_offset: whether a foreground's latents carry alpha.
        height, width: any; default those of the given pictures, else the base's own.
        guidance_scale, guidance_rescale: as diffusers. sequential_guidance: the two halves of
        guidance one after the other, for less memory and the same result.
        stop_at: part of the noise schedule, 0..1, after which the plain UNet goes on; None for the
        mode's own. second_scheduler: for the second of two steps; None for Euler ancestral, as the
        authors advise. hires: a second pass at a larger size.
        generator: one, or one a picture. latents: the first noise, (pictures * streams, 4, h, w).
        control_image: for the ControlNet(s), by the plane they steer (bare: the first).
        decode: how the transparency decoder runs. output_type: "pil", "uint8", "np", "pt",
        "latent". The rest is as in diffusers; text: what else this base's text conditioning takes.

        Raises ValueError for what contradicts itself or the mode, TypeError for an unknown
        argument."""
        self._check_call(output_type, text, callback_on_step_end_tensor_inputs)
        workflow = find(self.workflows, mode)
        settings = Settings(
            batch=batch_of(prompt, text.get("prompt_embeds"), plane_prompts or {}),
            prompt=prompt,
            plane_prompts=plane_prompts or {},
            join_prompts=join_prompts,
            negative_prompt=negative_prompt,
            num_images_per_prompt=num_images_per_prompt,
            num_inference_steps=num_inference_steps,
            timesteps=timesteps,
            sigmas=sigmas,
            guidance=Guidance(guidance_scale, guidance_rescale, sequential_guidance),
            stop_at=stop_at,
            strength=strength,
            hires=hires,
            generator=generator,
            latents=latents,
            eta=eta,
            control=ControlArguments(
                controlnet_conditioning_scale, control_guidance_start, control_guidance_end
            ),
            ip_adapter_image=ip_adapter_image,
            ip_adapter_image_embeds=ip_adapter_image_embeds,
            cross_attention_kwargs=cross_attention_kwargs,
            clip_skip=clip_skip,
            use_offset=use_offset,
            decode=decode,
            callback=callback_on_step_end,
            callback_tensors=callback_on_step_end_tensor_inputs,
            text=text,
        )
        size = (width, height, self._own_size)
        nets = 0 if self.controlnet is None else nets_in(self.controlnet)
        inputs, canvas = read_inputs(
            workflow, planes or {}, image, keep, control_image, size, nets, settings
        )
        self._check_weights(workflow, output_type)
        self._remember(settings)
        try:
            made = self._run(
                workflow, settings, inputs, canvas, second_scheduler, output_type != "latent"
            )
        finally:
            self.detach_mode()
            self.maybe_free_model_hooks()
        output = made.output(output_type)
        return output if return_dict else (output.images,)

    def _run(
        self,
        workflow: Workflow,
        settings: Settings,
        inputs: Inputs,
        canvas: PaddedCanvas,
        second_scheduler: Any,
        decode: bool,
    ) -> MadePictures:
        """Every step of the workflow, each given what the ones before it made."""
        made = MadePictures({})
        last = len(workflow.steps) - 1
        for index, (mode, advised) in enumerate(
            zip(workflow.steps, workflow.schedulers, strict=True)
        ):
            own = replace(settings, latents=settings.latents if index == 0 else None)
            if index < last:
                own = replace(own, stop_at=None)
            scheduler = self._scheduler(advised, second_scheduler if index else None)
            run = ModeRun(self, mode, own, canvas, inputs, scheduler)
            made.add(run.make(decode or index < last))
            inputs = replace(inputs, given={**inputs.given, **made.rgba})
        made.flagged = self._flagged(made)
        if made.flagged:
            made.blank(made.flagged)
        complaints = {check.complaint for checks in made.checks.values() for check in checks}
        for complaint in sorted(complaint for complaint in complaints if complaint):
            log.warning("%s", complaint)
        return made

    def _scheduler(self, advised: str | None, chosen: Any) -> Any:
        """The one a step samples with: chosen by the caller, advised by its row, or the own."""
        if chosen is not None:
            return chosen
        if advised is None:
            return self.scheduler
        return getattr(diffusers, advised).from_config(self.scheduler.config)

    def _check_call(
        self, output_type: str, text: Mapping[str, Any], tensors: Sequence[str]
    ) -> None:
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"unknown output_type {output_type!r}: use {', '.join(OUTPUT_TYPES)}")
        unknown = set(text) - self.text_arguments
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no argument {', '.join(sorted(unknown))}; its text "
                f"conditioning takes {', '.join(sorted(self.text_arguments))}"
            )
        strange = set(tensors) - set(self._callback_tensor_inputs)
        if strange:
            raise ValueError(
                f"a callback cannot have {', '.join(sorted(strange))}: it can have "
                f"{', '.join(self._callback_tensor_inputs)}"
            )

    def _check_weights(self, workflow: Workflow, output_type: str) -> None:
        """Raises ValueError when something the mode needs is not loaded."""
        for mode in workflow.steps:
            if mode.adapted and mode.name not in self.mode_weights:
                loaded = ", ".join(self.mode_weights) or "none"
                raise ValueError(
                    f"mode {workflow.name!r} needs the {mode.name!r} weights, loaded are {loaded}: "
                    f"call load_mode({mode.name!r}, ...) with their file, folder or hub id"
                )
        clear = any(mode.transparent_streams for mode in workflow.steps)
        if clear and self.transparency_decoder is None and output_type != "latent":
            raise ValueError(
                f"mode {workflow.name!r} makes a foreground with alpha, and no transparency "
                "decoder is loaded: call load_transparency(decoder=...) first"
            )

    def _remember(self, settings: Settings) -> None:
        """What diffusers' own properties and encoders read of a call."""
        self._guidance_scale = settings.guidance.scale
        self._guidance_rescale = settings.guidance.rescale
        self._clip_skip = settings.clip_skip
        self._cross_attention_kwargs = settings.cross_attention_kwargs
        self._denoising_end = None
        self._interrupt = False

    @property
    def _own_size(self) -> int:
        """Pixels a side the base was trained at."""
        return int(self.unet.config.sample_size) * self.vae_scale_factor

    def _guidance_embedding(self, count: int) -> Tensor | None:
        """(count, C) for distilled bases that read the guidance scale; None for the others."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return None
        scale = torch.tensor(self._guidance_scale - 1).repeat(count)
        embedding = self.get_guidance_scale_embedding(scale, embedding_dim=width)
        return embedding.to(self._execution_device, self.unet.dtype)

    def _image_prompt(self, settings: Settings, count: int) -> list[Tensor] | None:
        """States of an IP-Adapter's pictures, (halves * count, ...) each; None without one."""
        image, embeds = settings.ip_adapter_image, settings.ip_adapter_image_embeds
        if image is None and embeds is None:
            return None
        return self.prepare_ip_adapter_image_embeds(
            image, embeds, self._execution_device, count, self.do_classifier_free_guidance
        )

    def _empty_text(self, settings: Settings, canvas: PaddedCanvas) -> Tensor:
        """(1, T, C) text states of an empty prompt."""
        alone = replace(settings, batch=1, num_images_per_prompt=1, negative_prompt="", text={})
        return self._encode_texts([""], alone, canvas, own=True)[-1].embeds

    def _flagged(self, made: MadePictures) -> list[bool] | None:
        """What a safety checker says of each picture; None for a base that has none."""
        return None

    def _encode_texts(
        self, prompts: list[str] | None, settings: Settings, canvas: PaddedCanvas, own: bool
    ) -> list[Branch]:
        """[with the prompt] or [without, with], one a picture. prompts: one a prompt of the batch,
        None where settings.text holds states. own: whether they are a plane's own."""
        raise NotImplementedError

    def _conditions(self, mode: Mode, given: list[Tensor], codec: PlaneCodec) -> Conditions:
        """The given planes in the mode's order, (1 or count, 3, height, width) each as
        `shown_to_model` makes them, for the UNet."""
        raise NotImplementedError
