"""Text encoder, UNet, scheduler and autoencoder of Text2Layer together, by diffusers' conventions:
`from_pretrained`, `save_pretrained`, a `generator`, a callback, any diffusers scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multiplane.core.config import from_table, to_table
from multiplane.io.atomic import replacing
from multiplane.models.latent_unet import sample_latents, starting_noise
from multiplane.models.layer_codecs import LayerCodec, load_layer_codec
from multiplane.models.text_encoder import TOKENIZER, WEIGHTS, TextEncoder, copy_files
from multiplane.models.weights_io import CONFIG

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

INDEX = "model_index.json"
PARTS = ("unet", "autoencoder", "scheduler", "text_encoder")
Planes = dict[str, Tensor]
StepCallback = Callable[[int, int, Planes], None]


@dataclass(frozen=True)
class Text2LayerDefaults:
    """What is stored with the weights. steps, guidance: used where a call names none; the paper's
    are 50 and 7.5. size: pixels a side of what it was trained on."""

    version: str = "0"
    steps: int = 50
    guidance: float = 7.5
    size: int = 64


@dataclass
class Text2LayerPipeline:
    """The parts and their defaults. scheduler: any of diffusers' for a noise-predicting model; set
    another one before a call. Networks may lie on any device; noise comes from the CPU and planes
    go there."""

    unet: UNet2DConditionModel
    codec: LayerCodec
    text_encoder: TextEncoder
    scheduler: Any
    defaults: Text2LayerDefaults = field(default_factory=Text2LayerDefaults)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Text2LayerPipeline:
        """Load a folder written by `save_pretrained`. Raises FileNotFoundError for a missing file,
        ValueError for one that does not fit."""
        from diffusers import schedulers
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        folder = Path(folder)
        index = folder / INDEX
        for path in (index, *(folder / part for part in PARTS)):
            if not path.exists():
                raise FileNotFoundError(
                    f"{folder} holds no {path.name}: give a folder that Text2Layer's recipe or "
                    "save_pretrained wrote"
                )
        table = json.loads(index.read_text(encoding="utf-8"))
        name = table.get("scheduler", ["", ""])[1]
        scheduler = getattr(schedulers, name, None)
        if scheduler is None:
            raise ValueError(f"{index} names the scheduler {name!r}, which diffusers does not have")
        unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
        codec = load_layer_codec(str(table.get("latents")), folder / "autoencoder")
        if unet.config["in_channels"] != codec.latent_channels:
            raise ValueError(
                f"{folder}: the UNet reads {unet.config['in_channels']} channels, the {codec.form} "
                f"latent has {codec.latent_channels}: unet and autoencoder are not of one model"
            )
        return cls(
            unet,
            codec,
            TextEncoder.from_pretrained(folder / "text_encoder"),
            scheduler.from_pretrained(folder / "scheduler"),
            from_table(Text2LayerDefaults, table.get("defaults", {}), str(index)),
        )

    def save_pretrained(self, folder: str | Path, text_encoder: Path) -> None:
        """Write the diffusers-style folder. text_encoder: the quantised text encoder's folder,
        copied byte for byte."""
        folder = Path(folder)
        self.unet.save_pretrained(folder / "unet")
        self.codec.save(folder / "autoencoder")
        self.scheduler.save_pretrained(folder / "scheduler")
        copy_files(text_encoder, folder / "text_encoder", (CONFIG, TOKENIZER, WEIGHTS))
        index = {
            "_class_name": type(self).__name__,
            "text_encoder": ["multiplane", "TextEncoder"],
            "autoencoder": ["multiplane", type(self.codec.network()).__name__],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "scheduler": ["diffusers", type(self.scheduler).__name__],
            "latents": self.codec.form,
            "defaults": to_table(self.defaults),
        }
        with replacing(folder / INDEX) as partial:
            partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def to(self, device: torch.device | str) -> Text2LayerPipeline:
        """Move the networks; `self`."""
        device = torch.device(device)
        self.unet.to(device)  # pyright: ignore[reportArgumentType]
        self.codec.network().to(device)
        self.text_encoder.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @torch.no_grad()
    def __call__(
        self,
        prompts: str | Sequence[str],
        generator: torch.Generator | Sequence[torch.Generator],
        steps: int | None = None,
        guidance: float | None = None,
        size: tuple[int, int] | None = None,
        callback: StepCallback | None = None,
    ) -> Planes:
        """Plane name -> (B, 4, H, W) premultiplied in [0, 1] on CPU, one picture a prompt.

        generator: on CPU; one for each prompt makes each picture independent of the others. size:
        (width, height), multiples of the autoencoder's factor times two for each level of the
        UNet. callback gets (step, steps, planes as they stand). Raises ValueError for a size or a
        number of generators that does not fit."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if isinstance(generator, torch.Generator):
            # one generator for many: its draws in order, as if the pictures were made one by one
            generators = [generator] * len(prompts)
        else:
            generators = list(generator)
        if len(generators) != len(prompts):
            raise ValueError(
                f"{len(prompts)} prompts need as many generators, got {len(generators)}"
            )
        states, _ = self.text_encoder(prompts)
        noise = starting_noise(self._latent_shape(size), generators)

        def on_step(step: int, total: int, latents: Tensor) -> None:
            if callback is not None:
                callback(step, total, self._decoded(latents))

        latents = sample_latents(
            self.unet,
            self.scheduler,
            states.to(self.device),
            noise,
            generators,
            self.defaults.steps if steps is None else steps,
            self.defaults.guidance if guidance is None else guidance,
            on_step,
        )
        return self._decoded(latents)

    def _decoded(self, latents: Tensor) -> Planes:
        return {name: plane.cpu() for name, plane in self.codec.planes(latents).items()}

    def _latent_shape(self, size: tuple[int, int] | None) -> tuple[int, int, int]:
        width, height = size or (self.defaults.size, self.defaults.size)
        cell = self.codec.factor * 2 ** (len(self.unet.config["block_out_channels"]) - 1)
        if min(width, height) < cell or width % cell or height % cell:
            raise ValueError(f"the sides must be multiples of {cell}, got {width} x {height}")
        return self.codec.latent_channels, height // self.codec.factor, width // self.codec.factor
