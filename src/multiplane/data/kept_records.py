"""Records on their way into shards: each finished one kept at once, one that cannot be made noted
and left behind, record after record failing taken for what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from multiplane.data.shards import (
    BrokenSource,
    Member,
    Sample,
    finished_shard,
    read_shard,
    write_shard,
)

WORK = ".records"  # finished records of shards that are not
MAX_FAILURES = 12  # so many in a row are no matter of the records


class TooManyFailures(RuntimeError):
    """Record after record failed: the model or the machine is at fault, not the records."""


class KeptRecords:
    """The finished records of a folder of shards, a tar each. They outlive a kill at any moment."""

    def __init__(self, out: Path) -> None:
        self._folder = out / WORK
        self._folder.mkdir(parents=True, exist_ok=True)
        self._failed: list[Path] = []

    def has(self, key: str, plan: str) -> bool:
        """Whether the record was finished by this plan, be it made or left behind."""
        return finished_shard(self._folder, f"{key}.tar", plan) is not None

    @property
    def failing(self) -> bool:
        """Whether the last record failed: if more do, it will be forgotten again."""
        return bool(self._failed)

    def keep(self, key: str, plan: str, make: Callable[[], list[Member]]) -> None:
        """Make a record and keep it, or keep the reason why it cannot be made.

        BrokenSource speaks of the record; ValueError, RuntimeError and ArithmeticError may speak of
        the model. Raises TooManyFailures when MAX_FAILURES in a row did: they are forgotten again,
        so that the next run tries them anew."""
        broke: list[Exception] = []

        def made() -> list[Member]:
            try:
                return make()
            except BrokenSource:
                raise
            except (ValueError, RuntimeError, ArithmeticError) as error:
                broke.append(error)
                raise BrokenSource(f"{type(error).__name__}: {error}") from error

        name = f"{key}.tar"
        write_shard(self._folder, name, [(key, made)], plan=plan, about={})
        self._failed = [*self._failed, self._folder / name] if broke else []
        if len(self._failed) == MAX_FAILURES:
            for path in self._failed:
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
            raise TooManyFailures(
                f"the last {MAX_FAILURES} records all failed, {key} with "
                f"{type(broke[0]).__name__}: {broke[0]}"
            ) from broke[0]

    def packed(self, keys: Iterable[str]) -> Iterator[Sample]:
        """The finished records as samples of their shard; one left behind is so again."""
        for key in keys:
            yield key, partial(self._members, key)

    def _members(self, key: str) -> list[Member]:
        for _, members in read_shard(self._folder / f"{key}.tar"):
            return list(members.items())
        note = json.loads((self._folder / f"{key}.tar.json").read_text("utf-8"))
        raise BrokenSource(note["skipped"][0][1])

    def drop(self, keys: Iterable[str]) -> None:
        """Forget records that are in a shard now."""
        for key in keys:
            (self._folder / f"{key}.tar").unlink(missing_ok=True)
            (self._folder / f"{key}.tar.json").unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all of them, those of an earlier run too."""
        shutil.rmtree(self._folder, ignore_errors=True)


def drop_later(out: Path, pattern: str, wanted: set[str]) -> None:
    """Remove the shards of an earlier, longer run, and partial files of a killed one. pattern: of
    the shards' names, as `Path.glob`."""
    for note in out.glob(f"{pattern}.json"):
        if note.name.removesuffix(".json") not in wanted:
            (out / note.name.removesuffix(".json")).unlink(missing_ok=True)
            note.unlink()
    for partial_file in out.glob(".[!.]*.tmp"):
        partial_file.unlink()
