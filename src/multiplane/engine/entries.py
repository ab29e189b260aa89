"""The list of families by name, and loading one.

A third party adds its own through the entry point group "multiplane.families" (each entry point is
a `FamilyEntry`), or at run time with `register`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from pathlib import Path
from typing import cast

from multiplane.core.family import Family, FamilyEntry, FamilyLoader
from multiplane.core.request import TASK_TABLE, RequestError, Task, tasks_of

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "multiplane.families"

_BUILT_IN = (
    FamilyEntry(
        name="tiny",
        target="multiplane.pipelines.tiny:TinyFamily",
        summary="small model of our own, its weights in the package; runs offline on a CPU",
        tasks=frozenset((*TASK_TABLE, Task.of("-> foreground background"))),
        extra="multiplane[models]",
        clips=True,
    ),
    FamilyEntry(
        name="layerdiffuse-sdxl",
        target="multiplane.pipelines.layerdiffuse.family:LayerDiffuseXLFamily",
        summary="LayerDiffuse on SDXL; published files by hub id or path (docs/layerdiffuse.md)",
        tasks=tasks_of(
            "-> foreground",
            "-> foreground background composite",
            "foreground -> background composite",
            "background -> foreground composite",
            "foreground composite -> background",
            "background composite -> foreground",
            "-> composite",
        ),
        extra="multiplane[diffusers]",
    ),
    FamilyEntry(
        name="layerdiffuse-sd15",
        target="multiplane.pipelines.layerdiffuse.family:LayerDiffuseSD15Family",
        summary="LayerDiffuse on Stable Diffusion 1.5; published files by hub id or path",
        tasks=tasks_of(
            "-> foreground",
            "-> foreground background composite",
            "foreground -> background composite",
            "background -> foreground composite",
            "-> composite",
        ),
        extra="multiplane[diffusers]",
    ),
    FamilyEntry(
        name="text2layer",
        target="multiplane.pipelines.text2layer:Text2LayerFamily",
        summary="two layers from one caption by latent diffusion; weights by its recipe",
        tasks=tasks_of("-> foreground background composite", "-> composite"),
        extra="multiplane[diffusers]",
    ),
    FamilyEntry(
        name="layerflow",
        target="multiplane.pipelines.layerflow.family:LayerFlowFamily",
        summary="layered clips on CogVideoX-2B; converted or trained weights (docs/layerflow.md)",
        tasks=tasks_of(
            "-> foreground background composite",
            "composite -> foreground background",
            "foreground -> background composite",
            "background -> foreground composite",
        ),
        extra="multiplane[diffusers]",
        clips=True,
    ),
    FamilyEntry(
        name="cutout",
        target="multiplane.pipelines.cutout:CutoutFamily",
        summary="photographs into layers: matte, refined edge, completed background; no prompts",
        tasks=tasks_of(
            "composite -> foreground background",
            "composite -> foreground",
            "foreground composite -> background",
            "background composite -> foreground",
        ),
        extra="multiplane[cutout]",
    ),
)
_registered: dict[str, FamilyEntry] = {entry.name: entry for entry in _BUILT_IN}


class MissingExtra(ImportError):
    """A family, or another optional part, needs packages that are not installed."""


def register(entry: FamilyEntry) -> None:
    """Add `entry` to the list of families of this process. Raises ValueError when taken."""
    known = _registered.setdefault(entry.name, entry)
    if known != entry:
        raise ValueError(f"the family name {entry.name!r} is taken by {known.target}")


def families() -> dict[str, FamilyEntry]:
    """Every family by name: the built-in ones, the registered ones, those of entry points."""
    found = dict(_registered)
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        entry = point.load()
        if not isinstance(entry, FamilyEntry):
            raise ValueError(
                f"the entry point {point.name!r} ({point.value}) must be a FamilyEntry, got "
                f"{type(entry).__name__}: tell its author"
            )
        if found.setdefault(entry.name, entry) != entry:
            log.warning("the family %r of %s is hidden by another one", entry.name, point.value)
    return found


def families_for(task: Task) -> list[str]:
    """Names of the families that say they can do `task`."""
    return sorted(entry.name for entry in families().values() if task in entry.tasks)


def load_family(name: str, path: Path | None = None) -> Family:
    """The family called `name` with its own weights, or those at `path`.

    Raises RequestError for an unknown name, MissingExtra with the install command when a package
    is missing, and what the family raises for weights that are absent or broken."""
    known = families()
    if name not in known:
        raise RequestError(f"no family is called {name!r}; there are {', '.join(sorted(known))}")
    entry = known[name]
    module_name, _, class_name = entry.target.partition(":")
    own_package = module_name.partition(".")[0]
    try:
        loader = cast(FamilyLoader, getattr(importlib.import_module(module_name), class_name))
        return loader.load(path)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == own_package:
            raise
        raise MissingExtra(
            f"the family {name!r} needs {missing}, which is not installed: "
            f"pip install '{entry.extra}'",
            name=missing,
        ) from error
