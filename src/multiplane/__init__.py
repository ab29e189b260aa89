"""Multiplane: layered pictures from prompts, planes and photos, alpha kept all the way.

    import multiplane

    model = multiplane.load("tiny")
    picture = model.generate(foreground="a red apple", background="a misty valley")
    picture.save("apple.psd")

Names load when they are first used, so `import multiplane` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiplane.core.clip import LayerClip
    from multiplane.core.composite import composite, composite_u8
    from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
    from multiplane.core.family import Family, FamilyEntry
    from multiplane.core.request import Control, LayerRequest, Plane, RequestError, Task
    from multiplane.engine import (
        GeneratedDocument,
        MissingExtra,
        Model,
        families,
        load,
        plane,
        register,
    )
    from multiplane.engine.decompose import NoSubject, decompose
    from multiplane.io.clips import read_clip, write_clip
    from multiplane.io.registry import read, write

__version__ = "0.1.0"

_HOMES = {
    "multiplane.core.clip": ("LayerClip",),
    "multiplane.core.composite": ("composite", "composite_u8"),
    "multiplane.core.document": ("Group", "Layer", "LayerDocument", "Mask", "Provenance"),
    "multiplane.core.family": ("Family", "FamilyEntry"),
    "multiplane.core.request": ("Control", "LayerRequest", "Plane", "RequestError", "Task"),
    "multiplane.engine": (
        "GeneratedDocument",
        "MissingExtra",
        "Model",
        "families",
        "load",
        "plane",
        "register",
    ),
    "multiplane.engine.decompose": ("NoSubject", "decompose"),
    "multiplane.io.clips": ("read_clip", "write_clip"),
    "multiplane.io.registry": ("read", "write"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Control",
    "Family",
    "FamilyEntry",
    "GeneratedDocument",
    "Group",
    "Layer",
    "LayerClip",
    "LayerDocument",
    "LayerRequest",
    "Mask",
    "MissingExtra",
    "Model",
    "NoSubject",
    "Plane",
    "Provenance",
    "RequestError",
    "Task",
    "__version__",
    "composite",
    "composite_u8",
    "decompose",
    "families",
    "load",
    "plane",
    "read",
    "read_clip",
    "register",
    "write",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'multiplane' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
