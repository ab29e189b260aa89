"""Seconds a picture takes after loading, stage by stage.

Stages: "text" the encoder of prompts, "denoise" the network, "decode" and "encode" the autoencoder,
"recomposition" the engine after the family is done, "file" a PSD written to disk, "rest" what is
left of the family's own time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multiplane.core.document import LayerDocument
from multiplane.core.request import LayerRequest
from multiplane.evaluation.bench import RecordingFamily, Runner

STAGES = ("text", "encode", "denoise", "decode", "rest", "recomposition", "file")
# Where a pipeline keeps each stage; a family without these names has no stages of its own.
_PIPELINE_STAGES = {
    "text_encoder": "text",
    "encode": "encode",
    "denoiser": "denoise",
    "decode": "decode",
}


@dataclass
class Clock:
    """Seconds and calls of each stage since `clear`."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        self.seconds.clear()
        self.calls.clear()

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.calls[stage] = self.calls.get(stage, 0) + 1


class _Timed:
    """Stands in for a callable, times its calls, and is the callable in all else."""

    def __init__(self, inner: Any, stage: str, clock: Clock) -> None:
        self._inner = inner
        self._stage = stage
        self._clock = clock

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return self._inner(*args, **kwargs)
        finally:
            self._clock.add(self._stage, time.perf_counter() - start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@contextmanager
def stages_timed(pipeline: Any, clock: Clock) -> Iterator[None]:
    """Time the stages of a pipeline object while the block runs; it is as it was afterwards."""
    own = vars(pipeline) if pipeline is not None else {}
    before = {name: own.get(name) for name in _PIPELINE_STAGES}
    for name, stage in _PIPELINE_STAGES.items():
        if pipeline is not None and hasattr(pipeline, name):
            setattr(pipeline, name, _Timed(getattr(pipeline, name), stage, clock))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is not None:
                setattr(pipeline, name, value)
            elif name in own:
                delattr(pipeline, name)  # a method again


@dataclass(frozen=True)
class Timing:
    """seconds: median of the whole over the repeats. stages: medians of each. calls: of the
    denoiser in one picture."""

    seconds: float
    stages: dict[str, float]
    calls: int
    repeats: int


def time_request(
    model: Runner,
    family: RecordingFamily,
    request: LayerRequest,
    repeats: int = 3,
    write: Callable[[LayerDocument, Path], None] | None = None,
) -> Timing:
    """Run a request `repeats` times after one run that is not counted. write: how the file is
    written; None writes none."""
    clock = Clock()
    whole: list[float] = []
    each: dict[str, list[float]] = {stage: [] for stage in STAGES}
    calls = 0
    with stages_timed(getattr(family.inner, "pipeline", None), clock):
        for repeat in range(repeats + 1):
            clock.clear()
            family.seconds = 0.0
            start = time.perf_counter()
            document = model.run(request)
            ran = time.perf_counter() - start
            written = _write_seconds(document, write)
            if repeat == 0:
                continue
            inside = dict(clock.seconds)
            calls = clock.calls.get("denoise", 0)
            inside["rest"] = family.seconds - sum(inside.values())
            inside["recomposition"] = ran - family.seconds
            inside["file"] = written
            whole.append(ran + written)
            for stage in STAGES:
                each[stage].append(inside.get(stage, 0.0))
    stages = {stage: statistics.median(values) for stage, values in each.items()}
    return Timing(statistics.median(whole), stages, calls, repeats)


def _write_seconds(
    document: LayerDocument, write: Callable[[LayerDocument, Path], None] | None
) -> float:
    if write is None:
        return 0.0
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        write(document, Path(scratch) / "picture.psd")
        return time.perf_counter() - start


def machine() -> dict[str, Any]:
    """What the seconds were measured on."""
    import os
    import platform

    import numpy
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
