"""What a data recipe may say (TOML; an unknown key is an error)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from multiplane.core.config import read_config
from multiplane.data.clip_motion import ClipMotion
from multiplane.data.placement import ScenePlacement


@dataclass(frozen=True)
class SceneRecipe:
    """Evaluation scenes composed from the held-out assets.

    count: scenes at each size; 0 for none. busy: share of backgrounds that already hold one to
    three objects. style: the drawing style of the objects."""

    count: int = 0
    sizes: tuple[int, ...] = (128, 256)
    seed: int = 1
    busy: float = 0.5
    style: str = "3d"
    placement: ScenePlacement = field(default_factory=ScenePlacement)

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.busy <= 1 or any(size < 16 for size in self.sizes):
            raise ValueError(
                f"scenes need count >= 0, busy 0..1 and sizes of 16 px or more, got {self}"
            )


@dataclass(frozen=True)
class ClipRecipe:
    """Layered clips, of both splits.

    foregrounds: collections of animated pictures, or of stills, which are moved; one picture a
    concept. backgrounds: what the camera pans over. per_asset: clips of each picture. size: pixels
    a side. limit: the most pictures of a split and style, 0 for all."""

    foregrounds: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    per_asset: int = 1
    frames: int = 8
    fps: float = 8.0
    size: int = 64
    seed: int = 1
    limit: int = 0
    motion: ClipMotion = field(default_factory=ClipMotion)
    placement: ScenePlacement = field(default_factory=ScenePlacement)

    def __post_init__(self) -> None:
        if bool(self.foregrounds) != bool(self.backgrounds):
            raise ValueError("clips need both foregrounds and backgrounds")
        if min(self.per_asset, self.frames) < 1 or self.fps <= 0 or self.size < 16:
            raise ValueError(
                f"clips need per_asset >= 1, frames >= 1, fps > 0 and 16 px or more, got {self}"
            )
        if self.frames * self.size > 16383 or self.limit < 0:
            raise ValueError(
                f"frames * size may be at most 16383, the height of a WebP, and limit at least 0; "
                f"got {self.frames} * {self.size} and {self.limit}"
            )


@dataclass(frozen=True)
class DataRecipe:
    """Which collections become shards. Names are those of `multiplane data sources`, or
    `folder:PATH` for pictures of your own (relative to the recipe file).

    licence_classes: collections of any other class are refused."""

    foregrounds: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    gallery: tuple[str, ...] = ()
    licence_classes: tuple[str, ...] = ("A",)
    samples_per_shard: int = 512
    scenes: SceneRecipe = field(default_factory=SceneRecipe)
    clips: ClipRecipe = field(default_factory=ClipRecipe)

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"samples_per_shard must be at least 1, got {self.samples_per_shard}")
        if not (self.has_assets or self.clips.foregrounds):
            raise ValueError("a data recipe must name foregrounds, backgrounds, a gallery or clips")

    @property
    def has_assets(self) -> bool:
        """True where single pictures become shards."""
        return bool(self.foregrounds or self.backgrounds or self.gallery)


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships ("tiny")."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        if not path.is_file():
            raise FileNotFoundError(f"no recipe at {path}")
        return path
    shipped = Path(str(resources.files("multiplane.data"))) / "recipes"
    names = sorted(file.stem for file in shipped.glob("*.toml"))
    if name not in names:
        raise FileNotFoundError(
            f"no data recipe is called {name!r}: give a .toml file or one of {', '.join(names)}"
        )
    return shipped / f"{name}.toml"


def read_recipe(path: Path) -> DataRecipe:
    """Raises ValueError that names the offending key and what is allowed."""
    return read_config(DataRecipe, path)
