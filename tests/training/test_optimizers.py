from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from multiplane.training.ema import EMA
from multiplane.training.optimizers import (
    KernelMuon,
    learning_rate_factor,
    make_optimizers,
    orthogonalised,
)
from small_world import a_denoiser


def test_muon_gets_the_hidden_matrices_and_adamw_all_else() -> None:
    model = a_denoiser()
    adamw, muon = make_optimizers(model, model.blocks, 3e-3, 1e-3)
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(muon, torch.optim.Muon)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    layers = ("qkv", "out", "up", "down")
    assert matrices == {f"blocks.{b}.{layer}.weight" for b in (0, 1) for layer in layers}
    assert others == set(names.values()) - matrices
    assert {group["lr"] for group in muon.param_groups} == {3e-3}
    assert {group["lr"] for group in adamw.param_groups} == {1e-3}


def test_without_a_hidden_part_adamw_gets_everything() -> None:
    model = nn.Linear(3, 2)
    (adamw,) = make_optimizers(model, nn.Identity(), 1.0, 1e-3)
    assert [len(group["params"]) for group in adamw.param_groups] == [2]


def test_kernels_between_wide_maps_get_muon_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 3, 3))
    adamw, kernels = make_optimizers(model, model, 3e-3, 1e-3)
    assert isinstance(kernels, KernelMuon)
    assert [p.shape for group in kernels.param_groups for p in group["params"]] == [(32, 16, 3, 3)]
    assert len(adamw.param_groups[0]["params"]) == 5


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (20, 20)])
def test_orthogonalised_keeps_the_singular_vectors_and_levels_the_values(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalised(matrix) @ v.T
    values = found.diagonal()
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert (found - values.diag()).abs().max() < 1e-4


def test_a_kernel_moves_by_the_size_an_adamw_update_has() -> None:
    kernel = nn.Parameter(torch.zeros(32, 16, 3, 3))
    optimizer = KernelMuon([kernel], lr=0.1)
    kernel.grad = 1e-4 * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert kernel.detach().square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.3)


def test_the_rate_rises_stays_and_falls_along_a_cosine() -> None:
    factor = [learning_rate_factor(step, 100, 10, 0.4) for step in range(100)]
    assert factor[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert factor[9:60] == [1.0] * 51
    assert factor[80] == pytest.approx(0.02 + 0.98 * 0.5)
    assert factor[99] == pytest.approx(0.02 + 0.49 * (1 + math.cos(math.pi * 39 / 40)))
    assert all(a > b for a, b in pairwise(factor[60:]))
    assert learning_rate_factor(500, 100, 10, 0.4) == pytest.approx(0.02)
    assert [learning_rate_factor(step, 10, 0, 0.0) for step in range(10)] == [1.0] * 10


def test_the_average_is_the_weighted_sum_of_what_was_seen() -> None:
    model = nn.Linear(1, 1, bias=False)
    seen = [4.0, 1.0, -2.0, 7.0]
    nn.init.constant_(model.weight, seen[0])
    average, expected = EMA(model, 0.25), seen[0]
    for step, value in enumerate(seen[1:], 1):
        nn.init.constant_(model.weight, value)
        average.update(model, step)
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.shadow["weight"].item() == pytest.approx(expected)
    again = EMA(model, 0.25)
    again.load_state_dict({name: value.clone() for name, value in average.state_dict().items()})
    again.copy_to(model)
    assert model.weight.item() == pytest.approx(expected)
