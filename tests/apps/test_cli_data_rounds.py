"""`multiplane data rounds`, `data layer-pairs` and `data label` as commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_pictures import disc
from multiplane.data.labels import LabelLog, read_labels
from multiplane.data.rounds import rounds_in
from small_world import write_shards


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\na dog\na cow\na fox\n")
    return path


def pick(path: Path, keys: list[str], answer: str = "good") -> Path:
    with LabelLog(path, "pick") as log:
        for key in keys:
            log.decide(key, answer)
    return path


def test_rounds_by_labels_of_a_file(
    tmp_path: Path, prompts: Path, command: Callable[..., Any]
) -> None:
    write_shards(tmp_path / "base")
    folder = tmp_path / "rounds"
    picks = pick(tmp_path / "picks.jsonl", ["r000-00000", "r000-00003"])
    line = ("data", "rounds", folder, "--count", 4, "--prompts", prompts, "-m", "flat")
    line += ("--base", tmp_path / "base", "--picks", picks)
    done = command(*line)
    assert done.code == 0, done.err
    assert "2 of 4 picked (50%)" in done.out
    # three concepts of the base, two new ones of twice their weight
    assert "57.14% of the foregrounds of style '3d'" in done.out
    (made,) = rounds_in(folder)
    times = {path: path.stat().st_mtime_ns for path in made.pictures_folder.iterdir()}
    assert command(*line).code == 0  # the same again changes nothing
    assert {path: path.stat().st_mtime_ns for path in made.pictures_folder.iterdir()} == times
    wrong = command("data", "rounds", folder, "--count", 9)
    assert wrong.code == 2
    assert "count is 4, not 9" in wrong.error
    later = pick(tmp_path / "later.jsonl", ["r001-00001"])
    done = command("data", "rounds", folder, "--next", "--seed", 5, "--picks", later)
    assert done.code == 0, done.err
    assert [each.settings.seed for each in rounds_in(folder)] == [0, 5]
    assert rounds_in(folder)[1].settings.count == 4
    mixed = command("data", "rounds", folder, "--picks", picks)
    assert mixed.code == 1
    assert "no picture of round 1" in mixed.error


def test_a_round_stays_open_until_it_is_closed(
    tmp_path: Path, prompts: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is stood in for by one that decides the first picture and is closed."""
    from multiplane.apps.cli import data_rounds

    seen = []

    def page(items: Any, out: Path, question: str, *_: Any) -> None:
        seen.append((len(items), question))
        pick(out, [items[0].key])

    monkeypatch.setattr(data_rounds, "run_picker", page)
    line = ("data", "rounds", tmp_path / "r", "--count", 3, "--prompts", prompts, "-m", "flat")
    done = command(*line)
    assert done.code == 0, done.err
    assert "2 of 3 undecided" in done.out
    assert rounds_in(tmp_path / "r")[0].picked() is None
    done = command("data", "rounds", tmp_path / "r", "--close")
    assert "1 of 3 picked" in done.out
    assert seen == [(3, "pick")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "needs --count"),
        (["--count", 3], "--prompts, or --base"),
        (["--count", 3, "--prompts", "none.txt"], "no prompts at none.txt"),
        (["--count", 3, "--base", "none"], "none"),
    ],
)
def test_a_round_that_cannot_begin(
    tmp_path: Path, command: Callable[..., Any], more: list[Any], said: str
) -> None:
    done = command("data", "rounds", tmp_path / "r", *more)
    assert done.code in (1, 2)
    assert said in done.error
    assert not (tmp_path / "r").exists()


def test_layer_pairs_from_a_file_and_from_our_lists(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    triples = tmp_path / "triples.txt"
    triples.write_text("a cat | a cat outside | outside\nbroken | line\n")
    line = ("data", "layer-pairs", "-m", "flat", "--erode", 2, "-o")
    done = command(*line, tmp_path / "one", "--prompts", triples)
    assert done.code == 0, done.err
    assert "1  scene-made-train" in done.out
    assert "skipped pair-000001: line 2: expected one text" in done.out
    done = command(*line, tmp_path / "two", "--count", 3, "--road", "planes", "--scale", "0.5:0.8")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["counts"] == {"scene-made-train": 3}
    assert manifest["recipe"]["layer_pairs"]["config"]["scale"] == [0.5, 0.8]
    assert command("data", "sheet", tmp_path / "two", "-o", tmp_path / "two.png").code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "say how many with --count"),
        (["--count", 1, "-m", "cut-only"], "layer pairs need"),
        (["--count", 1, "--erode", 1, "--scale", "2"], "scale must be"),
        (["--count", 1, "--scale", "a:b"], "expected a number"),
        (["--count", 1, "--road", "rail"], "road must be"),
        (["--count", 1, "--score", "x"], "NAME=MODULE:FUNCTION"),
        (["--count", 1, "--score", "x=none.such:f"], "cannot be loaded"),
    ],
)
def test_layer_pairs_asked_for_wrongly(
    tmp_path: Path, command: Callable[..., Any], more: list[Any], said: str
) -> None:
    done = command("data", "layer-pairs", "-o", tmp_path / "out", "-m", "flat", *more)
    assert done.code in (1, 2)
    assert said in done.error


def test_labelling_from_command_to_file(tmp_path: Path) -> None:
    """The whole command in a process of its own, its page asked as a browser would."""
    (tmp_path / "cuts").mkdir()
    for index in range(3):
        disc(16, index).save(tmp_path / "cuts" / f"{index}.png")
    out = tmp_path / "labels.jsonl"
    line = [sys.executable, "-m", "multiplane.apps.cli.main", "data", "label", tmp_path / "cuts"]
    process = subprocess.Popen(
        [*map(str, line), "-o", str(out), "--no-open"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[0]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)

    def post(route: str, body: dict[str, Any]) -> None:
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url + route, data, kind), timeout=20).close()

    post("decisions", {"index": 1, "answer": "bad", "reasons": [1]})
    post("decisions", {"index": 0, "answer": "good"})
    post("finish", {})
    printed = process.stdout.read()
    assert process.wait(20) == 0
    assert "2 of 3 decided: pick 1, leave 1, skip 0" in printed
    assert {item: label.answer for item, label in read_labels(out).items()} == {
        "0": "good",
        "1": "bad",
    }


def test_label_says_what_is_wrong(tmp_path: Path, command: Callable[..., Any]) -> None:
    disc(16).save(tmp_path / "cat.png")
    label = ("data", "label", tmp_path, "-o", tmp_path / "l.jsonl", "--no-open", "--question")
    assert "no question is called 'taste'" in command(*label, "taste").error
    assert "it needs a mask" in command(*label, "mask").error
    assert "no folder or shard" in command("data", "label", "none", "-o", "l.jsonl").error
