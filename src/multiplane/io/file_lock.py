"""A lock on an open file that the system drops when its process ends, however it ends."""

from __future__ import annotations

import sys

_FAR = 1 << 30  # Windows locks bytes: one far behind the end keeps the file readable


def lock_file(descriptor: int) -> bool:
    """Lock an open file for this process alone; False when another one holds it."""
    if sys.platform == "win32":
        import msvcrt
        import os

        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
