"""Attention sharing over a whole UNet: LayerDiffuse's SD1.5 files as one diffusers model.

The units belong to no UNet. `with sharing.on(unet):` puts a processor into each of its attentions
for as long as the block runs; whatever was there (IP-Adapter and the other usual processors) goes
on working inside, with each stream's own projections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    FusedAttnProcessor2_0,
    IPAdapterAttnProcessor,
    IPAdapterAttnProcessor2_0,
    IPAdapterXFormersAttnProcessor,
    SlicedAttnProcessor,
    XFormersAttnProcessor,
)
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from multiplane.models.attention_sharing import (
    NOTHING,
    Attend,
    Project,
    Projections,
    SharedAttention,
    SharingConditions,
    UnitConfig,
)
from multiplane.models.control_signal import ControlSignalEncoder
from multiplane.models.unet_keys import sharing_order

_PLAIN = (AttnProcessor, AttnProcessor2_0, FusedAttnProcessor2_0)
_COMPOSED = (
    *(SlicedAttnProcessor, XFormersAttnProcessor, IPAdapterAttnProcessor),
    *(IPAdapterAttnProcessor2_0, IPAdapterXFormersAttnProcessor),
)


class AttentionSharing(ModelMixin, ConfigMixin):
    """The units of a UNet's attentions in LayerDiffuse's order, and the control-signal encoder of
    the conditional models.

    frames: streams (joint 3: foreground, background, blend; fg -> bg 2: background, blend; bg -> fg
    2: foreground, blend). widths: channels of each attention. context: width of the text states.
    control: whether the units read a control signal. One a UNet at a time; while it is on,
    `conditions` says what every unit is told."""

    @register_to_config
    def __init__(
        self,
        widths: Sequence[int],
        context: int = 768,
        frames: int = 1,
        rank: int = 256,
        control: bool = False,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.layers = nn.ModuleList(
            SharedAttention(
                UnitConfig(width, context if index % 2 else None, frames, rank, control)
            )
            for index, width in enumerate(widths)
        )
        self.control_encoder = ControlSignalEncoder() if control else None
        self.conditions = NOTHING

    @classmethod
    def for_unet(
        cls, unet: nn.Module, frames: int, rank: int = 256, control: bool = False
    ) -> AttentionSharing:
        """Untrained units that fit `unet` and change nothing yet. Raises ValueError."""
        attentions = shared_attentions(unet)
        context = attentions[1].cross_attention_dim if len(attentions) > 1 else 0
        widths = [attention.query_dim for attention in attentions]
        return cls(widths, context, frames, rank, control)

    @classmethod
    def from_published(cls, tensors: Mapping[str, Tensor]) -> AttentionSharing:
        """The units of a published file (`hookers.layers.*`), their number, widths, streams, rank
        and control read from its shapes. Raises ValueError for a tensor too many or too few."""
        state = from_published_keys(tensors)
        pattern = re.compile(r"layers\.(\d+)\.to_([qk])_lora\.(\d+)\.down\.weight")
        downs = {
            (int(found[1]), found[2], int(found[3])): tensors_of.shape
            for key, tensors_of in state.items()
            if (found := pattern.fullmatch(key))
        }
        if (0, "q", 0) not in downs or (1, "k", 0) not in downs:
            raise ValueError("no attention-sharing file: it lacks hookers.layers.0 or .1")
        count = 1 + max(layer for layer, _, _ in downs)
        frames = 1 + max(stream for _, _, stream in downs)
        missing = [layer for layer in range(count) if (layer, "q", 0) not in downs]
        if missing:
            raise ValueError(f"the file is not whole: hookers.layers.{missing[0]} is missing")
        with torch.device("meta"):
            sharing = cls(
                widths=[downs[layer, "q", 0][1] for layer in range(count)],
                context=downs[1, "k", 0][1],
                frames=frames,
                rank=downs[0, "q", 0][0],
                control=any(".control_convs." in key for key in state),
            )
        try:
            sharing.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ValueError(f"this attention-sharing file does not fit itself: {error}") from error
        return sharing.eval().requires_grad_(False)

    def published_state(self) -> dict[str, Tensor]:
        """The tensors under their published names, as `from_published` reads them."""
        return to_published_keys(self.state_dict())

    @property
    def signals_needed(self) -> bool:
        """Whether sampling takes a condition picture."""
        return self.control_encoder is not None

    @torch.no_grad()
    def encode_condition(self, image: Tensor) -> dict[int, Tensor]:
        """The control signals of a condition picture (1, 3, H, W) in [-1, 1]; once a picture.
        Raises ValueError when this model takes none, or for its size."""
        if self.control_encoder is None:
            raise ValueError("these weights take no condition picture: use the fg2bg or bg2fg file")
        first = next(self.control_encoder.parameters())
        return self.control_encoder(image.to(first))

    @contextmanager
    def on(self, unet: nn.Module, conditions: SharingConditions = NOTHING) -> Iterator[None]:
        """Share attention in `unet` while the block runs; afterwards it is as it was."""
        self.install(unet)
        self.conditions = conditions
        try:
            yield
        finally:
            self.conditions = NOTHING
            self.uninstall(unet)
            self.release()

    def install(self, unet: nn.Module) -> None:
        """Put a processor around each attention's own. Raises ValueError, before anything has
        changed, when the UNet has other attentions or a processor that cannot work inside."""
        attentions = shared_attentions(unet)
        widths = [attention.query_dim for attention in attentions]
        context = attentions[1].cross_attention_dim if len(attentions) > 1 else 0
        mine = [layer.config.channels for layer in self.units()]
        if widths != mine or context != self.config["context"]:
            raise ValueError(
                f"these attention-sharing weights are for a UNet with {len(mine)} attentions "
                f"{_brief(mine)} wide and text width {self.config['context']}; the UNet given has "
                f"{len(widths)}, {_brief(widths)} wide, text width {context}: use the base model "
                "they were made for (the published files: Stable Diffusion 1.5)"
            )
        for attention in attentions:
            _check_processor(attention.processor)
        for unit, attention in zip(self.units(), attentions, strict=True):
            attention.set_processor(SharingProcessor(unit, self, attention.processor))  # pyright: ignore[reportArgumentType]

    def uninstall(self, unet: nn.Module) -> None:
        """Put back the processors that were there. Attentions whose processor was replaced since
        keep the new one."""
        for attention in shared_attentions(unet):
            processor = attention.processor
            if isinstance(processor, SharingProcessor) and processor.sharing is self:
                attention.set_processor(processor.inner)

    def is_on(self, unet: nn.Module) -> bool:
        """Whether every attention of `unet` still has its unit: loading an IP-Adapter or switching
        slicing on replaces all processors."""
        return all(
            isinstance(attention.processor, SharingProcessor)
            and attention.processor.sharing is self
            for attention in shared_attentions(unet)
        )

    def units(self) -> list[SharedAttention]:
        return [unit for unit in self.layers if isinstance(unit, SharedAttention)]

    def release(self) -> None:
        """Drop merged weights and kept text and control: as large again as the streams' share of
        the UNet's attention weights. They are made anew when needed."""
        for unit in self.units():
            unit.release()


class SharingProcessor(nn.Module):
    """A diffusers attention processor: one unit around the attention's own processor.

    The unit is not registered here: moving or saving the UNet leaves it alone."""

    def __init__(self, unit: SharedAttention, sharing: AttentionSharing, inner: Any) -> None:
        super().__init__()
        self.inner = inner  # registered when it is a module, so that it follows the UNet's device
        self._unit = (unit,)
        self._sharing = (sharing,)

    @property
    def sharing(self) -> AttentionSharing:
        return self._sharing[0]

    def __call__(  # named arguments: diffusers hands over only what a processor names
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Tensor | None = None,
        ip_adapter_masks: Any = None,
    ) -> Tensor:
        """hidden_states (B, N, C); encoder_hidden_states the text states, or (text states, image
        states) beside an IP-Adapter. Returns the unit's part, to be added by the block."""
        text, images = encoder_hidden_states, None
        if isinstance(text, tuple):
            text, images = text
        attend = None
        if attention_mask is not None or not isinstance(self.inner, _PLAIN):
            extra = {} if ip_adapter_masks is None else {"ip_adapter_masks": ip_adapter_masks}
            attend = self._with_inner(attn, images, attention_mask, extra)
        attention = Projections(attn.to_q, attn.to_k, attn.to_v, attn.to_out[0], attn.heads)  # pyright: ignore[reportArgumentType, reportOptionalSubscript]
        conditions = self.sharing.conditions
        return self._unit[0](hidden_states, text, attention, conditions, attend)

    def _with_inner(self, attn: Attention, images: Any, mask: Tensor | None, extra: Any) -> Attend:
        """The inner processor, on an attention whose projections are each stream's own."""

        def attend(project: Project, hidden: Tensor, text: Tensor | None) -> Tensor:
            seen = text if images is None else (text, images)
            streams: Any = _StreamsOf(attn, project)
            return self.inner(
                streams, hidden, encoder_hidden_states=seen, attention_mask=mask, **extra
            )

        return attend


class _StreamsOf:
    """An attention as its processors see it, with other projections."""

    def __init__(self, attention: Attention, project: Project) -> None:
        self._attention = attention
        self.to_q, self.to_k, self.to_v = (_Call(project, f"to_{name}") for name in "qkv")
        self.to_out = [_Call(project, "to_out"), attention.to_out[1]]  # pyright: ignore[reportOptionalSubscript]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attention, name)


class _Call:
    def __init__(self, project: Project, name: str) -> None:
        self._project, self._name = project, name

    def __call__(self, x: Tensor, *_: Any) -> Tensor:
        return self._project(self._name, x)


def shared_attentions(unet: nn.Module) -> list[Attention]:
    """The attentions of a Stable Diffusion UNet in LayerDiffuse's order, self attention and cross
    attention by turns. Raises ValueError for a UNet that is built otherwise."""
    found = {name: each for name, each in unet.named_modules() if isinstance(each, Attention)}
    names = sharing_order(found)
    for one, other in pairwise(names):
        if one.endswith("attn1") != other.endswith("attn2"):
            raise ValueError(f"{one} and {other}: self and cross attention must take turns")
    return [found[name] for name in names]


def _check_processor(processor: Any) -> None:
    if isinstance(processor, SharingProcessor):
        raise ValueError(
            "attention sharing is already on in this UNet: leave its block or uninstall it first"
        )
    if not isinstance(processor, (*_PLAIN, *_COMPOSED)):
        raise ValueError(
            f"attention sharing cannot work around {type(processor).__name__}, which projects in "
            "its own way: take it out with unet.set_default_attn_processor()"
        )


def _brief(widths: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(widths)))) or "none"


def from_published_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`hookers.layers.I.*`, `kwargs_encoder.*` -> `layers.I.*`, `control_encoder.*`."""
    names = (("hookers.layers.", "layers."), ("kwargs_encoder.", "control_encoder."))
    return _renamed(tensors, names)


def to_published_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published_keys`."""
    names = (("layers.", "hookers.layers."), ("control_encoder.", "kwargs_encoder."))
    return _renamed(tensors, names)


def _renamed(tensors: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in tensors.items():
        for before, after in names:
            if key.startswith(before):
                key = after + key[len(before) :]
                break
        renamed[key] = tensor
    return renamed
