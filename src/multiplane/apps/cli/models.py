"""`multiplane models`: the families there are and what they can do."""

from __future__ import annotations

from multiplane.apps.cli.options import AsJson
from multiplane.apps.cli.terminal import say, say_json
from multiplane.core.request import TASK_TABLE


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
                        "tasks": [str(task) for task in TASK_TABLE if task in entry.tasks],
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
        say("  given -> wanted:")
        for task in TASK_TABLE:
            if task in entry.tasks:
                say(
                    f"    {' '.join(sorted(task.given)) or '-'} -> {str(task).rpartition('-> ')[2]}"
                )
