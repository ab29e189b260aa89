"""The loop: randomness of a step, rates, averaged weights while sampling, resuming, stopping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from multiplane.training import checkpoint
from multiplane.training.run import RunConfig, TrainingRun, step_generator

STEPS = 6


def a_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))


def config(out: Path, **said) -> RunConfig:
    numbers = {"steps": STEPS, "warmup": 2, "log_every": 1, "save_every": 2, "sample_every": 3}
    return RunConfig(out, precision="no", compile=False, **{**numbers, **said})


def loss_of_step(
    model: nn.Module, _: int, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    x = torch.randn(8, 4, generator=generator)
    return (model(x) - x.sum(dim=1, keepdim=True)).square().mean(), {"samples": 8.0}


def no_sample(_: int) -> dict[str, float]:
    return {}


def trained(out: Path, **said) -> TrainingRun:
    model = a_model()
    run = TrainingRun(config(out, **said), model, model, {"a": 1})
    run.train(loss_of_step, no_sample)
    return run


def logged(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_steps_generator_depends_on_seed_step_and_process_alone() -> None:
    def draw(*key: int) -> tuple[float, ...]:
        return tuple(torch.rand(4, generator=step_generator(*key)).tolist())

    keys = [(s, n, p) for s in (0, 1, 2) for n in (0, 1, 2, 999_999) for p in (0, 1, 7)]
    drawn = [draw(*key) for key in keys]
    assert len(set(drawn)) == len(keys)
    torch.rand(3)  # the global generator plays no part
    assert [draw(*key) for key in keys] == drawn


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", steps=4, anneal=0.0)
    parts = trained(tmp_path / "parts", anneal=0.0)
    plain = trained(tmp_path / "plain", anneal=0.0)
    assert parts.step == STEPS
    for name, value in plain.bare.state_dict().items():
        assert torch.equal(parts.bare.state_dict()[name], value)
        assert torch.equal(parts.ema.shadow[name], plain.ema.shadow[name])
    assert not torch.equal(next(whole.bare.parameters()), next(plain.bare.parameters()))
    steps = [int(record["step"]) for record in logged(tmp_path / "parts") if "loss" in record]
    assert steps == list(range(1, STEPS + 1))
    assert checkpoint.newest(tmp_path / "parts") == tmp_path / "parts" / "step-0000006"


def test_samples_see_the_averaged_weights_and_training_goes_on_from_its_own(tmp_path: Path) -> None:
    model = a_model()
    run = TrainingRun(config(tmp_path / "seen", ema=0.5), model, model, {})
    seen: list[tuple[int, bool]] = []

    def sample(step: int) -> dict[str, float]:
        averaged = all(torch.equal(p, run.ema.shadow[n]) for n, p in model.named_parameters())
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append((step, averaged))
        return {"figure": 5.0}

    run.train(loss_of_step, sample)
    assert seen == [(3, True), (6, True)]
    assert model.training
    unseen = trained(tmp_path / "unseen", ema=0.5)
    for name, value in unseen.bare.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
        assert not torch.equal(run.ema.shadow[name], value)
    assert [r["figure"] for r in logged(tmp_path / "seen") if "figure" in r] == [5.0, 5.0]


def test_a_sample_that_fails_leaves_the_training_weights(tmp_path: Path) -> None:
    model = a_model()
    run = TrainingRun(config(tmp_path, steps=3), model, model, {})

    def fails(_: int) -> dict[str, float]:
        raise OSError("no room for the sheet")

    with pytest.raises(OSError, match="no room"):
        run.train(loss_of_step, fails)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    for name, value in checkpoint.load(path)["model"].items():
        assert torch.equal(model.state_dict()[name], value)


def test_every_optimizer_follows_the_schedule(tmp_path: Path) -> None:
    model = a_model()
    run = TrainingRun(
        config(tmp_path, matrix_rate=0.4, other_rate=0.2, anneal=0.5), model, model[0], {}
    )
    rates: list[tuple[float, ...]] = []

    def watched(*arguments) -> tuple[Tensor, dict[str, float]]:
        rates.append(tuple(group["lr"] for o in run.optimizers for group in o.param_groups))
        return loss_of_step(*arguments)

    run.train(watched, no_sample)
    assert rates[0] == pytest.approx((0.1, 0.2))
    assert rates[1] == rates[2] == rates[3] == pytest.approx((0.2, 0.4))
    assert all(one[1] == pytest.approx(2 * one[0]) for one in rates)
    assert rates[5][0] < rates[4][0] < 0.2


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(tmp_path: Path) -> None:
    model = a_model()
    run = TrainingRun(config(tmp_path), model, model, {})

    def breaks(network: nn.Module, step: int, generator: torch.Generator):
        loss, figures = loss_of_step(network, step, generator)
        return loss * (float("nan") if step == 4 else 1.0), figures

    with pytest.raises(FloatingPointError, match="step 4: the loss is nan"):
        run.train(breaks, no_sample)
    assert checkpoint.newest(tmp_path) == tmp_path / "step-0000004"
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, steps=2)
    other = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    with pytest.raises(ValueError, match=r"step-0000002 was trained with another model"):
        TrainingRun(config(tmp_path), other, other, {})
