"""Checkpoints that survive a kill: written beside, then renamed; two kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

STATE = "state.pt"
META = "meta.json"


def save(folder: Path, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
    """Write `folder/step-0000123` with the tensors of `state` and the JSON of `meta`; the newest
    two are kept. Only one process may call it; the others wait at a barrier after it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:07d}"
    partial = folder / f".partial-{step:07d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    torch.save(dict(state), partial / STATE)
    (partial / META).write_text(json.dumps({**meta, "step": step}, indent=1), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in sorted(folder.glob("step-*"))[:-2]:
        shutil.rmtree(old)
    return target


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load(path: Path) -> dict[str, Any]:
    """The state saved in `path`, a folder that `save` wrote, on CPU."""
    return torch.load(path / STATE, map_location="cpu", weights_only=True)
