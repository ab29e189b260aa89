"""The eight LayerFlow checkpoints that were released, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multiplane.weights.hub import HubFile

if TYPE_CHECKING:
    from multiplane.models.subclips import SubclipLayout, Variant

REPOSITORY = "zjuJish/LayerFlow"
FILE = "mp_rank_00_model_states.pt"
LICENCE = (
    "LayerFlow's authors published these weights without a licence: all rights are theirs until "
    "they say otherwise. Use them only as they and your law allow, and pass neither them nor what "
    "was converted from them on"
)


@dataclass(frozen=True)
class Release:
    """task: its row of the task table. prompts: how many it reads. lead: as `SubclipLayout` has."""

    name: str
    task: str
    variant: Variant
    prompts: int = 3
    lead: bool = False

    @property
    def layout(self) -> SubclipLayout:
        from multiplane.models.subclips import SubclipLayout

        return SubclipLayout(self.variant, lead=self.lead)

    @property
    def file(self) -> HubFile:
        return HubFile(REPOSITORY, f"{self.name}/1000/{FILE}")


def _both(name: str, task: str, prompts: int = 3, lead: bool = False) -> tuple[Release, ...]:
    return (
        Release(f"{name}-rgb", task, "rgb", prompts),
        Release(f"{name}-rgba", task, "rgba", prompts, lead),
    )


RELEASES: dict[str, Release] = {
    each.name: each
    for each in (
        *_both("multi-layer-generation", "-> foreground background composite"),
        *_both("multi-layer-decomposition", "composite -> foreground background", prompts=2),
        *_both(
            "foreground-conditioned-generation", "foreground -> background composite", lead=True
        ),
        *_both(
            "background-conditioned-generation", "background -> foreground composite", lead=True
        ),
    )
}


def release_of(source: Path, name: str | None = None) -> Release:
    """The release called `name`, or the one a folder of `source` is called.

    Raises ValueError when neither says."""
    named = [name] if name is not None else [part for part in source.parts if part in RELEASES]
    if not named or named[-1] not in RELEASES:
        said = (
            f"there is no release {name!r}"
            if name is not None
            else f"nothing says what {source} is"
        )
        raise ValueError(f"{said}: name one with --release; there are {', '.join(RELEASES)}")
    return RELEASES[named[-1]]


def checkpoint_in(source: Path) -> Path | None:
    """The checkpoint that `source` means: itself, or the one in a released folder (`latest` beside
    numbered folders). None where it is neither a checkpoint nor a folder with one."""
    if source.is_file():
        named = any(part in RELEASES for part in source.parts)
        return source if source.name == FILE or (named and source.suffix == ".pt") else None
    latest = source / "latest"
    if latest.is_file() and (found := source / latest.read_text().strip() / FILE).is_file():
        return found
    return source / FILE if (source / FILE).is_file() else None


def is_checkpoint(source: Path) -> bool:
    """Whether `source` is a checkpoint of LayerFlow by its name or folder, or names a release."""
    return checkpoint_in(source) is not None or (not source.exists() and str(source) in RELEASES)
