"""The command line of a recipe that takes one path."""

from __future__ import annotations

import sys
from pathlib import Path


def path_argument(usage: str | None) -> Path:
    """The one argument the program was given; otherwise it ends with its usage."""
    if len(sys.argv) != 2:
        sys.exit(usage)
    return Path(sys.argv[1])
