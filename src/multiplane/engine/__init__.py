"""Load a family by name, check and run a request, recomposition, and actions on documents."""

from multiplane.engine.entries import MissingExtra, families, families_for, register
from multiplane.engine.generated import GeneratedDocument
from multiplane.engine.model import Model, load
from multiplane.engine.planes import UNSAID, build_request, plane

__all__ = [
    "UNSAID",
    "GeneratedDocument",
    "MissingExtra",
    "Model",
    "build_request",
    "families",
    "families_for",
    "load",
    "plane",
    "register",
]
