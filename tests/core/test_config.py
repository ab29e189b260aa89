"""Typed configuration: what is read, what is refused, and that the message says where."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from multiplane.core.config import from_table, read_config, to_table


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    split: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    out: Path
    inner: Inner = field(default_factory=Inner)
    names: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    fast: bool = False


def test_a_file_becomes_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'out = "runs/é"\nnames = ["x", "y"]\nkind = "b"\nlimit = 3\nfast = true\n'
        "[inner]\nrate = 2\nsplit = [3, 4]\n[weights]\nflat = 1\n",
        encoding="utf-8",
    )
    config = read_config(Outer, path)
    assert config == Outer(
        Path("runs/é"), Inner(2.0, (3, 4)), ("x", "y"), {"flat": 1.0}, "b", 3, True
    )
    assert type(config.inner.rate) is type(config.weights["flat"]) is float


def test_what_is_left_out_keeps_its_default() -> None:
    assert from_table(Outer, {"out": "o"}) == Outer(Path("o"))
    assert from_table(Outer, {"out": "o", "limit": None}).limit is None


def test_a_table_comes_back_through_json() -> None:
    config = Outer(Path("o"), Inner(0.1, (5, 6)), ("x",), {"flat": 0.3}, "b", 7, True)
    assert from_table(Outer, json.loads(json.dumps(to_table(config)))) == config


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"speed": 1}, r"config: unknown key 'speed'; it may hold fast, inner, kind"),
        ({"inner": {"speed": 1}}, r"config\.inner: unknown key 'speed'; it may hold rate, split"),
        ({"inner": 3}, r"config\.inner must be a table, got 3"),
        ({"inner": {"rate": -1.0}}, r"config\.inner: rate must be at least 0, got -1\.0"),
        ({"inner": {"rate": True}}, r"config\.inner\.rate must be of type float, got True"),
        ({"inner": {"split": [1]}}, r"config\.inner\.split takes 2 values, got 1"),
        ({"inner": {"split": [1, "2"]}}, r"config\.inner\.split\[1\] must be of type int, got '2'"),
        ({"names": "red apple"}, r"config\.names must be a list, got 'red apple'"),
        ({"names": ["x", 4]}, r"config\.names\[1\] must be of type str, got 4"),
        ({"weights": {"flat": "much"}}, r"config\.weights\.flat must be of type float, got 'much'"),
        ({"weights": [1.0]}, r"config\.weights must be a table"),
        ({"kind": "c"}, r"config\.kind must be one of 'a', 'b', got 'c'"),
        ({"limit": 1.5}, r"config\.limit must be of type int, got 1\.5"),
        ({"fast": 1}, r"config\.fast must be of type bool, got 1"),
        ({"out": 1}, r"config\.out must be of type str, got 1"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_table(Outer, {"out": "o", **table})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"run\.toml lacks out"):
        from_table(Outer, {}, "run.toml")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("out = \n")
    with pytest.raises(ValueError, match=r"broken\.toml is not valid TOML"):
        read_config(Outer, path)
