"""LayerDiffuse on SDXL: one plane a run, what is given joined to the noisy latents."""

# No postponed annotations here: diffusers reads the types of `__init__` when it loads a folder.

from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.pipelines.layerdiffuse.codec import PlaneCodec
from multiplane.pipelines.layerdiffuse.modes import SDXL_WORKFLOWS, Mode
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas
from multiplane.pipelines.layerdiffuse.pipeline import CALLBACK_TENSORS, LayeredPipeline
from multiplane.pipelines.layerdiffuse.run import Conditions
from multiplane.pipelines.layerdiffuse.settings import Settings
from multiplane.pipelines.layerdiffuse.text import Branch

_SIZES = ("original_size", "crops_coords_top_left", "target_size")


class LayerDiffuseXLPipeline(LayeredPipeline, StableDiffusionXLPipeline):
    """Modes: transparent (foreground); fg2blend, bg2blend (composite for what is given);
    fgblend2bg, bgblend2fg (what is missing of a scene); fg2bg and bg2fg, both steps in one call.

    The components are those of `StableDiffusionXLPipeline` and, all optional, a ControlNet and the
    two networks of latent transparency. No watermark is put into pictures: it would eat the alpha.
    """

    workflows = SDXL_WORKFLOWS
    text_arguments = frozenset(
        {
            *("prompt_2", "negative_prompt_2", "prompt_embeds", "negative_prompt_embeds"),
            *("pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
            *(f"{sign}{name}" for sign in ("", "negative_") for name in _SIZES),
        }
    )
    model_cpu_offload_seq = (
        "text_encoder->text_encoder_2->image_encoder->transparency_encoder->unet->vae"
        "->transparency_decoder"
    )
    _optional_components: ClassVar[list[str]] = [
        *StableDiffusionXLPipeline._optional_components,
        "controlnet",
        "transparency_encoder",
        "transparency_decoder",
    ]
    _callback_tensor_inputs: ClassVar[list[str]] = list(CALLBACK_TENSORS)

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: KarrasDiffusionSchedulers,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        controlnet: ControlNetModel | MultiControlNetModel | None = None,
        transparency_encoder: OffsetEncoder | None = None,
        transparency_decoder: TransparencyDecoder | None = None,
        force_zeros_for_empty_prompt: bool = True,
    ) -> None:
        super().__init__(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
            image_encoder=image_encoder,  # pyright: ignore[reportArgumentType]
            feature_extractor=feature_extractor,  # pyright: ignore[reportArgumentType]
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
        self._register(controlnet, transparency_encoder, transparency_decoder)

    def _encode_texts(
        self, prompts: list[str] | None, settings: Settings, canvas: PaddedCanvas, own: bool
    ) -> list[Branch]:
        text, guided = settings.text, self.do_classifier_free_guidance
        given = prompts is None
        states: Any = self.encode_prompt(
            prompts,  # pyright: ignore[reportArgumentType]
            None if own else text.get("prompt_2"),
            self._execution_device,
            settings.num_images_per_prompt,
            guided,
            negative_prompt=settings.negative_list,  # pyright: ignore[reportArgumentType]
            negative_prompt_2=text.get("negative_prompt_2"),
            prompt_embeds=text.get("prompt_embeds") if given else None,
            negative_prompt_embeds=text.get("negative_prompt_embeds"),
            pooled_prompt_embeds=text.get("pooled_prompt_embeds") if given else None,
            negative_pooled_prompt_embeds=text.get("negative_pooled_prompt_embeds"),
            lora_scale=(settings.cross_attention_kwargs or {}).get("scale"),
            clip_skip=settings.clip_skip,
        )
        positive, negative, pooled, negative_pooled = states
        branch = self._with_sizes(positive, pooled, settings, canvas, "")
        if not guided:
            return [branch]
        sign = "negative_" if text.get("negative_target_size") is not None else ""
        return [self._with_sizes(negative, negative_pooled, settings, canvas, sign), branch]

    def _with_sizes(
        self, embeds: Tensor, pooled: Tensor, settings: Settings, canvas: PaddedCanvas, sign: str
    ) -> Branch:
        """Text states with SDXL's micro-conditioning: by default the size the model works at."""
        width, height = canvas.inner
        defaults = dict(zip(_SIZES, ((height, width), (0, 0), (height, width)), strict=True))
        sizes = [settings.text.get(sign + name) or defaults[name] for name in _SIZES]
        ids = self._get_add_time_ids(
            *sizes, dtype=embeds.dtype, text_encoder_projection_dim=pooled.shape[-1]
        )
        ids = ids.to(embeds.device).repeat(len(embeds), 1)
        return Branch(embeds, {"text_embeds": pooled, "time_ids": ids})

    def _conditions(self, mode: Mode, given: list[Tensor], codec: PlaneCodec) -> Conditions:
        """Latents of the given planes in the order of the mode, behind the noisy ones."""
        if not given:
            return Conditions()
        latents = torch.broadcast_tensors(*(codec.condition(plane) for plane in given))
        return Conditions(concat=torch.cat(latents, dim=1).to(self.unet.dtype))
