"""Whether anything may be downloaded: one switch for packages and the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH = "MULTIPLANE_OFFLINE"


def offline() -> bool:
    """Whether `MULTIPLANE_OFFLINE` forbids downloads."""
    return os.environ.get(SWITCH, "0").lower() not in ("", "0", "false", "no")


@contextmanager
def working_offline(wanted: bool = True) -> Iterator[None]:
    """Inside the block nothing is downloaded, where `wanted`; else the switch stays as it is."""
    before = os.environ.get(SWITCH)
    if wanted:
        os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        if before is not None:
            os.environ[SWITCH] = before
        elif wanted:
            del os.environ[SWITCH]
