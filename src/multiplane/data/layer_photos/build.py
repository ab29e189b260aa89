"""Photographs into scene shards: every finished record is kept at once, every finished shard for
good, and the same photographs give the same bytes however often the run was killed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from multiplane.core.config import to_table
from multiplane.data.build import BuildProgress, hash_of, manifest_of
from multiplane.data.kept_records import KeptRecords, drop_later
from multiplane.data.layer_photos.quality import quality_id
from multiplane.data.layer_photos.sources import PhotoSource
from multiplane.data.layer_photos.steps import PHOTO_FORM, PhotoConfig
from multiplane.data.layer_photos.work import Outcome, Task, Where, outcomes
from multiplane.data.shards import (
    BrokenSource,
    Member,
    ShardNote,
    finished_shard,
    write_json,
    write_shard,
)
from multiplane.pipelines.cutout.matte import NETWORKS

STYLE = "photo"


class RecordFailed(RuntimeError):
    """A photograph over which the program failed in a way it does not know."""


@dataclass(frozen=True)
class PhotoJob:
    """What makes the shards of one folder. given: where the photographs came from, in words.
    where: "loop", "pool" or "ray". per_shard: photographs a shard, those left out included."""

    config: PhotoConfig
    given: str = ""
    where: Where = "pool"
    workers: int = 1
    per_shard: int = 256

    def __post_init__(self) -> None:
        if self.workers < 1 or self.per_shard < 1:
            raise ValueError(f"workers and per_shard must be 1 or more: {self}")

    def about(self) -> dict[str, Any]:
        """What the bytes of every record depend on beside the photograph."""
        names = [name for name in (self.config.matte, self.config.second) if name]
        return {
            "form": PHOTO_FORM,
            "config": to_table(self.config),
            "networks": {name: NETWORKS[name].version for name in names},
            "quality": quality_id(self.config.quality) if self.config.quality else "",
        }


@dataclass
class _Shard:
    """A shard under way. plans: key -> plan of its records. left: keys that are not finished."""

    name: str
    plan: str
    plans: dict[str, str]
    left: set[str] = field(default_factory=set)


def build_photos(
    job: PhotoJob,
    sources: Iterable[PhotoSource],
    out: Path,
    count: int | None = None,
    progress: BuildProgress | None = None,
    timings: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Write the layers of the first `count` photographs (None: all) into `out` and return the
    manifest. Run again, it makes only what is missing.

    timings: CPU seconds by step are added to it. Raises TooManyFailures when record after record
    fails, what the networks raise on loading, and as `photo_sources`; what was finished stays."""
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(job, out, job.about())
    tasks = run.tasks(itertools.islice(sources, count))
    for done, outcome in enumerate(outcomes(job.config, tasks, job.where, job.workers), 1):
        run.keep(outcome)
        for step, spent in outcome.seconds.items():
            if timings is not None:
                timings[step] = timings.get(step, 0.0) + spent
        if progress:
            progress(done, count or run.listed, outcome.key)
    return run.finish()


class _Run:
    """The shards of one run: planned as the photographs are listed, written as they fill."""

    def __init__(self, job: PhotoJob, out: Path, about: dict[str, Any]) -> None:
        self._job, self._out, self._about = job, out, about
        self._kept = KeptRecords(out)
        self._notes: dict[str, ShardNote] = {}
        self._under_way: dict[str, _Shard] = {}  # by the keys of their records
        self._filled: list[_Shard] = []
        self.listed = 0

    def tasks(self, sources: Iterator[PhotoSource]) -> Iterator[Task]:
        """The photographs that are still to be worked on."""
        while chunk := list(itertools.islice(sources, self._job.per_shard)):
            first = self.listed
            self.listed += len(chunk)
            keyed = {f"photo-{first + n:09d}": source for n, source in enumerate(chunk)}
            shard = self._planned(keyed, first // self._job.per_shard)
            if shard is None:
                continue
            if not shard.left:
                self._filled.append(shard)
            for key in [key for key in keyed if key in shard.left]:
                self._under_way[key] = shard
                yield Task(key, keyed[key])

    def _planned(self, keyed: dict[str, PhotoSource], number: int) -> _Shard | None:
        name = f"scene-{STYLE}-train-{number:05d}.tar"
        plans = {key: self._plan(key, source) for key, source in keyed.items()}
        plan = hash_of([_about_shard(), list(plans.values())])
        note = finished_shard(self._out, name, plan)
        if note is not None:
            self._notes[name] = note
            return None
        left = {key for key, record in plans.items() if not self._kept.has(key, record)}
        return _Shard(name, plan, plans, left)

    def _plan(self, key: str, source: PhotoSource) -> str:
        """A hash of all that a record's bytes depend on; where the folder lies is not of it."""
        place = {name: value for name, value in asdict(source).items() if name != "path"}
        return hash_of([self._about, key, place])

    def keep(self, outcome: Outcome) -> None:
        """Keep a finished record, and pack its shard when it was the last."""
        shard = self._under_way.pop(outcome.key)
        self._kept.keep(outcome.key, shard.plans[outcome.key], partial(_members, outcome))
        shard.left.discard(outcome.key)
        if not shard.left:
            self._filled.append(shard)
        if not self._kept.failing:  # failures in a row may have to be forgotten again
            self._pack_filled()

    def _pack_filled(self) -> None:
        while self._filled:
            self._pack(self._filled.pop())

    def _pack(self, shard: _Shard) -> None:
        (self._out / "manifest.json").unlink(missing_ok=True)
        self._notes[shard.name] = write_shard(
            self._out,
            shard.name,
            self._kept.packed(shard.plans),
            plan=shard.plan,
            about=_about_shard(),
        )
        self._kept.drop(shard.plans)

    def finish(self) -> dict[str, Any]:
        """Write what is still to be written, tidy up, and write the manifest."""
        self._pack_filled()
        notes = [self._notes[name] for name in sorted(self._notes)]
        self._kept.clear()
        drop_later(self._out, f"scene-{STYLE}-train-*.tar", set(self._notes))
        recipe = {"layer_photos": self._about, "given": self._job.given}
        made = {"source": self._job.given, "licence": "that of the photographs"}
        manifest = manifest_of(notes, recipe, [made])
        write_json(self._out / "manifest.json", manifest)
        return manifest


def _about_shard() -> dict[str, Any]:
    return {"kind": "scene", "style": STYLE, "split": "train"}


def _members(outcome: Outcome) -> list[Member]:
    if outcome.members is not None:
        return outcome.members
    if outcome.failed:
        raise RecordFailed(outcome.reason)
    raise BrokenSource(outcome.reason)
