"""Muon for the hidden matrices and kernels, AdamW for everything else, one schedule for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Newton-Schulz iteration of Muon (Jordan 2024): five rounds bring every singular value near one.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """(rows, columns) of any deviation -> the same singular vectors, singular values near one."""
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class KernelMuon(torch.optim.Optimizer):
    """Muon for convolution kernels, which torch's own refuses: a kernel (out, in, h, w) is taken
    as the matrix (out, in * h * w). The update's size is AdamW's (0.2 a weight in the mean)."""

    def __init__(
        self,
        kernels: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            list(kernels), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(kernel)
                mean = state["momentum"].lerp_(kernel.grad, 1 - group["momentum"])
                ahead = kernel.grad.lerp(mean, group["momentum"]).flatten(1)
                size = 0.2 * math.sqrt(max(ahead.shape))
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(orthogonalised(ahead).reshape(kernel.shape), alpha=-group["lr"] * size)


def make_optimizers(
    module: nn.Module, hidden: nn.Module, matrix_rate: float, other_rate: float
) -> list[torch.optim.Optimizer]:
    """AdamW at `other_rate` for everything, but for `hidden`, a part of `module`: its 2-D weights
    and its kernels of at least 16 channels on both sides get orthogonalised updates (Muon, Jordan
    2024) at `matrix_rate`."""
    matrices = [
        p for name, p in hidden.named_parameters() if p.ndim == 2 and name.endswith("weight")
    ]
    kernels = [p for p in hidden.parameters() if p.ndim == 4 and min(p.shape[:2]) >= 16]
    chosen = {id(p) for p in (*matrices, *kernels)}
    others = [p for p in module.parameters() if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.01)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices, lr=matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            )
        )
    if kernels:
        optimizers.append(KernelMuon(kernels, matrix_rate))
    return optimizers


def learning_rate_factor(step: int, total: int, warmup: int, anneal: float) -> float:
    """What the rates are multiplied by at `step` of `total`: linear warm-up over `warmup` steps,
    1, then a cosine to 0.02 over the last `anneal` share of the run."""
    if step < warmup:
        return (step + 1) / warmup
    start = total * (1 - anneal)
    if step < start:
        return 1.0
    progress = min(1.0, (step - start) / max(1.0, total - start))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
