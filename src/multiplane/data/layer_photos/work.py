"""The steps with their networks in one place, and three ways to run them over many photographs: a
plain loop, a pool of processes, Ray Data on many machines. All three give the same outcomes."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from multiplane.data.layer_photos import steps
from multiplane.data.layer_photos.quality import QualityFilter
from multiplane.data.layer_photos.sources import PhotoSource
from multiplane.data.layer_photos.steps import PhotoConfig
from multiplane.data.shards import BrokenSource, Member
from multiplane.pipelines.cutout.matte import SalientMatte

Where = Literal["loop", "pool", "ray"]
WAVE = 4096  # photographs handed to Ray at a time
BLOCK = 4  # of them in one block: what a kill costs a worker at most


@dataclass(frozen=True)
class Task:
    """One photograph to be worked on. key: of its record in the shard."""

    key: str
    source: PhotoSource


@dataclass(frozen=True)
class Outcome:
    """members: of the finished sample, or None with the reason. failed: the reason speaks of the
    program or the machine rather than of the photograph. seconds: of CPU, by step."""

    key: str
    members: list[Member] | None
    reason: str = ""
    failed: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def left_out(task: Task, reason: str, **more: Any) -> Outcome:
    """The outcome of a photograph that is of no use."""
    return Outcome(task.key, None, f"{task.source.name}: {reason}", **more)


class Worker:
    """All steps for one photograph after the other; the networks are loaded once, with one thread
    each, so that every worker gives the same bytes."""

    def __init__(self, config: PhotoConfig) -> None:
        """Raises FetchError, ValueError and ImportError when a network cannot be had."""
        self._config = config
        self._matte = SalientMatte.load(config.matte, threads=1)
        self._second = SalientMatte.load(config.second, threads=1) if config.second else None
        self._quality = QualityFilter.load(config.quality) if config.quality else None

    def __call__(self, task: Task) -> Outcome:
        """Never raises over a photograph: whatever it does costs that photograph alone."""
        seconds: dict[str, float] = {}
        try:
            return Outcome(task.key, self._members(task, seconds), seconds=seconds)
        except BrokenSource as error:
            return left_out(task, str(error), seconds=seconds)
        except Exception as error:  # decoders and networks raise anything over hostile pictures
            reason = f"{type(error).__name__}: {error}"
            return left_out(task, reason, failed=True, seconds=seconds)

    def _members(self, task: Task, seconds: dict[str, float]) -> list[Member]:
        config = self._config
        with _timed(seconds, "load"):
            record = steps.load(task.source, config)
        with _timed(seconds, "matte"):
            record = steps.cut(record, config, self._matte, self._second)
        with _timed(seconds, "foreground"):
            record = steps.take_foreground(record, config)
        with _timed(seconds, "background"):
            record = steps.fill_background(record, config)
        if self._quality is not None:
            with _timed(seconds, "score"):
                record = steps.judge(record, config, self._quality)
        with _timed(seconds, "write"):
            return steps.write(record, config, task.key)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.process_time()
    try:
        yield
    finally:
        seconds[step] = time.process_time() - start


def outcomes(
    config: PhotoConfig, tasks: Iterable[Task], where: Where, workers: int
) -> Iterator[Outcome]:
    """Outcomes as they are finished, in any order. Raises what the networks raise on loading."""
    if where == "loop":
        return map(Worker(config), tasks)
    if where == "pool":
        return run_pool(config, tasks, workers)
    return run_ray(config, tasks, workers)


def run_pool(config: PhotoConfig, tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """On this machine. A photograph over which a process dies costs itself: those that were at
    hand are then tried one by one."""
    waiting = iter(tasks)
    while suspects := (yield from _until_one_dies(config, waiting, workers)):
        for task in suspects:
            yield _alone(config, task)


def _until_one_dies(
    config: PhotoConfig, waiting: Iterator[Task], workers: int
) -> Generator[Outcome, None, list[Task]]:
    """The outcomes of a pool; returns the tasks at hand when one of its processes died."""
    at_hand: dict[str, Task] = {}
    running: set[Future[Outcome]] = set()
    with _pool(config, workers) as pool:
        try:
            while True:
                for task in itertools.islice(waiting, 2 * workers - len(running)):
                    at_hand[task.key] = task
                    running.add(pool.submit(_work, task))
                if not running:
                    return []
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    del at_hand[outcome.key]
                    yield outcome
        except BrokenProcessPool:
            return list(at_hand.values())


def _alone(config: PhotoConfig, task: Task) -> Outcome:
    """A photograph in a process of its own, which may die over it."""
    with _pool(config, 1) as pool:
        try:
            return pool.submit(_work, task).result()
        except BrokenProcessPool:
            return left_out(task, "the process that worked on it died")


@contextmanager
def _pool(config: PhotoConfig, workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # threads of the networks do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _start, (config,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Worker | Exception | None = None


def _start(config: PhotoConfig) -> None:
    """In each process of the pool, once. What cannot be loaded is said at the first photograph: a
    pool tells no more of a failed start than that it failed."""
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()
    try:
        _worker = Worker(config)
    except Exception as error:  # handed on, see _work
        _worker = error


def _work(task: Task) -> Outcome:
    if isinstance(_worker, Exception):
        raise _worker
    assert _worker is not None
    return _worker(task)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its pool: each process sees to it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def one_thread() -> None:
    """Of the libraries in this process, for as long as it lives: as many processes as cores."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class RayWorker:
    """A worker as an actor of Ray Data: rows in, rows out."""

    def __init__(self, config: PhotoConfig) -> None:
        one_thread()
        self._worker = Worker(config)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": pickle.dumps(self._worker(pickle.loads(row["task"])))}


def run_ray(config: PhotoConfig, tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """On the cluster that RAY_ADDRESS names or this program is connected to; without one, on a Ray
    of `workers` processes that is started here and ended again.

    The pictures must be readable, and this package installed, on every machine; what is made comes
    back here. Raises ImportError with the install command without Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            "many machines need Ray: pip install 'multiplane[ray]', or leave --on ray out"
        ) from error
    here = not ray.is_initialized()
    if here:
        local = "RAY_ADDRESS" not in os.environ
        ray.init(
            num_cpus=workers if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        waiting = iter(tasks)
        while wave := [{"task": pickle.dumps(task)} for task in itertools.islice(waiting, WAVE)]:
            blocks = -(-len(wave) // BLOCK)
            made = ray.data.from_items(wave, override_num_blocks=blocks).map(
                RayWorker,  # pyright: ignore[reportArgumentType]  # its types know no callable class
                fn_constructor_args=(config,),
                concurrency=min(workers, blocks),
                num_cpus=1,
            )
            for row in made.iter_rows():
                yield pickle.loads(row["outcome"])
    finally:
        if here:
            ray.shutdown()
