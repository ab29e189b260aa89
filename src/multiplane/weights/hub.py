"""Single files on the hub, held to a checksum where one is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multiplane.io.checksum import sha256_of
from multiplane.weights.offline import offline


class HubError(Exception):
    """A file of the hub that cannot be had, or is another one; the text says what to do."""


@dataclass(frozen=True)
class HubFile:
    """sha256: of the file, hex; empty where it is not known."""

    repository: str
    filename: str
    sha256: str = ""

    @property
    def source(self) -> str:
        return f"hub:{self.repository}/{self.filename}"


def cached(file: HubFile) -> Path | None:
    """The file in the hub's own cache; nothing is downloaded and nothing is checked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repository, file.filename)
    return Path(found) if isinstance(found, str) else None


def download(file: HubFile) -> Path:
    """The file through the hub's client, from its cache where it is there.

    Raises HubError when the hub is out of reach, forbidden (`MULTIPLANE_OFFLINE`), does not have
    it, or serves other bytes than the checksum says: those are not used."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(hf_hub_download(file.repository, file.filename, local_files_only=offline()))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HubError(
            f"{file.source} is not in the hub's cache and cannot be downloaded ({reason}): check "
            "the name and the connection, or download the file elsewhere and name its path"
        ) from error
    if file.sha256 and (found := sha256_of(path)) != file.sha256:
        raise HubError(
            f"{file.source} has sha256 {found}, expected {file.sha256}: it is refused. If it was "
            f"damaged on this machine, remove {path.resolve()} and get it again"
        )
    return path
