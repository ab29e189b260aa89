"""What goes wrong with files, and how it is said."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class FileFormatError(ValueError):
    """The file is damaged, too large, hostile, or not what its name says."""


class CapabilityError(ValueError):
    """The document holds something that the format cannot."""


class BakedWarning(UserWarning):
    """Something was written or read as plain pixels, or left out, because the format (or the
    document) has no place for it. The message names the layer and the feature."""


AGAIN = "use an intact copy, or save it again from the program that made it"


def bad_file(path: str | os.PathLike[str], problem: str, remedy: str = AGAIN) -> FileFormatError:
    """A FileFormatError that names the file, what is wrong and what to do."""
    return FileFormatError(f"{os.fspath(path)}: {problem}; {remedy}")


def baked(message: str) -> None:
    """Say it once: something was baked or left out."""
    warnings.warn(message, BakedWarning, stacklevel=3)


@contextmanager
def decoding(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Around a decoder: whatever it raises over bad bytes becomes one FileFormatError.

    Decoders raise anything over a flipped bit (struct.error, KeyError, zlib.error, ...), so here,
    at the boundary to them, and only here, every Exception is taken for a bad file."""
    try:
        yield
    except (FileFormatError, BakedWarning, FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise bad_file(path, f"cannot be read as {kind} ({reason})") from error
