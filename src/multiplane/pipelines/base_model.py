"""The diffusers model a family stands on: where it lies, its scheduler, and that it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

KARRAS = " karras"


def near(folder: Path, source: str) -> str:
    """`source` as a path where `folder` holds it, so a config file can name its neighbours."""
    if not source:
        return source
    beside = folder / source
    return str(beside) if beside.exists() else source


def base_missing(base: str, error: OSError, kinds: str, config: str) -> FileNotFoundError:
    """What to raise for a base that diffusers could not load. kinds: what `base` may be, in words;
    config: the file that names it."""
    reason = str(error).strip().splitlines()[0].partition(" (")[0]
    return FileNotFoundError(
        f"the base model {base!r} cannot be loaded ({reason}): download it where the hub can be "
        f"reached, or name {kinds} as `base` in a {config} and pass that with --weights"
    )


def scheduler_named(name: str, config: Mapping[str, Any]) -> Any:
    """A diffusers scheduler by class name, `config` its settings; "NAME karras" for Karras's times.

    Raises ValueError for a name that is no scheduler."""
    plain = name.removesuffix(KARRAS)
    kind = getattr(diffusers, plain, None) if plain.endswith("Scheduler") else None
    if kind is None:
        raise ValueError(
            f"{name!r} is no scheduler of diffusers: name a class such as "
            "EulerAncestralDiscreteScheduler, or 'DPMSolverMultistepScheduler karras'"
        )
    extra = {"use_karras_sigmas": True} if name.endswith(KARRAS) else {}
    return kind.from_config(config, **extra)
