"""LayerDiffuse on Stable Diffusion 1.5: planes denoised side by side, sharing attention."""

# No postponed annotations here: diffusers reads the types of `__init__` when it loads a folder.

from typing import Any, ClassVar

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
    StableDiffusionPipeline,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.pipelines.layerdiffuse.codec import PlaneCodec
from multiplane.pipelines.layerdiffuse.mode_weights import SharingWeights
from multiplane.pipelines.layerdiffuse.modes import SD15_WORKFLOWS, Mode
from multiplane.pipelines.layerdiffuse.output import MadePictures
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas
from multiplane.pipelines.layerdiffuse.pipeline import CALLBACK_TENSORS, LayeredPipeline
from multiplane.pipelines.layerdiffuse.run import Conditions
from multiplane.pipelines.layerdiffuse.settings import Settings
from multiplane.pipelines.layerdiffuse.text import Branch


class LayerDiffusePipeline(LayeredPipeline, StableDiffusionPipeline):
    """Modes: transparent (foreground), joint (foreground, background, composite), fg2bg (background
    and composite for a given foreground), bg2fg (foreground and composite for a given background).

    The components are those of `StableDiffusionPipeline` and, all optional, a ControlNet and the
    two networks of latent transparency."""

    workflows = SD15_WORKFLOWS
    text_arguments = frozenset({"prompt_embeds", "negative_prompt_embeds"})
    model_cpu_offload_seq = (
        "text_encoder->image_encoder->transparency_encoder->unet->vae->transparency_decoder"
    )
    _optional_components: ClassVar[list[str]] = [
        *StableDiffusionPipeline._optional_components,
        "controlnet",
        "transparency_encoder",
        "transparency_decoder",
    ]
    _callback_tensor_inputs: ClassVar[list[str]] = list(CALLBACK_TENSORS)

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: KarrasDiffusionSchedulers,
        safety_checker: StableDiffusionSafetyChecker | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        controlnet: ControlNetModel | MultiControlNetModel | None = None,
        transparency_encoder: OffsetEncoder | None = None,
        transparency_decoder: TransparencyDecoder | None = None,
        requires_safety_checker: bool = False,
    ) -> None:
        super().__init__(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,  # pyright: ignore[reportArgumentType]
            feature_extractor=feature_extractor,  # pyright: ignore[reportArgumentType]
            image_encoder=image_encoder,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=requires_safety_checker,
        )
        self._register(controlnet, transparency_encoder, transparency_decoder)

    def _encode_texts(
        self, prompts: list[str] | None, settings: Settings, canvas: PaddedCanvas, own: bool
    ) -> list[Branch]:
        text = settings.text
        states: Any = self.encode_prompt(
            prompts,
            self._execution_device,
            settings.num_images_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt=settings.negative_list,
            prompt_embeds=None if prompts is not None else text["prompt_embeds"],
            negative_prompt_embeds=text.get("negative_prompt_embeds"),
            lora_scale=(settings.cross_attention_kwargs or {}).get("scale"),
            clip_skip=settings.clip_skip,
        )
        positive, negative = states
        if not self.do_classifier_free_guidance:
            return [Branch(positive)]
        return [Branch(negative), Branch(positive)]

    def _conditions(self, mode: Mode, given: list[Tensor], codec: PlaneCodec) -> Conditions:
        """The given plane as the control signal that every attention reads."""
        if not given:
            return Conditions()
        weights = self.mode_weights[mode.name]
        assert isinstance(weights, SharingWeights)
        images = codec.canvas.inward(given[0]).to(self._execution_device) * 2 - 1
        return Conditions(announce=weights.announcer(images))

    def _flagged(self, made: MadePictures) -> list[bool] | None:
        """Pictures of which any plane does not pass the safety checker, where there is one."""
        if self.safety_checker is None or not made.rgba:
            return None
        found: list[bool] = [False] * len(next(iter(made.rgba.values())))
        for name, rgba in made.rgba.items():
            flat = made.flat.get(name, rgba[:, :3]) * 2 - 1
            device = self._execution_device
            _, concepts = self.run_safety_checker(flat.to(device), device, self.unet.dtype)
            found = [one or bool(two) for one, two in zip(found, concepts or [], strict=True)]
        return found
