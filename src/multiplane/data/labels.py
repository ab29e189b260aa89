"""A person's decisions in one file: JSON lines, only ever appended to, each on disk before it is
confirmed.

    {"format": 1, "question": "mask"}                                   the head
    {"item": "a/0001", "answer": "bad", "reasons": [2], "time": "..."}   a decision
    {"undo": "a/0001", "time": "..."}                                    takes the latest one back

The last decision about an item counts; an undo takes back the latest decision that still stands,
whichever item it was about. A line that a crash cut short was never confirmed and does not count.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from multiplane.data.questions import Answer, Question, check_answer, question
from multiplane.io.file_lock import lock_file

FORMAT = 1


@dataclass(frozen=True)
class Label:
    """One decision. reasons: digits of the question's reasons. time: ISO 8601, UTC."""

    item: str
    answer: Answer
    reasons: tuple[int, ...]
    time: str


@dataclass
class LabelBook:
    """The decisions that stand, in the order they were made."""

    asked: Question
    standing: list[Label] = field(default_factory=list)
    _by_item: dict[str, list[Label]] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, Label]:
        """item -> the decision that counts."""
        return {item: made[-1] for item, made in self._by_item.items() if made}

    def label(self, item: str) -> Label | None:
        """The decision that counts for one item."""
        made = self._by_item.get(item)
        return made[-1] if made else None

    def add(self, label: Label) -> None:
        self.standing.append(label)
        self._by_item.setdefault(label.item, []).append(label)

    def take_back(self) -> Label | None:
        """The latest decision, which stands no more; None when there is none."""
        if not self.standing:
            return None
        latest = self.standing.pop()
        self._by_item[latest.item].pop()
        return latest


def read_labels(path: Path, asked: str | None = None) -> dict[str, Label]:
    """item -> its decision, skipped ones among them. asked: the question the file must answer.

    Raises FileNotFoundError, and ValueError naming the line that cannot be read."""
    return read_book(path, asked).labels


def read_book(path: Path, asked: str | None = None) -> LabelBook:
    """As `read_labels`, with every decision that stands."""
    if not path.is_file():
        raise FileNotFoundError(f"no labels at {path}: make them with `multiplane data label`")
    lines = path.read_bytes().split(b"\n")
    if not _is_record(lines[-1]):
        lines.pop()  # empty, or cut short by a crash
    if not lines:
        raise ValueError(f"{path} is empty: remove it, or name a file of labels")
    book = LabelBook(_head(path, lines[0], asked))
    for number, line in enumerate(lines[1:], 2):
        try:
            _replay(book, json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return book


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _head(path: Path, line: bytes, asked: str | None) -> Question:
    try:
        head = json.loads(line)
        number, name = head["format"], head["question"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is no file of labels: its first line must be "
            '{"format": 1, "question": "pick"} or the like'
        ) from error
    if number != FORMAT:
        raise ValueError(f"{path} has format {number!r}; this version reads format {FORMAT}")
    if asked is not None and name != asked:
        raise ValueError(
            f"{path} answers the question {name!r}, not {asked!r}: name another file, or ask {name}"
        )
    return question(name)


def _replay(book: LabelBook, record: Mapping[str, Any]) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got {record!r}")
    if "undo" in record:
        taken = book.take_back()
        if taken is None or taken.item != record["undo"]:
            raise ValueError(f"it takes back {record['undo']!r}, which is not the latest decision")
        return
    answer, reasons = check_answer(book.asked, record["answer"], record.get("reasons", []))
    item = record["item"]
    if not isinstance(item, str):
        raise ValueError(f"an item is named by a text, got {item!r}")
    book.add(Label(item, answer, reasons, str(record.get("time", ""))))


class LabelLog:
    """A file of labels held open for more: one process at a time, resumed where it stopped."""

    def __init__(self, path: Path, asked: str) -> None:
        """Opens or begins `path`. Raises ValueError when it answers another question or is damaged,
        BlockingIOError when another process has it open."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        question(asked)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not lock_file(self._file):
                raise BlockingIOError(
                    f"{path} is open in another labelling session: end that one first, or name "
                    "another file"
                )
            self.book = self._resumed(asked)
        except BaseException:
            os.close(self._file)
            raise

    def _resumed(self, asked: str) -> LabelBook:
        """What the file holds, its unconfirmed tail cut off; a new file gets its head."""
        content = self.path.read_bytes()
        ended = content.rfind(b"\n") + 1
        tail = content[ended:]
        if tail and not _is_record(tail):
            os.ftruncate(self._file, ended)
        self._end = os.lseek(self._file, 0, os.SEEK_END)
        if self._end == 0:
            self._append({"format": FORMAT, "question": asked})
            _sync_folder(self.path.parent)
        elif tail and _is_record(tail):
            self._write(b"\n")
        return read_book(self.path, asked)

    def decide(self, item: str, answer: object, reasons: object = ()) -> Label:
        """Keep a decision; it is on disk when this returns. Raises ValueError for an answer or a
        reason the question does not know, OSError when it cannot be written."""
        kept, numbers = check_answer(self.book.asked, answer, reasons)
        label = Label(item, kept, numbers, _now())
        record = {"item": item, "answer": kept, "reasons": list(numbers), "time": label.time}
        self._append(record)
        self.book.add(label)
        return label

    def undo(self) -> Label | None:
        """Take the latest decision back, by a record of its own; None when none stands."""
        if not self.book.standing:
            return None
        self._append({"undo": self.book.standing[-1].item, "time": _now()})
        return self.book.take_back()

    def _append(self, record: Mapping[str, Any]) -> None:
        self._write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        """All of it and on disk, or none of it."""
        try:
            rest = data
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            raise
        self._end += len(data)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> LabelLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def summary(book: LabelBook) -> str:
    """What was decided, and for which reasons: one line each."""
    labels = book.labels.values()
    counts = Counter(label.answer for label in labels)
    names = {"good": book.asked.good, "bad": book.asked.bad, "skip": "Skip"}
    lines = [", ".join(f"{names[answer].lower()} {counts[answer]}" for answer in names)]
    reasons = Counter(number for label in labels for number in label.reasons)
    lines += [f"{count:6}  {book.asked.reasons[number]}" for number, count in reasons.most_common()]
    return "\n".join(lines)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _sync_folder(folder: Path) -> None:
    """A new file's name is on disk too; where folders cannot be opened the system sees to it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
