"""Two evaluations in one table: what changed, which way, and what cannot be compared."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from multiplane.apps.cli.main import main
from multiplane.evaluation.comparison import compare, figures_of, markdown, read_report, tally
from multiplane.evaluation.entries import PARTS
from multiplane.evaluation.measured import MEASURED

SUMMARY = {"mean": 2.0, "median": 2.0, "std": 0.0, "min": 1.0, "max": 3.0, "n": 2}
REPORT: dict[str, Any] = {
    "setting": {
        "form": 2, "multiplane": "0.1.0", "model": "tiny", "version": "1.1", "weights": "aaaa",
        "side": 128, "seed": 0, "limit": None, "options": {},
        "data": {"assets": "a1", "scenes": "b2"},
    },
    "weights": {"name": "tiny", "version": "1.1", "bytes": 50_000_000},
    "parts": {
        "speed": {"cases": {"three planes": {"seconds": 3.0}, "one plane": {"seconds": 1.0}}},
        "retrieval": {
            "retrieval": {
                "gallery": 981,
                "all": {"top5": 0.25, "ceiling": 0.75, "floor": 0.01},
                "found": {"train-00": {"hit": True}},
            },
            "copying": {"rate": 0.2, "rate of held-out real assets": 0.248},
            "kid": {"made to real": {"value": 0.05, "spread": 0.01}},
            "soft alpha": {"distance of made to real": 0.011, "soft share, made": SUMMARY},
            "empty": 1,
            "seconds": SUMMARY,
        },
        "clips": {"frames": 16, "from words": {"alpha flicker": SUMMARY, "seconds": SUMMARY}},
    },
}  # fmt: skip


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    report = deepcopy(REPORT)
    report["setting"] |= {"version": "2.0", "weights": "bbbb"}
    report["weights"]["bytes"] = 40_000_000
    report["parts"] |= parts
    return report


def rows_of(table: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in cells}


def written(folder: Path, report: Any) -> Path:
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(report))
    return folder


def test_every_figure_has_its_change_and_its_verdict() -> None:
    new = changed(
        speed={"cases": {"three planes": {"seconds": 2.0}, "four planes": {"seconds": 4.0}}}
    )
    new["parts"]["retrieval"]["retrieval"]["all"]["top5"] = 0.5
    new["parts"]["retrieval"]["kid"]["made to real"]["value"] = 0.06
    new["parts"]["retrieval"]["soft alpha"]["soft share, made"] = {**SUMMARY, "mean": 2.5}
    rows = rows_of(markdown(REPORT, new))
    assert rows["weights"] == ["tiny 1.1", "tiny 2.0", "", ""]
    assert rows["size of the weights, MB"] == ["50.0", "40.0", "-10.0", "better"]
    assert rows["three planes, seconds"] == ["3.00", "2.00", "-1.00", "better"]
    assert rows["one plane, seconds"] == ["1.00", "-", "-", ""]
    assert rows["four planes, seconds"] == ["-", "4.00", "-", ""]
    assert rows["top-5, all"] == ["25.0%", "50.0%", "+25.0 points", "better"]
    assert rows["KID"] == ["0.0500", "0.0600", "+0.0100", "worse"]
    assert rows["copy rate"] == ["20.0%", "20.0%", "+0.0 points", "same"]
    assert rows["soft share"] == ["200.0%", "250.0%", "+50.0 points", ""]  # no known direction
    assert rows["from words: seconds"] == ["2.0", "2.0", "+0.0", "same"]
    assert rows["from words: alpha flicker"][3] == ""
    assert "gallery" not in markdown(REPORT, new)


def test_the_figures_of_a_part_stand_together_whichever_run_has_them() -> None:
    new = changed(control={"own words": {"mask iou": SUMMARY}, "other words": {"mask iou": {}}})
    del new["parts"]["speed"]
    lines = compare(REPORT, new)
    parts = [line.part for line in lines]
    assert list(dict.fromkeys(parts)) == ["speed", "retrieval", "control", "clips"]
    assert parts == sorted(parts, key=list(dict.fromkeys(parts)).index)
    assert [line.name for line in lines if line.part == "control"] == ["mask IoU, own words"]
    assert tally(lines).endswith("3 in one of them only")


def test_runs_of_other_settings_are_not_compared() -> None:
    for name, value in (("seed", 7), ("limit", 8), ("data", {"assets": "zz"}), ("form", 3)):
        new = changed()
        new["setting"][name] = value
        with pytest.raises(
            ValueError, match=f"different {name}: .* and {re.escape(json.dumps(value))};"
        ):
            compare(REPORT, new)
    new = changed()
    new["setting"]["options"] = {"steps": 8}
    assert rows_of(markdown(REPORT, new))["steps and guidance asked for"][:2] == ["-", "steps 8"]


def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no evaluation\.json"):
        read_report(tmp_path)
    with pytest.raises(ValueError, match="lacks setting or parts"):
        read_report(written(tmp_path / "other", {"pictures": 3}))
    torn = written(tmp_path / "torn", {})
    (torn / "evaluation.json").write_text("{ torn")
    with pytest.raises(ValueError, match="run the evaluation again"):
        read_report(torn)


def test_every_part_has_measures_and_names_are_told_once() -> None:
    assert {measure.part for measure in MEASURED} == {entry.name for entry in PARTS}
    assert {measure.better for measure in MEASURED} == {"more", "less", "unknown"}
    found = [(each.part, each.name) for each in figures_of(REPORT)]
    assert len(found) == len(set(found))


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = written(tmp_path / "old", REPORT), written(tmp_path / "new", changed())

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", "compare", *arguments])
        return int(left.value.code or 0)

    assert run(str(old), str(new), "-o", str(tmp_path / "table.md")) == 0
    assert (tmp_path / "table.md").read_text() == markdown(REPORT, changed()) + "\n"
    assert "figures: 0 better, 0 worse" in capsys.readouterr().out
    assert run(str(old), str(new)) == 0
    assert "| top-5, all | 25.0% | 25.0% | +0.0 points | same |" in capsys.readouterr().out
    assert run(str(old), str(tmp_path)) == 1
    assert "is no evaluation" in capsys.readouterr().err
