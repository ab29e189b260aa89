"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EMA:
    """shadow = d shadow + (1 - d) weights with d = min(decay, (1 + step) / (10 + step)), so early
    averages forget quickly. In float32, beside the weights; buffers are not averaged."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone().float() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's weights. step: updates so far, this one counted."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names = dict(module.named_parameters())
        shadows = list(self.shadow.values())
        current = [names[name].detach().float() for name in self.shadow]
        torch._foreach_lerp_(shadows, current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.shadow)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in self.shadow.items():
            value.copy_(state[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the averages in the place of the module's weights."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.shadow[name])
