"""Labels: what counts, what a crash costs, who may write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiplane.data.labels import LabelLog, read_book, read_labels, summary
from multiplane.data.questions import QUESTIONS, check_answer


def answers(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {item: (label.answer, label.reasons) for item, label in read_labels(path).items()}


def test_the_last_decision_counts_and_an_undo_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "mask") as log:
        log.decide("a", "good")
        log.decide("b", "bad", [3, 1, 3])
        log.decide("a", "bad", [2])
        assert answers(path) == {"a": ("bad", (2,)), "b": ("bad", (1, 3))}
        taken = log.undo()
        assert taken is not None
        assert taken.item == "a"
        assert answers(path) == {"a": ("good", ()), "b": ("bad", (1, 3))}
        log.undo()
        log.undo()
        assert log.undo() is None
    assert answers(path) == {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["format"] + ["item"] * 3 + ["undo"] * 3


STEPS = st.lists(st.sampled_from(["a good", "a bad", "b skip", "c good", "undo"]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, stops=st.sets(st.integers(0, 29), max_size=4))
def test_a_log_replays_to_what_was_decided(
    steps: list[str], stops: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a stack kept by hand; the file is closed and opened again at `stops`."""
    path = tmp_path_factory.mktemp("log") / "labels.jsonl"
    stack: list[tuple[str, str]] = []
    log = LabelLog(path, "pick")
    for number, step in enumerate(steps):
        if number in stops:
            log.close()
            log = LabelLog(path, "pick")
        if step == "undo":
            taken = log.undo()
            assert (taken and (taken.item, taken.answer)) == (stack.pop() if stack else None)
        else:
            item, answer = step.split()
            log.decide(item, answer)
            stack.append((item, answer))
    log.close()
    assert {item: label.answer for item, label in read_labels(path).items()} == dict(stack)


def test_a_torn_line_at_every_byte_costs_that_decision_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "mask") as log:
        log.decide("bär", "good")
        log.decide("b", "bad", [2])
    whole = path.read_bytes()
    before_last = whole[:-1].rindex(b"\n") + 1
    for cut in range(before_last, len(whole)):
        path.write_bytes(whole[:cut])
        complete = cut == len(whole) - 1  # only its line end is missing
        kept = {"bär", "b"} if complete else {"bär"}
        assert set(read_labels(path)) == kept
        with LabelLog(path, "mask") as log:
            log.decide("c", "skip")
        assert set(read_labels(path)) == kept | {"c"}
        assert path.read_bytes().endswith(b"\n")


def test_a_head_cut_short_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"format": 1, "que')
    with LabelLog(path, "pick") as log:
        log.decide("a", "good")
    assert answers(path) == {"a": ("good", ())}


def test_a_kill_keeps_every_confirmed_decision(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    code = f"""
        from pathlib import Path
        from multiplane.data.labels import LabelLog
        log = LabelLog(Path({str(path)!r}), "pick")
        for number in range(10_000):
            log.decide(f"item-{{number}}", "good")
            print(number, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    confirmed = [int(process.stdout.readline()) for _ in range(40)][-1]
    process.kill()
    confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    assert {f"item-{number}" for number in range(confirmed + 1)} <= set(read_labels(path))
    with LabelLog(path, "pick") as log:  # the lock went with the process
        log.decide("after", "good")


def test_two_sessions_on_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "pick") as log:
        log.decide("a", "good")
        with pytest.raises(BlockingIOError, match="another labelling session"):
            LabelLog(path, "pick")
        code = (
            "from pathlib import Path; from multiplane.data.labels import LabelLog\n"
            f"try:\n    LabelLog(Path({str(path)!r}), 'pick')\n"
            "except BlockingIOError:\n    print('refused')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "refused"
        log.decide("b", "good")
    assert set(read_labels(path)) == {"a", "b"}
    LabelLog(path, "pick").close()


def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "pick") as log:
        log.decide("a", "good")
        before = path.read_bytes()
        write = os.write

        def full(descriptor: int, data: bytes) -> int:
            if len(data) < 20:
                raise OSError(28, "No space left on device")
            return write(descriptor, data[: len(data) - 10])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            log.decide("b", "good")
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert set(log.book.labels) == {"a"}
        log.decide("c", "bad", [1])
    assert set(read_labels(path)) == {"a", "c"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello\n", "no file of labels"),
        ('{"format": 9, "question": "pick"}\n', "format 9"),
        ('{"format": 1, "question": "taste"}\n', "no question is called 'taste'"),
        ('{"format": 1, "question": "pick"}\nxx\n{}\n', "line 2"),
        ('{"format": 1, "question": "pick"}\n{"item": "a", "answer": "maybe"}\n', "got 'maybe'"),
        ('{"format": 1, "question": "pick"}\n{"item": 3, "answer": "good"}\n', "named by a text"),
        ('{"format": 1, "question": "pick"}\n{"undo": "a"}\n', "not the latest"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_labels(path)


def test_another_question_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    LabelLog(path, "mask").close()
    with pytest.raises(ValueError, match="answers the question 'mask', not 'pick'"):
        LabelLog(path, "pick")
    with pytest.raises(ValueError, match="not 'completion'"):
        read_labels(path, "completion")
    with pytest.raises(FileNotFoundError, match="multiplane data label"):
        read_labels(tmp_path / "none.jsonl")


def test_reasons_belong_to_their_question_and_to_a_no() -> None:
    for asked in QUESTIONS.values():
        assert set(asked.reasons) <= set(range(1, 10))
        assert check_answer(asked, "bad", [9, 1]) == ("bad", (1, 9))
        for answer, reasons in (("good", [1]), ("bad", [8]), ("bad", "1"), ("bad", [True])):
            with pytest.raises(ValueError, match="reason"):
                check_answer(asked, answer, reasons)


def test_the_summary_counts_what_stands(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "completion") as log:
        for item, reasons in (("a", [1]), ("b", [1, 2]), ("c", [])):
            log.decide(item, "bad", reasons)
        log.decide("d", "good")
        log.decide("a", "good")
    lines = summary(read_book(path)).splitlines()
    assert lines[0] == "good 2, bad 2, skip 0"
    assert sorted(line.split(maxsplit=1)[0] for line in lines[1:]) == ["1", "1"]
