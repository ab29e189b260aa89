"""The weights a LayerDiffuse pipeline adds to its base: loaded, put on and taken off, saved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from typing_extensions import Self

from multiplane.io.atomic import replacing
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.transparent_decode import for_inference
from multiplane.models.transparent_vae import TransparentVAE
from multiplane.pipelines.layerdiffuse.mode_weights import (
    MergedWeights,
    ModeWeights,
    SharingWeights,
    move,
)
from multiplane.pipelines.layerdiffuse.modes import Mode, Workflow, modes_of, serves
from multiplane.pipelines.layerdiffuse.transparency_files import load_decoder, load_encoder
from multiplane.weights.layerdiffuse.deltas import UNetDeltas
from multiplane.weights.layerdiffuse.files import LoadedWeights, SharingTensors, load_weights

FOLDER = "layerdiffuse"  # beside the components of a saved pipeline, a folder a mode
INDEX = "modes.json"


class LayerWeights:
    """Mixed into a diffusers pipeline. mode_weights: what is loaded, by mode."""

    workflows: ClassVar[Mapping[str, Workflow]]
    mode_weights: dict[str, ModeWeights]
    unet: Any
    vae: Any
    controlnet: Any
    transparency_encoder: OffsetEncoder | None
    transparency_decoder: TransparencyDecoder | None
    _attached: str | None

    def _register(
        self, controlnet: Any, encoder: OffsetEncoder | None, decoder: TransparencyDecoder | None
    ) -> None:
        """The optional components. Raises ValueError for networks made for another VAE."""
        TransparentVAE(self.vae, encoder, decoder)
        self.register_modules(  # pyright: ignore[reportAttributeAccessIssue]
            controlnet=controlnet, transparency_encoder=encoder, transparency_decoder=decoder
        )
        self.mode_weights, self._attached = {}, None

    def load_mode(
        self, mode: str, source: str | Path | AttentionSharing, weight: float = 1.0
    ) -> None:
        """Load the weights of one mode; more than one may be loaded.

        source: a safetensors file, a folder with one, a published file's name
        (`layer_xl_transparent_attn`), `owner/repository/file` on the hub, or attention-sharing
        units. weight: 0..2, of an SDXL file's changes.
        Raises ValueError for a mode this base does not have or a file that does not fit it,
        FileNotFoundError when there is none."""
        known = modes_of(self.workflows)
        if mode not in known:
            raise ValueError(f"unknown mode {mode!r}: this base has weights for {', '.join(known)}")
        if isinstance(source, AttentionSharing):
            loaded: ModeWeights = SharingWeights(source)
        else:
            weights = load_weights(source)
            _check_published(mode, known, weights)
            loaded = self._weights_of(weights, weight)
        if isinstance(loaded, SharingWeights):
            _check_streams(known[mode], loaded.sharing)
        device = self._execution_device  # pyright: ignore[reportAttributeAccessIssue]
        loaded.attach(self.unet, device)  # whatever does not fit is said now
        try:
            _check_channels(known[mode], self.unet, loaded)
        finally:
            loaded.detach(self.unet)
        self.mode_weights[mode] = loaded

    def unload_mode(self, mode: str) -> None:
        """Forget the weights of a mode, and the memory they take."""
        if self._attached == mode:
            self.detach_mode()
        self.mode_weights.pop(mode).forget()

    def load_transparency(
        self,
        encoder: str | Path | OffsetEncoder | None = None,
        decoder: str | Path | TransparencyDecoder | None = None,
        convention: str | None = None,
    ) -> None:
        """Load the networks that hide alpha in latents (encoder; for starting from pictures) and
        read it back (decoder). Each: a network, a folder that training or `save_pretrained` wrote,
        or as `load_mode` names files.

        convention: how an encoder's file is used, where its name or folder does not say
        (`multiplane.models.transparent_vae.CONVENTIONS`: order, multiplier, what the VAE sees).
        Raises ValueError for ones made for another VAE, FileNotFoundError when there is none."""
        if isinstance(encoder, str | Path):
            encoder = load_encoder(encoder, convention)
        if isinstance(decoder, str | Path):
            decoder = load_decoder(decoder)
        TransparentVAE(self.vae, encoder, decoder)
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if network is not None:
                move(network, self.vae.device, self.unet.dtype)
                named = {f"transparency_{name}": network}
                self.register_modules(**named)  # pyright: ignore[reportAttributeAccessIssue]

    def use_fast_decoder(self, device: torch.device | str | None = None) -> None:
        """Decode transparency in float16 on an accelerator and in bfloat16 on a CPU that multiplies
        in it, in the quickest memory layout (`models.transparent_decode.for_inference`; what it
        costs: docs/latent_transparency.md). Without this call the decoder stays as loaded.

        device: where the pipeline will run, if it is not there yet. Before offloading is enabled;
        `load_transparency(decoder=...)` brings the exact one back, and saves as it was.
        Raises ValueError when no decoder is loaded, or it is offloaded already."""
        decoder = self.transparency_decoder
        if decoder is None:
            raise ValueError(
                "no transparency decoder is loaded: call load_transparency(decoder=...) first"
            )
        if hasattr(decoder, "_hf_hook"):
            raise ValueError(
                "the transparency decoder is offloaded already: call use_fast_decoder before "
                "offloading is enabled"
            )
        runs_on = None if device is None else torch.device(device)
        self.register_modules(  # pyright: ignore[reportAttributeAccessIssue]
            transparency_decoder=for_inference(decoder, device=runs_on)
        )

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """As diffusers. Raises ValueError for the CPU, where parts would have nowhere to go."""
        if device is not None and torch.device(device).type == "cpu":
            raise ValueError(
                "sequential offloading moves parts between memory and an accelerator, and the "
                "device is the CPU: leave it out, everything is in memory there"
            )
        base: Any = super()
        base.enable_sequential_cpu_offload(gpu_id, device)

    def _weights_of(self, loaded: LoadedWeights, weight: float) -> ModeWeights:
        if isinstance(loaded.content, UNetDeltas):
            return MergedWeights(loaded, weight)
        if isinstance(loaded.content, SharingTensors):
            return SharingWeights(AttentionSharing.from_published(loaded.content.tensors))
        raise ValueError(
            f"{loaded.name} is the transparency {loaded.content.part}: load it with "
            f"load_transparency({loaded.content.part}=...)"
        )

    @contextmanager
    def precise_vae(self) -> Iterator[TransparentVAE]:
        """The VAE with its transparency networks; a VAE that overflows in float16 (SDXL's own) is
        in float32 meanwhile."""
        vae = self.vae
        overflows = vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
        if overflows:
            vae.to(dtype=torch.float32)
        try:
            yield TransparentVAE(vae, self.transparency_encoder, self.transparency_decoder)
        finally:
            if overflows:
                vae.to(dtype=torch.float16)

    def attach_mode(self, mode: Mode) -> None:
        """Make the UNet that of `mode`, until `detach_mode`."""
        if self._attached == mode.name:
            return
        self.detach_mode()
        if not mode.adapted:
            return
        device = self._execution_device  # pyright: ignore[reportAttributeAccessIssue]
        self.mode_weights[mode.name].attach(self.unet, device)
        self._attached = mode.name

    def detach_mode(self) -> None:
        """Give the base its plain UNet back."""
        if self._attached is not None:
            self.mode_weights[self._attached].detach(self.unet)
            self._attached = None

    def fuse_lora(self, *arguments: Any, **options: Any) -> None:
        """As diffusers; what modes made of the UNet's weights before is made anew."""
        self._forget()
        super().fuse_lora(*arguments, **options)  # pyright: ignore[reportAttributeAccessIssue]

    def unfuse_lora(self, *arguments: Any, **options: Any) -> None:
        """As diffusers; what modes made of the UNet's weights before is made anew."""
        self._forget()
        super().unfuse_lora(*arguments, **options)  # pyright: ignore[reportAttributeAccessIssue]

    def _forget(self) -> None:
        self.detach_mode()
        for weights in self.mode_weights.values():
            weights.forget()

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any
    ) -> None:
        """As diffusers, with the transparency networks and every loaded mode's weights."""
        self.detach_mode()
        base: Any = super()
        base.save_pretrained(save_directory, *arguments, **options)
        folder = Path(save_directory) / FOLDER
        index = {}
        for mode, weights in self.mode_weights.items():
            weights.save(folder / mode)
            index[mode] = {"weight": getattr(weights, "weight", 1.0)}
        if index:
            with replacing(folder / INDEX) as partial:
                partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, **options: Any
    ) -> Self:
        """As diffusers; from a folder of `save_pretrained`, its modes too. From the hub, or a base
        model's own folder, modes and transparency networks are loaded afterwards."""
        base: Any = super()
        pipeline = base.from_pretrained(pretrained_model_name_or_path, **options)
        folder = Path(str(pretrained_model_name_or_path)) / FOLDER
        if (folder / INDEX).is_file():
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            for mode, how in index.items():
                pipeline.load_mode(mode, folder / mode, how["weight"])
        return pipeline


def _check_published(mode: str, known: Mapping[str, Mode], weights: LoadedWeights) -> None:
    """A published file under another mode's name: its shapes alone cannot tell (fg2ble, bg2ble)."""
    row = weights.published
    if row is None or not row.mode or serves(known[mode], row.mode):
        return
    right = ", ".join(repr(name) for name, each in known.items() if serves(each, row.mode))
    raise ValueError(
        f"{weights.name} is the published file of {right or 'another base'}, not of {mode!r}: load "
        "it as that, or load this mode's file"
    )


def _check_streams(mode: Mode, sharing: AttentionSharing) -> None:
    needed = (len(mode.streams), bool(mode.conditions))
    found = (sharing.frames, sharing.signals_needed)
    if found != needed:
        mine, theirs = (
            f"{streams} planes with{'' if given else 'out'} a given one"
            for streams, given in (needed, found)
        )
        raise ValueError(
            f"mode {mode.name!r} makes {mine}, these weights make {theirs}: load this mode's file"
        )


def _check_channels(mode: Mode, unet: Any, weights: ModeWeights) -> None:
    """Of the UNet with an SDXL mode's weights on it."""
    if not isinstance(weights, MergedWeights):
        return
    latent = unet.config.out_channels
    found, needed = unet.config.in_channels, latent * (1 + len(mode.conditions))
    if found != needed:
        raise ValueError(
            f"{weights.weights.name} makes the UNet take {found} channels and mode {mode.name!r} "
            f"gives it {needed}: load the file of that mode"
        )
