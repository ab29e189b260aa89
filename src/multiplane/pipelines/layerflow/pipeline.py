"""`LayerFlowPipeline`: CogVideoX-2B that makes and takes apart layered clips."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.loaders.lora_pipeline import CogVideoXLoraLoaderMixin
from diffusers.pipelines.cogvideo.pipeline_cogvideox import retrieve_timesteps
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from typing_extensions import Self

from multiplane.models.clip_codec import ClipCodec
from multiplane.models.layer_embedding import (
    LayerEmbedding,
    TokenGrid,
    added_to_tokens,
    token_table,
)
from multiplane.models.subclips import PLANES, SubclipLayout, prompted_planes
from multiplane.pipelines.layerdiffuse.noise import Generators
from multiplane.pipelines.layerdiffuse.pictures import OUTPUT_TYPES, OutputType, PaddedCanvas
from multiplane.pipelines.layerflow.adapters import load_adapters, save_adapters, without_adapters
from multiplane.pipelines.layerflow.decode import decode_planes
from multiplane.pipelines.layerflow.denoise import SequenceDenoising, StepCallback
from multiplane.pipelines.layerflow.given import given_clips, planes_to_make
from multiplane.pipelines.layerflow.output import LayerFlowOutput, Video, read_clips, write_clips
from multiplane.pipelines.layerflow.text import Prompt, PromptEncoder, count_of

STEPS, GUIDANCE = 50, 6.0


class LayerFlowPipeline(DiffusionPipeline, CogVideoXLoraLoaderMixin):
    """A CogVideoX-2B pipeline over the sequence of a layered clip (arXiv 2506.04228).

    layer_embedding: what tells the layers apart; None where positions and prompts do. clip_variant,
    clip_frames, clip_lead: the sequence, as `SubclipLayout` has it. clips_joined: neighbouring
    clips pass the autoencoder as one video, as the published weights were trained. clip_tasks: what
    the weights were trained for, rows of the task table with ";" between them.

    Raises ValueError for a transformer that cannot carry the sequence."""

    model_cpu_offload_seq = "text_encoder->layer_embedding->transformer->vae"
    _optional_components: ClassVar[list[str]] = ["tokenizer", "text_encoder", "layer_embedding"]
    _callback_tensor_inputs: ClassVar[list[str]] = [
        "latents",
        "prompt_embeds",
        "negative_prompt_embeds",
    ]

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        vae: Any,
        transformer: Any,
        scheduler: Any,
        layer_embedding: LayerEmbedding | None = None,
        clip_variant: str = "rgba",
        clip_frames: int = 16,
        clip_lead: bool = False,
        clips_joined: bool = False,
        clip_tasks: str = "",
    ) -> None:
        super().__init__()
        SubclipLayout(clip_variant, clip_frames, clip_lead)  # pyright: ignore[reportArgumentType]
        if transformer is not None and transformer.config.use_rotary_positional_embeddings:
            raise ValueError(
                "this transformer has rotary positions; LayerFlow is built on CogVideoX-2B, which "
                "adds its positions to the tokens: load that one"
            )
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            vae=vae,
            transformer=transformer,
            scheduler=scheduler,
            layer_embedding=layer_embedding,
        )
        self.register_to_config(
            clip_variant=clip_variant,
            clip_frames=clip_frames,
            clip_lead=clip_lead,
            clips_joined=clips_joined,
            clip_tasks=clip_tasks,
        )
        self._interrupt = False

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt = None,
        planes: Mapping[str, Video] | None = None,
        *,
        plane_prompts: Mapping[str, Prompt] | None = None,
        negative_prompt: Prompt = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int = STEPS,
        timesteps: list[int] | None = None,
        guidance_scale: float = GUIDANCE,
        sequential_guidance: bool = False,
        num_videos_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LayerFlowOutput | tuple[Any]:
        """Make the planes that are not given; what happens follows from which ones are.

        prompt: for every plane that has none of its own. plane_prompts: by plane ("foreground",
        "background", "composite"); a plane without words is not guided. A given composite's prompt
        is not read. negative_prompt: of every plane; without one guidance turns away from nothing,
        zeros, as in training.
        planes: the given ones by name, of any size, one or one a prompt. A foreground needs its
        alpha. Fewer frames than `num_frames` are the beginning of a clip that is made.
        height, width: any; default those of the given planes, else the model's own. num_frames: of
        each clip, a multiple of 8.
        guidance_scale: constant. sequential_guidance: its halves one after the other, for less
        memory and the same result. generator: one, or one a video. latents: the first noise, whole
        sequences (N, latents, C, h, w). output_type: "pil", "uint8", "np", "pt", "latent". The rest
        is as in diffusers.

        Raises ValueError for what contradicts itself or does not fit."""
        self._check_call(output_type, callback_on_step_end_tensor_inputs)
        given = {name: read_clips(name, video) for name, video in (planes or {}).items()}
        layout = self._layout(num_frames)
        made = planes_to_make(given, layout)
        canvas = self._canvas(given, width, height)
        words = {plane: (plane_prompts or {}).get(plane) or prompt for plane in PLANES}
        batch = len(prompt_embeds) if prompt_embeds is not None else count_of(words)
        count = batch * num_videos_per_prompt
        clips = given_clips(given, layout, canvas, count)
        noise = self._noise(layout, canvas, count, generator, latents)
        text, negative = self._encoder().pair(
            words,
            negative_prompt,
            (prompt_embeds, negative_prompt_embeds),
            prompted_planes(set(PLANES) - set(made)),
            (batch, num_videos_per_prompt),
        )
        self._interrupt = False
        device = self._execution_device
        retrieve_timesteps(self.scheduler, num_inference_steps, device, timesteps)
        times: Tensor = self.scheduler.timesteps
        self._num_timesteps = len(times)
        codec = ClipCodec(self.vae, layout, self.config["clips_joined"], device)
        run = SequenceDenoising(
            self,
            text,
            negative if guidance_scale > 1.0 else None,
            guidance_scale,
            sequential_guidance,
            clips.clean(codec, noise),
            clips.mask.to(device),
            eta,
            generator,
            attention_kwargs,
            StepCallback(callback_on_step_end, callback_on_step_end_tensor_inputs),
        )
        with added_to_tokens(self.transformer, self._table(layout, canvas, text)):
            sequence = run(noise, times)
        if output_type == "latent":
            planes_out: dict[str, Any] = {
                clip: sequence[:, layout.span(clip)] for clip in layout.clips_of(made)
            }
        else:
            rgba = decode_planes(codec, sequence, made, clips, canvas)
            planes_out = {plane: write_clips(one, output_type) for plane, one in rgba.items()}
        self.maybe_free_model_hooks()
        main = planes_out[next(name for name in reversed(PLANES) if name in planes_out)]
        return LayerFlowOutput(main, planes_out) if return_dict else (main,)

    @property
    def interrupt(self) -> bool:
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def own_size(self) -> tuple[int, int]:
        """(width, height) in pixels that the transformer was trained at."""
        config, factor = self.transformer.config, self._space
        return config.sample_width * factor, config.sample_height * factor

    @property
    def _space(self) -> int:
        """Pixels a side of one latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any
    ) -> None:
        """As diffusers; adapters on the transformer are kept apart and load again with it."""
        with without_adapters(self.transformer):
            super().save_pretrained(save_directory, *arguments, **options)
        save_adapters(self.transformer, save_directory)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any
    ) -> Self:
        """As diffusers; from a folder of `save_pretrained` with its adapters. A CogVideoX-2B folder
        or hub id loads too: the base that LayerFlow is trained from."""
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **options)
        load_adapters(pipeline.transformer, str(pretrained_model_name_or_path))
        return pipeline

    def _check_call(self, output_type: str, tensors: Sequence[str]) -> None:
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"unknown output_type {output_type!r}: use {', '.join(OUTPUT_TYPES)}")
        strange = set(tensors) - set(self._callback_tensor_inputs)
        if strange:
            raise ValueError(
                f"a callback cannot have {', '.join(sorted(strange))}: it can have "
                f"{', '.join(self._callback_tensor_inputs)}"
            )
        predicts = self.scheduler.config.get("prediction_type")
        if predicts != "v_prediction":
            raise ValueError(
                f"the scheduler's prediction_type is {predicts!r} and these weights predict v: "
                'make it with prediction_type="v_prediction"'
            )

    def _layout(self, frames: int | None) -> SubclipLayout:
        config = self.config
        return SubclipLayout(
            config["clip_variant"], frames or config["clip_frames"], config["clip_lead"]
        )

    def _canvas(
        self, given: Mapping[str, Tensor], width: int | None, height: int | None
    ) -> PaddedCanvas:
        """Sizes that are no multiple of a token are padded by their border and cut back. Raises
        ValueError where learned positions allow one size only."""
        sizes = {tuple(clip.shape[-2:]) for clip in given.values()}
        own = sizes.pop() if len(sizes) == 1 else self.own_size[::-1]
        step = self._space * self.transformer.config.patch_size
        canvas = PaddedCanvas.of(width or own[1], height or own[0], step)
        learned = None if self.layer_embedding is None else self.layer_embedding.config["learned"]
        if learned is not None:
            only = (learned[3] * step, learned[2] * step)
            if canvas.inner != only:
                raise ValueError(
                    f"these weights learned the positions of {only[0]} x {only[1]} pixels and have "
                    f"no others, asked for were {canvas.width} x {canvas.height}: resize"
                )
        return canvas

    def _noise(
        self,
        layout: SubclipLayout,
        canvas: PaddedCanvas,
        count: int,
        generator: Generators,
        latents: Tensor | None,
    ) -> Tensor:
        """(count, latents, C, h, w) float32: the caller's, or a draw."""
        if isinstance(generator, list) and len(generator) != count:
            raise ValueError(
                f"{len(generator)} generators for {count} videos: give one, or one a video"
            )
        (width, height), channels = canvas.inner, self.transformer.config.in_channels
        shape = (count, layout.latents, channels, height // self._space, width // self._space)
        device = self._execution_device
        if latents is None:
            return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}, this call needs {shape}")
        return latents.to(device, torch.float32)

    def _encoder(self) -> PromptEncoder:
        return PromptEncoder(
            self.tokenizer,
            self.text_encoder,
            self.transformer.config.max_text_seq_length,
            self.transformer.config.text_embed_dim,
            self._execution_device,
        )

    def _table(self, layout: SubclipLayout, canvas: PaddedCanvas, text: Tensor) -> Tensor:
        step = self._space * self.transformer.config.patch_size
        tokens = self.transformer.config.max_text_seq_length
        rows, columns = canvas.inner[1] // step, canvas.inner[0] // step
        grid = TokenGrid(text.shape[1] // tokens, tokens, layout.latents, rows, columns)
        return token_table(self.transformer, self.layer_embedding, grid, self._execution_device)
