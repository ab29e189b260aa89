"""`multiplane models`: the families there are and what they can do."""

from __future__ import annotations

from multiplane.apps.cli.options import AsJson
from multiplane.apps.cli.terminal import say, say_json
from multiplane.core.family import FamilyEntry
from multiplane.core.request import PLANE_KINDS, TASK_TABLE, Task


def models(as_json: AsJson = False) -> None:
    """List the families of models, and the rows of the task table each can do."""
    from multiplane.engine import families

    known = families()
    if as_json:
        say_json(
            {
                "models": [
                    {
                        "name": entry.name,
                        "summary": entry.summary,
                        "clips": entry.clips,
                        "tasks": [str(task) for task in _rows(entry)],
                        "install": f"pip install '{entry.extra}'",
                    }
                    for entry in known.values()
                ]
            }
        )
        return
    for entry in known.values():
        say(f"{entry.name}: {entry.summary}")
        say(f"  needs: pip install '{entry.extra}'")
        say(f"  makes {'stills and clips' if entry.clips else 'stills'}; given -> wanted:")
        for task in _rows(entry):
            say(f"    {_named(task.given)} -> {_named(task.wanted)}")


def _rows(entry: FamilyEntry) -> list[Task]:
    """The rows a family can do: those of the task table in its order, then its own."""
    return [
        *(task for task in TASK_TABLE if task in entry.tasks),
        *sorted(entry.tasks - set(TASK_TABLE), key=str),
    ]


def _named(planes: frozenset[str]) -> str:
    return ", ".join(kind for kind in PLANE_KINDS if kind in planes) or "nothing"
