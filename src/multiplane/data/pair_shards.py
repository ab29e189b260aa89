"""Layer pairs into scene shards: prompts read as they are needed, each finished record kept at
once, a record that cannot be made noted and left behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.config import to_table
from multiplane.core.family import Family
from multiplane.data.build import BuildProgress, hash_of, manifest_of
from multiplane.data.kept_records import KeptRecords, drop_later
from multiplane.data.layer_pairs import (
    PAIR_FORM,
    PairConfig,
    Score,
    check_family,
    judged,
    make_pair,
    pair_members,
)
from multiplane.data.prompt_lists import BadPrompt, PromptLine
from multiplane.data.shards import (
    BrokenSource,
    Member,
    ShardNote,
    finished_shard,
    write_json,
    write_shard,
)


@dataclass(frozen=True)
class PairJob:
    """What makes the pairs of one folder. weights: their name or path for the provenance, "" for
    the family's own. prompts: where the prompts came from, in words."""

    family: Family
    config: PairConfig
    seed: int = 0
    weights: str = ""
    prompts: str = ""
    scores: tuple[Score, ...] = ()

    def about(self) -> dict[str, Any]:
        """The provenance every record carries."""
        made_by = {"model": self.family.name, "version": self.family.version}
        return {**made_by, "weights": self.weights, "config": to_table(self.config)}


@dataclass(frozen=True)
class _Record:
    key: str
    prompt: PromptLine
    seed: int


def build_pairs(
    job: PairJob,
    prompts: Iterable[PromptLine],
    out: Path,
    count: int | None = None,
    per_shard: int = 256,
    progress: BuildProgress | None = None,
) -> dict[str, Any]:
    """Write the pairs of the first `count` prompts (None: of all) as scene shards into `out`, and
    return their manifest. Run again, it makes only what is missing.

    Raises RequestError when the family cannot, TooManyFailures when record after record fails; what
    was finished stays."""
    check_family(job.family, job.config)
    out.mkdir(parents=True, exist_ok=True)
    notes: list[ShardNote] = []
    lines = itertools.islice(enumerate(prompts), count)
    while chunk := list(itertools.islice(lines, per_shard)):
        records = [_Record(f"pair-{n:06d}", prompt, _seed(job.seed, n)) for n, prompt in chunk]
        notes.append(_shard(job, records, out, len(notes), progress, count))
        write_json(out / "manifest.json", _manifest(job, notes))
    if not notes:
        raise ValueError(f"no prompt in {job.prompts or 'the list'}")
    KeptRecords(out).clear()  # of a run killed right after a shard
    drop_later(out, "scene-made-train-*.tar", {note.name for note in notes})
    return _manifest(job, notes)


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _shard(
    job: PairJob,
    records: list[_Record],
    out: Path,
    number: int,
    progress: BuildProgress | None,
    count: int | None,
) -> ShardNote:
    about = {"kind": "scene", "style": "made", "split": "train", "model": job.family.name}
    name = f"scene-made-train-{number:04d}.tar"
    plan = hash_of([about, [_plan(job, record) for record in records]])
    note = finished_shard(out, name, plan)
    if note is not None:
        return note
    kept = KeptRecords(out)
    for done, record in enumerate(records):
        if progress:
            first = int(records[0].key.rpartition("-")[2])
            progress(first + done, count or first + len(records), record.key)
        if not kept.has(record.key, _plan(job, record)):
            kept.keep(record.key, _plan(job, record), partial(_members, job, record))
    samples = kept.packed(record.key for record in records)
    note = write_shard(out, name, samples, plan=plan, about=about)
    kept.clear()
    return note


def _plan(job: PairJob, record: _Record) -> str:
    """A hash of all that a record's bytes depend on."""
    least = [(score.name, score.least) for score in job.scores]
    prompt = [type(record.prompt).__name__, asdict(record.prompt)]
    return hash_of([PAIR_FORM, job.about(), least, record.key, record.seed, prompt])


def _members(job: PairJob, record: _Record) -> list[Member]:
    if isinstance(record.prompt, BadPrompt):
        raise BrokenSource(f"line {record.prompt.line}: {record.prompt.reason}")
    pair = judged(make_pair(job.family, record.prompt, record.seed, job.config), job.scores)
    return pair_members(pair, record.key, job.about())


def _manifest(job: PairJob, notes: list[ShardNote]) -> dict[str, Any]:
    recipe = {"layer_pairs": job.about(), "seed": job.seed, "prompts": job.prompts}
    made = {"source": f"model:{job.family.name}@{job.family.version}", "use": "every plane"}
    return manifest_of(notes, recipe, [made])
