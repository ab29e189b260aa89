"""Every network the program can use: what it is, where it comes from, whether it is here and whole.

Three kinds: embedded in the package, fetched as a registry package, and files of the hub. Where the
hub has the networks of a package it is asked first.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from multiplane.io.checksum import sha256_of
from multiplane.weights import fetch, hub
from multiplane.weights.fetch import FetchError, Package
from multiplane.weights.hub import HubError, HubFile
from multiplane.weights.layerdiffuse.published import PUBLISHED
from multiplane.weights.onnx import package_folder
from multiplane.weights.sources import SOURCES
from multiplane.weights.unpack import ArchiveError, unpack

log = logging.getLogger(__name__)

Kind = Literal["embedded", "package", "hub"]
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Embedded:
    """A folder of networks inside the program (embedded/PART), with the checksums of its files."""

    name: str
    part: str
    licence: str
    use: str

    @property
    def folder(self) -> Path:
        return Path(str(resources.files("multiplane.weights") / "embedded" / self.part))

    def checksums(self) -> dict[str, str]:
        """file -> sha256, from SHA256SUMS as `sha256sum` writes it."""
        lines = (self.folder / CHECKSUMS).read_text("utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


EMBEDDED = (
    Embedded("tiny", "tiny", "Apache-2.0", "the default family: layered pictures, every task"),
    Embedded("u2netp", "cutout", "Apache-2.0 (U2-Net weights)", "the smallest salient matte"),
    Embedded("quality", "quality", "Apache-2.0", "is a mask good, is a completion good"),
)


@dataclass(frozen=True)
class WeightsEntry:
    """One row. licence_class: as of `Package`; "A" for what is embedded, "-" where the publisher
    states none that could be checked. size: bytes, of the download or on disk. kept: where it lies,
    None when it is not here."""

    name: str
    kind: Kind
    source: str
    size: int
    licence: str
    licence_class: str
    use: str
    kept: Path | None


@dataclass(frozen=True)
class Finding:
    """What `verify` found. problem: empty when everything is whole; else what is wrong and what to
    do about it."""

    name: str
    checked: int
    problem: str = ""


def catalogue() -> list[WeightsEntry]:
    """Every entry, embedded ones first; nothing is downloaded."""
    return [
        *(_embedded_entry(item) for item in EMBEDDED),
        *(_package_entry(name) for name, item in SOURCES.items() if item.kind == "weights"),
        *(_hub_entry(name) for name in sorted(PUBLISHED)),
    ]


def names() -> list[str]:
    return [
        *(item.name for item in EMBEDDED),
        *(name for name, item in SOURCES.items() if item.kind == "weights"),
        *sorted(PUBLISHED),
    ]


def get(name: str) -> Path:
    """Where the networks of that name lie, downloaded when they are not here.

    Raises KeyError for another name, FetchError or HubError when they cannot be had."""
    _known(name)
    if name in SOURCES:
        return network_folder(name)
    if name in PUBLISHED:
        return hub.download(_hub_file(name))
    return _embedded(name).folder


def network_folder(name: str) -> Path:
    """The folder with the networks of a package: from the hub where that has them, else unpacked
    from the package. Raises FetchError when neither can be had."""
    package = SOURCES[name]
    folder = fetch.unpacked_folder(package)
    if package.hub and not folder.is_dir():
        try:
            first, *_ = [hub.download(file) for file in package.hub]
            return first.parent
        except HubError as error:
            log.warning("%s; taking %s instead", error, package.source)
    folder = package_folder(name)
    return _folder_of(folder, package.hub[0].filename) if package.hub else folder


def _folder_of(folder: Path, filename: str) -> Path:
    found = sorted(folder.rglob(filename))
    if len(found) != 1:
        raise FetchError(f"expected one {filename} in {folder}, found {len(found)}")
    return found[0].parent


def verify(name: str) -> Finding | None:
    """Read everything of that name anew and compare checksums; None when nothing of it is here.

    Raises KeyError for a name that is not in the catalogue."""
    _known(name)
    if name in SOURCES:
        return _verify_package(name, SOURCES[name])
    if name in PUBLISHED:
        return _verify_hub(name, [_hub_file(name)])
    return _verify_embedded(_embedded(name))


def _known(name: str) -> None:
    if name not in names():
        raise KeyError(f"no weights are called {name!r}; there are {', '.join(names())}")


def _embedded(name: str) -> Embedded:
    return next(item for item in EMBEDDED if item.name == name)


def _hub_file(name: str) -> HubFile:
    return HubFile(PUBLISHED[name].repository, PUBLISHED[name].filename)


def _embedded_entry(item: Embedded) -> WeightsEntry:
    sizes = [(item.folder / name).stat().st_size for name in item.checksums()]
    return WeightsEntry(
        *(item.name, "embedded", "in the program", sum(sizes), item.licence, "A", item.use),
        item.folder,
    )


def _package_entry(name: str) -> WeightsEntry:
    item = SOURCES[name]
    folder = fetch.unpacked_folder(item)
    kept = folder if folder.is_dir() else _cached_folder(item.hub) or fetch.kept_archive(item)
    source = f"{item.hub[0].source.rpartition('/')[0]}, {item.source}" if item.hub else item.source
    return WeightsEntry(
        name, "package", source, item.size, item.licence, item.licence_class, item.use, kept
    )


def _cached_folder(files: tuple[HubFile, ...]) -> Path | None:
    """The hub cache's folder, when it has all of the files."""
    kept = [hub.cached(file) for file in files]
    return kept[0].parent if kept and kept[0] is not None and None not in kept else None


def _hub_entry(name: str) -> WeightsEntry:
    item, file = PUBLISHED[name], _hub_file(name)
    return WeightsEntry(
        name,
        "hub",
        file.source,
        round(item.megabytes * 1e6),
        "as its repository states",
        "-",
        f"LayerDiffuse on {item.base}: {item.mode or item.content}",
        hub.cached(file),
    )


def _verify_embedded(item: Embedded) -> Finding:
    listed = item.checksums()
    bad = [
        name
        for name, digest in listed.items()
        if not (item.folder / name).is_file() or sha256_of(item.folder / name) != digest
    ]
    return _finding(item.name, len(listed), bad, item.folder, "install multiplane again")


def _verify_hub(name: str, files: list[HubFile]) -> Finding | None:
    """Files of the hub are kept under the checksum the hub gave them, where they are large."""
    checked, bad, folder = 0, [], Path()
    for file in files:
        kept = hub.cached(file)
        if kept is None:
            continue
        folder, expected = kept.parent, file.sha256 or kept.resolve().name
        if len(expected) == 64:
            checked += 1
            if sha256_of(kept) != expected:
                bad.append(str(kept.resolve()))
    if folder == Path():
        return None
    return _finding(name, checked, bad, folder, f"remove it, then `multiplane weights get {name}`")


def _verify_package(name: str, item: Package) -> Finding | None:
    folder = fetch.unpacked_folder(item)
    archive = fetch.kept_archive(item)
    again = f"remove {folder}, then `multiplane weights get {name}`"
    if not folder.is_dir():
        if archive is not None:
            return Finding(name, 1)
        return _verify_hub(name, list(item.hub))
    if archive is None:
        return Finding(
            name, 0, f"{folder} cannot be checked: its archive is gone or damaged; {again}"
        )
    try:
        found = list(_differing(archive, folder))
    except ArchiveError as error:
        return Finding(name, 1, f"{error}; {again}")
    bad = [path for path, same in found if not same]
    return _finding(name, len(found), bad, folder, again)


def _differing(archive: Path, folder: Path) -> Iterator[tuple[str, bool]]:
    """(file, whether the unpacked one is the same) of every file of an archive."""
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".verify-"))
    try:
        unpack(archive, scratch)
        for path in sorted(scratch.rglob("*")):
            if path.is_file():
                name = path.relative_to(scratch)
                kept = folder / name
                same = kept.is_file() and kept.stat().st_size == path.stat().st_size
                yield name.as_posix(), same and sha256_of(kept) == sha256_of(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _finding(name: str, checked: int, bad: list[str], folder: Path, cure: str) -> Finding:
    if not bad:
        return Finding(name, checked)
    listed = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
    return Finding(name, checked, f"damaged in {folder}: {listed}; {cure}")
