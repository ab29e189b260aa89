"""Families by name: built in, registered, of entry points; what is missing is said."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flat_family import FLAT
from multiplane.core.family import FamilyEntry
from multiplane.core.request import TASK_TABLE, RequestError
from multiplane.engine import entries
from multiplane.engine.entries import MissingExtra, families, families_for, load_family, register


@pytest.fixture(autouse=True)
def own_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered families of one test are not those of the next."""
    monkeypatch.setattr(entries, "_registered", dict(entries._registered))


def entry(**changes: Any) -> FamilyEntry:
    facts = {
        "name": "third",
        "target": "flat_family:FlatFamily",
        "summary": "a third party's",
        "tasks": frozenset(TASK_TABLE[:2]),
        "extra": "third-party",
    }
    return FamilyEntry(**{**facts, **changes})


def test_tiny_is_there_without_torch() -> None:
    code = (
        "import sys, multiplane; found = multiplane.families()\n"
        "assert 'tiny' in found and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_register_and_load() -> None:
    register(entry())
    register(entry())  # twice the same is the same
    assert load_family("third").native_size == (48, 32)
    assert "third" in families_for(TASK_TABLE[0])
    assert "third" not in families_for(TASK_TABLE[2])
    with pytest.raises(ValueError, match="'third' is taken by flat_family:FlatFamily"):
        register(entry(target="elsewhere:Other"))


def test_entry_points_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="third", value="third:ENTRY", load=lambda: entry())
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    assert families()["third"].summary == "a third party's"
    assert load_family("third").name == "flat"
    wrong = SimpleNamespace(name="third", value="third:ENTRY", load=lambda: "flat")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [wrong])
    with pytest.raises(ValueError, match=r"'third' \(third:ENTRY\) must be a FamilyEntry, got str"):
        families()


def test_an_unknown_name_lists_the_known() -> None:
    register(FLAT)
    with pytest.raises(RequestError, match=r"no family is called 'huge'; there are .*flat, .*tiny"):
        load_family("huge")


def test_a_missing_package_comes_with_the_install_command(tmp_path: Path) -> None:
    register(entry(target="needs_more:Family", extra="multiplane[more]"))
    (tmp_path / "needs_more.py").write_text("import a_package_nobody_has.part\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(
            MissingExtra,
            match=re.escape(
                "the family 'third' needs a_package_nobody_has, which is not installed: "
                "pip install 'multiplane[more]'"
            ),
        ):
            load_family("third")
    finally:
        sys.path.remove(str(tmp_path))


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    register(FLAT)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_family("flat", tmp_path / "absent")
