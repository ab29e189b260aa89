"""Provenance and the small per-layer facts that formats keep as JSON text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, cast, get_args

import numpy as np

from multiplane.core.document import Provenance, Role

ROLES = get_args(Role)
MAX_JSON_BYTES = 16 << 20


def dumps(value: Any, indent: int | None = None) -> str:
    """ASCII JSON that every parser reads: numpy numbers as numbers, infinite and undefined ones
    as the strings "inf", "-inf", "nan" (JSON has no such numbers).

    Raises ValueError for what JSON cannot hold, naming where it lies."""
    return json.dumps(plain(value, "provenance"), indent=indent, allow_nan=False)


def plain(value: Any, where: str) -> Any:
    """`value` as nested dict, list, str, int, float, bool and None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    raise ValueError(
        f"{where} is a {type(value).__name__}; files keep only text, numbers, lists and mappings: "
        "convert it before putting it into the document"
    )


def loads(text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else, or for more than 16 MB of it."""
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"{len(text):,} bytes of JSON, more than {MAX_JSON_BYTES:,}")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error
    return mapping(value, "the metadata")


def mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, got {type(value).__name__}")
    return value


def provenance_to_json(provenance: Provenance) -> dict[str, Any]:
    """Every field, as plain JSON values."""
    return {
        "model": provenance.model,
        "version": provenance.version,
        "seed": provenance.seed,
        "request": plain(provenance.request, "provenance.request"),
        "report": plain(provenance.report, "provenance.report"),
    }


def provenance_from_json(data: Any) -> Provenance:
    """What `provenance_to_json` made. Raises ValueError for values of the wrong type."""
    known = mapping(data, "provenance")
    seed = known.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValueError(f"provenance.seed must be a whole number, got {seed!r}")
    texts = {key: known.get(key, "") for key in ("model", "version")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"provenance.{key} must be text, got {text!r}")
    return Provenance(
        **texts,
        seed=seed,
        request=mapping(known.get("request", {}), "provenance.request"),
        report=mapping(known.get("report", {}), "provenance.report"),
    )


def role_from_json(value: Any) -> Role | None:
    """A role, or None for None. Raises ValueError for an unknown one."""
    if value is not None and value not in ROLES:
        raise ValueError(f"unknown role {value!r}: known are {', '.join(ROLES)}")
    return cast("Role | None", value)
