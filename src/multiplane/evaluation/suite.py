"""Run the parts of an evaluation one by one, each resumable: a finished part is not run again."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiplane.evaluation.bench import Bench
from multiplane.evaluation.entries import PARTS, PartEntry
from multiplane.io.atomic import write_bytes

log = logging.getLogger(__name__)

REPORT = "evaluation.json"
FORM = 2  # raise it when figures of the same name change their meaning


def run_suite(bench: Bench, parts: Sequence[PartEntry], fresh: bool = False) -> dict[str, Any]:
    """Run the parts; returns what `evaluation.json` holds.

    Every part's figures are written as `PART.json` when it ends. A part whose file was written for
    the same weights, data and settings is read back instead, unless `fresh`."""
    setting = setting_of(bench)
    for entry in parts:
        path = bench.out / f"{entry.name}.json"
        if not fresh and finished(path, setting) is not None:
            log.info("%s is there already: %s", entry.name, path)
            continue
        start = time.perf_counter()
        figures = importlib.import_module(f"multiplane.evaluation.parts.{entry.module}").run(bench)
        record = {
            "part": entry.name,
            "what": entry.summary,
            "setting": setting,
            "minutes": round((time.perf_counter() - start) / 60, 2),
            "figures": figures,
        }
        write_json(path, record)
    return collect(bench.out, setting, bench.weights_bytes)


def collect(out: Path, setting: dict[str, Any], weights_bytes: int | None = None) -> dict[str, Any]:
    """Every finished part of this setting as one `evaluation.json`."""
    records = {entry.name: finished(out / f"{entry.name}.json", setting) for entry in PARTS}
    report = {
        "setting": setting,
        "weights": {
            "name": setting["model"],
            "version": setting["version"],
            "bytes": weights_bytes,
        },
        "minutes": {name: record["minutes"] for name, record in records.items() if record},
        "parts": {name: record["figures"] for name, record in records.items() if record},
    }
    write_json(out / REPORT, report)
    return report


def finished(path: Path, setting: dict[str, Any]) -> dict[str, Any] | None:
    """A part's record, if its file is whole and was written for this setting."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    fits = isinstance(record, dict) and record.get("setting") == setting
    return record if fits else None


def setting_of(bench: Bench) -> dict[str, Any]:
    """What the figures depend on, in a form that JSON gives back unchanged."""
    from multiplane import __version__

    return {
        "form": FORM,
        "multiplane": __version__,
        "model": bench.family.name,
        "version": bench.family.version,
        "weights": bench.weights,
        "side": bench.side,
        "seed": bench.seed,
        "limit": bench.limit,
        "options": dict(bench.options),
        "data": {name: _digest(bench.shards / name) for name in ("assets", "scenes")},
    }


def _digest(folder: Path) -> str:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return "none"
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())
