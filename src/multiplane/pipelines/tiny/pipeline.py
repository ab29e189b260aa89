"""The networks of `tiny` together, by diffusers' conventions: `from_pretrained`, `save_pretrained`,
a `generator`, a callback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from multiplane.core.config import to_table
from multiplane.io.atomic import replacing
from multiplane.models.codecs import load_codec
from multiplane.models.frame_attention import FrameLayers, FrameLayersConfig
from multiplane.models.layered_transformer import (
    LayeredTransformer,
    LayeredTransformerConfig,
    PlaneLayout,
)
from multiplane.models.patches import PixelPatches
from multiplane.models.planes import from_model, to_model
from multiplane.models.precision import preferred_dtype
from multiplane.models.rgba_autoencoder import RGBAAutoencoder
from multiplane.models.sampling import SAMPLERS, time_steps
from multiplane.models.text_encoder import TOKENIZER, WEIGHTS, TextEncoder, copy_files
from multiplane.models.weights_io import CONFIG, load_network, save_network
from multiplane.pipelines.tiny.defaults import OPAQUE, TinyDefaults, read_defaults
from multiplane.pipelines.tiny.state import KnownState, PlaneInput

INDEX = "model_index.json"
MOTION = "motion"  # the frame layers, which make clips, by this name and in this folder
FRAME_LAYERS = ["multiplane", "FrameLayers"]

StepCallback = Callable[[int, int, "Mapping[str, Tensor]"], None]


@dataclass
class TinyPipeline:
    """Text encoder, autoencoder and denoiser, with their sampling defaults. dtype: of the networks'
    arithmetic. Weights that make clips have a denoiser with frame layers, which stills pass by. The
    networks may lie on any device; planes and noise come from and go to the CPU."""

    denoiser: LayeredTransformer
    autoencoder: RGBAAutoencoder | PixelPatches
    text_encoder: TextEncoder
    defaults: TinyDefaults = field(default_factory=TinyDefaults)
    dtype: torch.dtype = torch.float32

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype | None = None) -> TinyPipeline:
        """Load a folder written by `save_pretrained`.

        dtype: torch.bfloat16 or torch.float32 for the networks' arithmetic; None takes bfloat16
        where the CPU has matrix instructions for it. Raises FileNotFoundError for a missing file,
        ValueError for one that does not fit."""
        folder = Path(folder)
        index = folder / INDEX
        if not index.is_file():
            raise FileNotFoundError(
                f"{folder} holds no {INDEX}: give a folder written by save_pretrained, or install "
                "multiplane with its embedded weights"
            )
        table = json.loads(index.read_text(encoding="utf-8"))
        defaults = read_defaults(table, index)
        denoiser = load_network(LayeredTransformer, LayeredTransformerConfig, folder / "denoiser")
        if MOTION in table:
            if table[MOTION] != FRAME_LAYERS:
                raise ValueError(
                    f"{index}: {MOTION!r} is {table[MOTION]}, not {FRAME_LAYERS} (versions 1.1 and "
                    "1.2 had an adapter, which is no longer read): take it out of that file; what "
                    "is left makes stills, and multiplane.recipes.tiny_motion trains frame layers "
                    "for it"
                )
            denoiser.add_frames(load_network(FrameLayers, FrameLayersConfig, folder / MOTION))
        return cls(
            denoiser,
            load_codec(folder / "autoencoder"),
            TextEncoder.from_pretrained(folder / "text_encoder", denoiser.config.text_tokens),
            defaults,
            dtype or preferred_dtype(),
        )

    def save_pretrained(self, folder: str | Path, text_encoder: Path) -> None:
        """Write the diffusers-style folder, networks in float16, the frame layers in a folder of
        their own. text_encoder: folder of the quantised text encoder, copied byte for byte."""
        folder = Path(folder)
        half = torch.float16
        frames = self.denoiser.frames
        table = to_table(replace(self.denoiser.config, frame_layers=False))
        save_network(self.denoiser, folder / "denoiser", table, half, without="frames.")
        if frames is not None:
            save_network(frames, folder / MOTION, to_table(frames.config), half)
        save_network(
            self.autoencoder, folder / "autoencoder", to_table(self.autoencoder.config), half
        )
        copy_files(text_encoder, folder / "text_encoder", (CONFIG, TOKENIZER, WEIGHTS))
        index = {
            "_class_name": "TinyPipeline",
            "text_encoder": ["multiplane", "TextEncoder"],
            "autoencoder": ["multiplane", type(self.autoencoder).__name__],
            "denoiser": ["multiplane", "LayeredTransformer"],
            **({MOTION: FRAME_LAYERS} if frames is not None else {}),
            "defaults": to_table(self.defaults),
        }
        with replacing(folder / INDEX) as partial:
            partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    @property
    def device(self) -> torch.device:
        """Where the denoiser lies, and the autoencoder with it."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> TinyPipeline:
        """Move the networks; `self`."""
        device = torch.device(device)
        for network in (self.denoiser, self.autoencoder, self.text_encoder):
            network.to(device)
        return self

    @property
    def max_frames(self) -> int:
        """The most frames of a clip; 1 where it makes stills alone."""
        return 1 if self.denoiser.frames is None else self.defaults.max_frames

    @property
    def size(self) -> int:
        """Pixels a side of the planes it makes."""
        return self.denoiser.config.grid * self.autoencoder.config.factor

    def encode(self, planes: Tensor) -> Tensor:
        """(P, 4, S, S) premultiplied in [0, 1] -> (P, C, h, w) on the networks' device."""
        return self.autoencoder.encode(to_model(planes.to(self.device)))

    def decode(self, latents: Tensor) -> Tensor:
        """(P, C, h, w) -> (P, 4, S, S) premultiplied in [0, 1]; colour never above alpha."""
        with self._autocast():
            decoded = self.autoencoder.decode(latents)
        plane = from_model(decoded.float())
        return torch.cat([torch.minimum(plane[:, :3], plane[:, 3:]), plane[:, 3:]], dim=1)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.inference_mode()
    def __call__(
        self,
        planes: Mapping[str, PlaneInput],
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float | None = None,
        callback: StepCallback | None = None,
        frames: int = 1,
    ) -> dict[str, Tensor]:
        """Make the wanted planes.

        planes: role (of `models.layered_transformer.ROLES`) -> what is known of it. generator: on
        CPU. guidance: 1 is the plain prediction. Returns, for every wanted role, (4, S, S)
        premultiplied in [0, 1] on CPU, for several frames (F, 4, S, S); background and composite
        opaque. callback gets (step, steps, planes as they look from that step), (4, S, S) each:
        of a clip its middle frame, for decoding all takes a fifth of a step. Raises ValueError for
        an unknown role, pixels of another size, frames these weights do not make, or when nothing
        is wanted."""
        layout = PlaneLayout.of(planes, frames)
        inputs = [planes[role] for role in layout.roles]
        self._check(layout, inputs)
        state = KnownState.prepare(
            self.denoiser.config,
            inputs,
            self.encode,
            generator,
            self.device,
            frames,
            self.defaults.shared_noise,
        )
        steps = self.defaults.steps_for(frames) if steps is None else steps
        if guidance is None:
            known = any(one.pixels is not None for one in inputs)
            guidance = self.defaults.guidance_for(layout.roles, frames, known)
        predict = self._predictor(layout, inputs, state, guidance)
        times = time_steps(steps, state.start, self.defaults.shift)

        def on_step(step: int, total: int, x: Tensor) -> None:
            if callback is not None:
                middle = x[:, :, frames // 2 : frames // 2 + 1]
                callback(step, total, _first_frames(self._planes(middle, layout, inputs)))

        sampler = SAMPLERS[self.defaults.sampler]
        z = sampler(predict, state.settle(state.noise, times[0]), times, state.settle, on_step)
        made = self._planes(z, layout, inputs)
        return made if frames > 1 else _first_frames(made)

    def _check(self, layout: PlaneLayout, inputs: Sequence[PlaneInput]) -> None:
        if all(one.given for one in inputs):
            raise ValueError(f"nothing is wanted: all of {layout.roles} are given")
        if not 1 <= layout.frames <= self.max_frames:
            able = f"1 to {self.max_frames} frames" if self.max_frames > 1 else "stills, 1 frame"
            raise ValueError(f"these weights make {able}: {layout.frames} were asked")
        shape = (4, self.size, self.size)
        if layout.frames > 1:
            shape = (layout.frames, *shape)
        for role, one in zip(layout.roles, inputs, strict=True):
            if one.pixels is not None and one.pixels.shape != shape:
                raise ValueError(f"{role} must be {shape}, got {tuple(one.pixels.shape)}")

    def _planes(
        self, latents: Tensor, layout: PlaneLayout, inputs: Sequence[PlaneInput]
    ) -> dict[str, Tensor]:
        """The wanted planes in latents (1, P, F, C, h, w): role -> (F, 4, S, S) premultiplied in
        [0, 1] on CPU, background and composite opaque."""
        wanted = [index for index, one in enumerate(inputs) if not one.given]
        decoded = self.decode(latents[0, wanted].flatten(0, 1)).cpu()
        made = {}
        for index, plane in zip(wanted, decoded.unflatten(0, (len(wanted), -1)), strict=True):
            role = layout.roles[index]
            if role in OPAQUE:
                plane = torch.cat([plane[:, :3], torch.ones_like(plane[:, 3:])], dim=1)
            made[role] = plane
        return made

    def _predictor(
        self,
        layout: PlaneLayout,
        inputs: Sequence[PlaneInput],
        state: KnownState,
        guidance: float,
    ) -> Callable[[Tensor, float], Tensor]:
        """The clean planes seen from (z, t), with classifier-free guidance on text only: given
        planes stay in both branches."""
        text, has_text = (
            part[None].to(self.device) for part in self.text_encoder([one.prompt for one in inputs])
        )
        guided = guidance != 1.0 and bool(has_text.any())

        def run(z: Tensor, t: float, shown: Tensor) -> Tensor:
            count = shown.shape[0]
            with self._autocast():
                predicted = self.denoiser(
                    z.expand(count, *z.shape[1:]),
                    torch.full((count,), t, device=z.device),
                    text.expand(count, *text.shape[1:]),
                    shown,
                    state.given.expand(count, *state.given.shape[1:]),
                    layout,
                )
            return predicted.float()

        def predict(z: Tensor, t: float) -> Tensor:
            if not guided or t > self.defaults.guidance_until:
                return run(z, t, has_text)
            both = run(z, t, torch.cat([has_text, torch.zeros_like(has_text)]))
            with_text, without = both.chunk(2)
            return torch.lerp(without, with_text, guidance)

        return predict


def _first_frames(planes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {role: plane[0] for role, plane in planes.items()}
