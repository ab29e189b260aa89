"""What trains inside a frozen UNet, as a module of its own: only its tensors are averaged, saved
and shared among processes, and its forward is that of the whole UNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from multiplane.models.attention_sharing import SharingConditions
from multiplane.models.attention_sharing_unet import AttentionSharing


class SharedStreams(nn.Module):
    """Attention-sharing units, and their control-signal encoder, around the attentions of a UNet
    that does not train."""

    def __init__(self, sharing: AttentionSharing, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.sharing = sharing.requires_grad_(True)
        self._unet = (unet.requires_grad_(False),)  # a tuple, so that it is not registered
        sharing.install(unet)

    def forward(
        self, noisy: Tensor, times: Tensor, image: Tensor | None = None, **arguments: Any
    ) -> Any:
        """noisy: (B streams, C, h, w), times: (B streams,), the stream index fastest. image: (B, 3,
        H, W) in [-1, 1], the given plane, where the units read a control signal. Else as the
        UNet."""
        encoder = self.sharing.control_encoder
        signals = {} if encoder is None or image is None else encoder(image)
        # Stays until the next call: recomputed blocks read it on the way back.
        self.sharing.conditions = SharingConditions(signals=signals)
        return self._unet[0](noisy, times, **arguments)

    @contextmanager
    def outside(self) -> Iterator[AttentionSharing]:
        """The units out of the UNet, for as long as the block runs."""
        self.sharing.uninstall(self._unet[0])
        try:
            yield self.sharing
        finally:
            self.sharing.release()
            self.sharing.install(self._unet[0])


class TrainedPart(nn.Module):
    """Those tensors of a UNet that train. belongs: whether the tensor of a diffusers name does."""

    def __init__(self, unet: UNet2DConditionModel, belongs: Callable[[str], bool]) -> None:
        super().__init__()
        self._unet = (unet.requires_grad_(False),)
        self._base: dict[str, Tensor] = {}
        for name, parameter in unet.named_parameters():
            if belongs(name):
                self._base[name] = parameter.detach().cpu().clone()
                parameter.requires_grad_(True)
                # A module's own tensors cannot have dots in their names.
                self.register_parameter(name.replace(".", "/"), parameter)

    def forward(self, noisy: Tensor, times: Tensor, **arguments: Any) -> Any:
        """As the UNet."""
        return self._unet[0](noisy, times, **arguments)

    def offsets(self) -> dict[str, Tensor]:
        """What training added to each tensor, by diffusers name, float32 on CPU."""
        return {
            name: self.get_parameter(name.replace(".", "/")).detach().cpu().float() - base.float()
            for name, base in self._base.items()
        }


def widen_input(unet: UNet2DConditionModel, channels: int) -> None:
    """Let the UNet take `channels` input channels; the new ones start as zeros, so what it makes of
    the old ones is what it was. Raises ValueError when it takes more already."""
    first: Any = unet.conv_in
    old = first.weight
    if channels < old.shape[1]:
        raise ValueError(
            f"this UNet takes {old.shape[1]} channels, the mode {channels}: give the plain base "
            "model, not one that was made conditional"
        )
    wide = old.new_zeros(old.shape[0], channels, *old.shape[2:])
    wide[:, : old.shape[1]] = old.detach()
    first.weight = nn.Parameter(wide)
    first.in_channels = channels
    unet.register_to_config(in_channels=channels)  # pyright: ignore[reportAttributeAccessIssue]


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the published files hold them: half precision, on CPU."""
    return {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in tensors.items()
    }
