"""Names of layers, and the prompts recorded for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from multiplane.core.document import LayerDocument

MAX_NAME_CHARACTERS = 80


def name_from(prompt: str, otherwise: str) -> str:
    """A layer's name: the prompt it was made from, cut short, or `otherwise` without one."""
    if len(prompt) <= MAX_NAME_CHARACTERS:
        return prompt or otherwise
    return prompt[: MAX_NAME_CHARACTERS - 1].rstrip() + "…"


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, or "name 2", "name 3", ... when it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate


def recorded_layers(document: LayerDocument) -> list[dict[str, Any]]:
    """What provenance says of the layers: {"name", "role", "prompt", "seed"} each.

    Provenance comes from files too: what does not look like an entry is left out."""
    entries = document.provenance.report.get("layers") if document.provenance else None
    if not isinstance(entries, list | tuple):
        return []
    return [
        dict(entry)
        for entry in entries
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    ]


def recorded_prompt(document: LayerDocument, name: str) -> str | None:
    """The prompt the layer called `name` was made from; None when none is recorded."""
    for entry in recorded_layers(document):
        if entry["name"] == name:
            prompt = entry.get("prompt")
            return prompt if isinstance(prompt, str) else None
    return None
