"""One mode, from its given pictures to what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from multiplane.pipelines.layerdiffuse.codec import PlaneCodec, pasted
from multiplane.pipelines.layerdiffuse.control import ControlGuide, nets_in
from multiplane.pipelines.layerdiffuse.denoise import Denoising
from multiplane.pipelines.layerdiffuse.modes import Mode
from multiplane.pipelines.layerdiffuse.noise import Kept, begin, draw, generators_for, times
from multiplane.pipelines.layerdiffuse.output import MadePictures
from multiplane.pipelines.layerdiffuse.pictures import PaddedCanvas, fit_size, shown_to_model
from multiplane.pipelines.layerdiffuse.predict import NoisePredictor
from multiplane.pipelines.layerdiffuse.settings import PICTURE_STRENGTH, Settings
from multiplane.pipelines.layerdiffuse.text import Branch, interleaved, prompts_of

if TYPE_CHECKING:
    from multiplane.pipelines.layerdiffuse.pipeline import LayeredPipeline

BY_STREAM = "f b c h w -> (b f) c h w"  # the stream index runs fastest


@dataclass(frozen=True)
class Source:
    """What a made plane starts from. rgba: (count, 4, H, W). keep: (count, 1, H, W), 1 where the
    picture stays as it is, or None."""

    rgba: Tensor
    keep: Tensor | None = None


@dataclass(frozen=True)
class Inputs:
    """Pictures of a call by plane, (count, 4, H, W) each. given: conditions, of any size. sources:
    what made planes start from, of the canvas's size. control: for each steered plane one picture a
    ControlNet, of any size."""

    given: Mapping[str, Tensor] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    control: Mapping[str, list[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What the given pictures become. concat: latents (1 or count, C, h, w) that follow the noisy
    ones. announce: as `NoisePredictor` has it."""

    concat: Tensor | None = None
    announce: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Start:
    """Where a pass begins. clean: scaled latents (count * streams, C, h, w), None for noise alone.
    mask: (count * streams, 1, h, w), 1 where `clean` stays. strength: 0..1."""

    clean: Tensor | None = None
    mask: Tensor | None = None
    strength: float = 1.0


@dataclass(frozen=True)
class ModeRun:
    """A mode on one canvas. scheduler: the one it samples with."""

    pipeline: LayeredPipeline
    mode: Mode
    settings: Settings
    canvas: PaddedCanvas
    inputs: Inputs
    scheduler: Any

    def make(self, decode: bool = True) -> MadePictures:
        """Everything this mode makes, its second pass included. decode: False for latents alone."""
        hires, settings = self.settings.hires, self.settings
        latents = self._pass(self._start())
        run = self
        if hires is not None:
            size = PaddedCanvas.of(*hires.target((self.canvas.width, self.canvas.height)))
            steps = hires.steps or settings.num_inference_steps
            again = replace(settings, num_inference_steps=steps, latents=None)
            run = replace(self, canvas=size, settings=again)
            latents = run._pass(Start(run._enlarged(latents, self), strength=hires.strength))
        made = run._codec.decode(self.mode, latents, settings.decode, decode)
        for name, rgba in made.rgba.items():
            source = self.inputs.sources.get(name)
            if source is not None and source.keep is not None:
                made.rgba[name] = pasted(rgba, source.rgba, source.keep)
        return made

    @property
    def _codec(self) -> PlaneCodec:
        return PlaneCodec(self.pipeline, self.canvas)

    @property
    def _size(self) -> tuple[int, int]:
        return self.canvas.width, self.canvas.height

    def _pass(self, start: Start) -> Tensor:
        """Denoise once: scaled latents (count * streams, C, h, w)."""
        pipeline, settings = self.pipeline, self.settings
        pipeline.attach_mode(self.mode)
        device = pipeline._execution_device
        streams = len(self.mode.streams)
        generator = generators_for(settings.generator, settings.count, streams)
        noise = self._noise(generator, (settings.count * streams, *self._codec.latent_shape))
        predictor = self._predictor()
        clean = None if start.clean is None else start.clean.to(noise)
        run = times(
            self.scheduler,
            settings.num_inference_steps,
            start.strength,
            device,
            settings.timesteps,
            settings.sigmas,
        )
        kept = None
        if clean is not None and start.mask is not None:
            kept = Kept(clean, noise, start.mask.to(device))
        denoise = Denoising(
            pipeline, self.mode, settings, self.scheduler, predictor, run, generator, kept
        )
        return denoise(begin(self.scheduler, run, noise, clean))

    def _noise(self, generator: Any, shape: tuple[int, ...]) -> Tensor:
        """The caller's latents, or a draw. Raises ValueError for latents of another shape."""
        like = torch.empty(
            0, device=self.pipeline._execution_device, dtype=self.pipeline.unet.dtype
        )
        own = self.settings.latents
        if own is None:
            return draw(shape, generator, like)
        if tuple(own.shape) != shape:
            raise ValueError(f"latents have shape {tuple(own.shape)}, this call needs {shape}")
        return own.to(like)

    def _start(self) -> Start:
        """From the sources. Raises ValueError when every plane starts from a picture and one has
        none."""
        sources = {n: s for n, s in self.inputs.sources.items() if n in self.mode.streams}
        masked = any(source.keep is not None for source in sources.values())
        strength = self.settings.strength
        if strength is None:
            strength = PICTURE_STRENGTH if sources and not masked else 1.0
        missing = [name for name in self.mode.streams if name not in sources]
        if missing and strength < 1.0:
            raise ValueError(
                f"strength {strength} starts every plane this mode makes from a picture, and "
                f"{', '.join(missing)} has none: give image={{...}} for it, or strength 1"
            )
        if not sources or (strength == 1.0 and not masked):
            return Start()
        codec, count = self._codec, self.settings.count
        channels, height, width = codec.latent_shape
        planes, masks = [], []
        for name in self.mode.streams:
            source = sources.get(name)
            mask, plane = torch.zeros(count, 1, height, width), None
            if source is not None:
                plane = codec.encode(name, source.rgba, self.settings.use_offset)
                mask = mask if source.keep is None else codec.latent_mask(source.keep)
            planes.append(torch.zeros(count, channels, height, width) if plane is None else plane)
            masks.append(mask)
        device = self.pipeline._execution_device
        clean = rearrange([plane.to(device) for plane in planes], BY_STREAM)
        return Start(clean, rearrange(masks, BY_STREAM) if masked else None, strength)

    def _enlarged(self, latents: Tensor, first: ModeRun) -> Tensor:
        """The result of the first pass as scaled latents of this canvas, alpha kept."""
        hires, codec = self.settings.hires, self._codec
        if hires is not None and hires.upscale == "latent":
            size = codec.latent_shape[1:]
            return F.interpolate(latents.float(), size, mode="bicubic", align_corners=False)
        made = first._codec.decode(self.mode, latents, self.settings.decode)
        streams = [
            codec.encode(name, fit_size(made.rgba[name], self._size), self.settings.use_offset)
            for name in self.mode.streams
        ]
        return rearrange(streams, BY_STREAM)

    def _predictor(self) -> NoisePredictor:
        pipeline, settings = self.pipeline, self.settings
        given = [
            shown_to_model(self.inputs.given[name], self._size) for name in self.mode.conditions
        ]
        conditions = pipeline._conditions(self.mode, given, self._codec)
        concat = conditions.concat
        if concat is not None:
            concat = concat.expand(settings.count, -1, -1, -1)
        return NoisePredictor(
            pipeline.unet,
            self.scheduler,
            self._branches(),
            settings.guidance,
            concat,
            self._control(),
            conditions.announce,
            pipeline._guidance_embedding(settings.count * len(self.mode.streams)),
            settings.cross_attention_kwargs,
        )

    def _branches(self) -> list[Branch]:
        """[with the prompt] or [without, with], the stream index fastest."""
        settings, streams = self.settings, self.mode.streams
        encoded = []
        for name in streams:
            prompts = prompts_of(
                name,
                settings.prompt,
                settings.plane_prompts,
                settings.join_prompts,
                settings.batch,
                settings.text.get("prompt_embeds") is not None,
            )
            own = name in settings.plane_prompts
            encoded.append(self.pipeline._encode_texts(prompts, settings, self.canvas, own))
        lengths = {branch.embeds.shape[1] for branches in encoded for branch in branches}
        filler = self.pipeline._empty_text(settings, self.canvas) if len(lengths) > 1 else None
        branches = [interleaved(parts, filler) for parts in zip(*encoded, strict=True)]
        embeds = self.pipeline._image_prompt(settings, settings.count * len(streams))
        if embeds is None:
            return branches
        halves = [one.chunk(len(branches)) for one in embeds]
        return [
            branch.with_added(image_embeds=[half[index] for half in halves])
            for index, branch in enumerate(branches)
        ]

    def _control(self) -> ControlGuide | None:
        steered = {n: p for n, p in self.inputs.control.items() if n in self.mode.streams}
        net = getattr(self.pipeline, "controlnet", None)
        if net is None or not steered:
            return None
        nets, count = nets_in(net), self.settings.count
        width, height = self.canvas.inner
        like = torch.empty(
            0, device=self.pipeline._execution_device, dtype=self.pipeline.unet.dtype
        )
        images = []
        for index in range(nets):
            own = [torch.zeros(count, 3, height, width) for _ in self.mode.streams]
            for place, name in enumerate(self.mode.streams):
                if name in steered:
                    fitted = fit_size(steered[name][index], self._size)
                    own[place] = self.canvas.inward(fitted)[:, :3]
            images.append(rearrange(own, BY_STREAM).to(like))
        mask = torch.tensor([float(name in steered) for name in self.mode.streams]).repeat(count)
        return ControlGuide(net, images, mask.to(like), self.settings.control.per_net(nets))
