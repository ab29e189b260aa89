"""Photographs of clear rights with one thing in them, written out as a folder for the photo
pipeline: what `layer-photos` reads, each with its caption.

They are the ones of `tables/photographs.tsv`, in a package's resource archives. What the pipeline
cuts out of them teaches the quality classifiers what a cut photograph looks like.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from multiplane.data.qt_resources import read_resources
from multiplane.io.atomic import write_bytes
from multiplane.weights.sources import locate

PACKAGE = "gcompris"
ARCHIVES = "usr/share/gcompris-qt/rcc"
INSIDE = "gcompris/src/activities/"


@dataclass(frozen=True)
class Photograph:
    """path: below `INSIDE` in the archive named by its first folder. by: who made it."""

    path: str
    licence: str
    by: str
    caption: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def read_table() -> list[Photograph]:
    """Every photograph of the table, in its order."""
    text = (resources.files("multiplane.data") / "tables" / "photographs.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return [Photograph(*row) for row in rows]


def photograph_bytes(wanted: list[Photograph]) -> Iterator[tuple[Photograph, bytes]]:
    """Each with its file as it lies in the package. Raises FetchError when the package cannot be
    had, ValueError when an archive is damaged or lacks one."""
    folder = locate(PACKAGE) / ARCHIVES
    for activity in dict.fromkeys(each.path.partition("/")[0] for each in wanted):
        archive = folder / f"{activity}.rcc"
        files = dict(read_resources(archive.read_bytes()))
        for each in wanted:
            if each.path.partition("/")[0] == activity:
                if INSIDE + each.path not in files:
                    raise ValueError(f"{archive} holds no {INSIDE}{each.path}")
                yield each, files[INSIDE + each.path]


def write_photographs(out: Path, names: Collection[str] | None = None) -> list[Path]:
    """The photographs of those names (None: all) in the folder `out`, a caption beside each, and
    CREDITS.tsv with maker and licence. Raises as `photograph_bytes`."""
    wanted = [each for each in read_table() if names is None or each.name in names]
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for each, data in photograph_bytes(wanted):
        written.append(out / each.name)
        write_bytes(written[-1], data)
        write_bytes(written[-1].with_suffix(".txt"), f"{each.caption}\n".encode())
    credits = [f"{each.name}\t{each.by}\t{each.licence}\n" for each in wanted]
    write_bytes(out / "CREDITS.tsv", "".join(credits).encode())
    return written
