"""The loop every recipe shares: steps, gradient scaling, EMA, schedule, checkpoints, exact resume.

A recipe gives one function, loss of a step from a generator; the loop gives it a generator seeded
by (seed, step, process), so a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from multiplane.training import checkpoint
from multiplane.training.adversarial import Adversary
from multiplane.training.ema import EMA
from multiplane.training.optimizers import learning_rate_factor, make_optimizers

logger = logging.getLogger(__name__)

LossOfStep = Callable[[nn.Module, int, torch.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class RunConfig:
    """out: folder of checkpoints, log and sheets. matrix_rate, other_rate: see `make_optimizers`.
    warmup: steps over which the rate rises; anneal: share of the steps over which it falls. ema:
    decay of the averaged weights. clip: greatest gradient norm. compile: parts of the model through
    torch.compile. log_every, save_every, sample_every: steps."""

    out: Path
    seed: int = 0
    steps: int = 1000
    matrix_rate: float = 3e-3
    other_rate: float = 1e-3
    warmup: int = 100
    anneal: float = 0.3
    ema: float = 0.999
    clip: float = 1.0
    precision: Literal["bf16", "no"] = "bf16"
    compile: bool = True
    log_every: int = 25
    save_every: int = 250
    sample_every: int = 500


def step_generator(seed: int, step: int, process: int) -> torch.Generator:
    """A CPU generator that depends on nothing but (seed, step, process)."""
    mixed = (seed * 1_000_003 + step) * 4099 + process
    return torch.Generator().manual_seed(mixed % (2**63))


def compile_parts(*modules: nn.Module) -> None:
    """Compile each module's forward; every row's shapes get a graph of their own, so the limit on
    graphs a function is raised."""
    torch._dynamo.config.recompile_limit = 256  # pyright: ignore[reportPrivateImportUsage]
    for module in modules:
        module.compile(dynamic=False)


class TrainingRun:
    """One recipe's training state. `model` trains; `hidden` is the part that Muon updates;
    settings: the whole configuration, kept in every checkpoint. adversary: learns after the model
    in every step that asked it. some_idle: in some steps parameters that train have no part, which
    several processes must know.

    Goes on from the newest checkpoint in `config.out`; raises ValueError where that one does not
    fit the model."""

    def __init__(
        self,
        config: RunConfig,
        model: nn.Module,
        hidden: nn.Module,
        settings: Mapping[str, Any],
        adversary: Adversary | None = None,
        some_idle: bool = False,
    ) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        self.config = config
        self.settings = dict(settings)
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            cpu=not torch.cuda.is_available(),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=some_idle)],
        )
        self.bare = model
        optimizers = make_optimizers(model, hidden, config.matrix_rate, config.other_rate)
        self.model, *prepared = self.accelerator.prepare(
            model.to(self.accelerator.device), *optimizers
        )
        self.optimizers = prepared
        self.base_rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.ema = EMA(self.bare, config.ema)
        self.adversary = adversary
        if adversary is not None:
            adversary.prepare(self.accelerator)
        self.step = 0
        self._resume()

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def _resume(self) -> None:
        path = checkpoint.newest(self.config.out)
        if path is None:
            return
        state = checkpoint.load(path)
        try:
            self.bare.load_state_dict(state["model"])
            if (self.adversary is None) != (state.get("adversary") is None):
                raise RuntimeError("one of the two has a discriminator, the other has none")
            if self.adversary is not None:
                self.adversary.load_state_dict(state["adversary"])
        except RuntimeError as error:
            raise ValueError(
                f"{path} was trained with another model configuration: give this run a folder of "
                f"its own as run.out, or go back to that configuration ({error})"
            ) from error
        self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = int(state["step"])
        logger.info("resumed %s at step %d", path, self.step)

    def save(self) -> None:
        """Every process calls it; the first writes, and all wait until it stands."""
        if self.accelerator.is_main_process:
            state = {
                "model": self.bare.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "adversary": self.adversary and self.adversary.state_dict(),
            }
            checkpoint.save(self.config.out, self.step, state, {"config": self.settings})
        self.accelerator.wait_for_everyone()

    def _log(self, record: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            logger.info(" ".join(f"{k}={v:.4g}" for k, v in record.items()))
            with (self.config.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _set_rates(self) -> float:
        """Returns what every rate of this step is multiplied by."""
        factor = learning_rate_factor(
            self.step, self.config.steps, self.config.warmup, self.config.anneal
        )
        for optimizer, rates in zip(self.optimizers, self.base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        return factor

    def train(self, loss_of_step: LossOfStep, sample: Callable[[int], dict[str, float]]) -> None:
        """Run to `config.steps`. `sample(step)` makes sheets and held-out figures on the main
        process, with the EMA weights in place. Raises FloatingPointError when the loss or its
        gradient is no number any more; the checkpoints are then still whole."""
        config, accelerator = self.config, self.accelerator
        config.out.mkdir(parents=True, exist_ok=True)
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        started, since = time.monotonic(), self.step
        while self.step < config.steps:
            generator = step_generator(config.seed, self.step, accelerator.process_index)
            factor = self._set_rates()
            with accelerator.autocast():
                loss, figures = loss_of_step(self.model, self.step, generator)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(self.bare.parameters(), config.clip)
            figures = {"loss": loss.item(), "norm": float(norm or 0.0), **figures}
            if not math.isfinite(figures["loss"] + figures["norm"]):
                raise FloatingPointError(
                    f"step {self.step}: the loss is {figures['loss']}, its gradient's norm "
                    f'{figures["norm"]}: lower the rates, or train with precision = "no"'
                )
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if self.adversary is not None:
                figures |= self.adversary.learn(accelerator, factor)
            self.step += 1
            self.ema.update(self.bare, self.step)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + 1
            if self.step % config.log_every == 0:
                rate = (self.step - since) / max(1e-9, time.monotonic() - started)
                means = {name: sums[name] / counts[name] for name in sums}
                self._log({"step": self.step, "steps_per_second": rate, **means})
                sums, counts, started, since = {}, {}, time.monotonic(), self.step
            last = self.step == config.steps
            if self.step % config.save_every == 0 or last:
                self.save()
            if self.step % config.sample_every == 0 or last:
                if accelerator.is_main_process:
                    self._log({"step": self.step, **self._with_ema(sample)})
                accelerator.wait_for_everyone()

    def _with_ema(self, sample: Callable[[int], dict[str, float]]) -> dict[str, float]:
        training = {name: p.detach().clone() for name, p in self.bare.named_parameters()}
        self.ema.copy_to(self.bare)
        self.bare.eval()
        try:
            with torch.no_grad(), self.accelerator.autocast():
                return sample(self.step)
        finally:
            self.bare.train()
            with torch.no_grad():
                for name, parameter in self.bare.named_parameters():
                    parameter.copy_(training[name])
