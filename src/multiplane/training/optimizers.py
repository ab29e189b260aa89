"""Muon for the hidden matrices, AdamW for everything else, one schedule for both."""

from __future__ import annotations

import math

import torch
from torch import nn


def make_optimizers(
    module: nn.Module, hidden: nn.Module, matrix_rate: float, other_rate: float
) -> list[torch.optim.Optimizer]:
    """[AdamW] or [AdamW, Muon]. hidden: the part of `module` whose 2-D weights get orthogonalised
    updates (Muon, Jordan 2024) at `matrix_rate`; all else gets AdamW at `other_rate`."""
    matrices = [
        p for name, p in hidden.named_parameters() if p.ndim == 2 and name.endswith("weight")
    ]
    chosen = {id(p) for p in matrices}
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
