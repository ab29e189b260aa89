"""The command, run in this process, with a family of flat shapes at hand."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import multiplane
from flat_family import CUT_ONLY, FLAT
from multiplane.apps.cli.main import main
from multiplane.engine import entries


@dataclass(frozen=True)
class Done:
    """How a command ended. out, err: what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value and nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    monkeypatch.setattr(entries, "_registered", {})
    multiplane.register(FLAT)
    multiplane.register(CUT_ONLY)

    def run(*arguments: Any) -> Done:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, captured.out, captured.err)

    return run
