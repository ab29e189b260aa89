"""The named sets of pictures a recipe can ask for, each made of packages from the one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from multiplane.data.animations import is_animated
from multiplane.data.captions import slug, varied, with_article
from multiplane.data.clipart import clipart_assets
from multiplane.data.emoji import code_points, emoji_assets, read_names
from multiplane.data.plates import plate_assets
from multiplane.data.records import Asset, Kind, split_of
from multiplane.weights.sources import SOURCES, locate, source

PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
ANIMATED_PARTS = tuple(f"fluent-emoji-anim-{part}" for part in (1, 2, 3, 4))
Folders = Mapping[str, Path]


@dataclass(frozen=True)
class Collection:
    """packages: names in the list of sources; the first one holds the pictures. read: the assets,
    from the unpacked folders by package name."""

    packages: tuple[str, ...]
    read: Callable[[Folders], Iterator[Asset]]

    @property
    def licence_class(self) -> str:
        return source(self.packages[0]).licence_class

    def assets(self) -> list[Asset]:
        """Fetches what is missing. Raises FetchError."""
        return list(self.read({name: locate(name) for name in self.packages}))


def _fluent(folders: Folders) -> Iterator[Asset]:
    return emoji_assets(
        folders["fluent-emoji-3d"] / "package" / "assets",
        read_names(folders["emojibase-data"] / "package"),
        pattern="*.webp",
        kind="foreground",
        style="3d",
        source=SOURCES["fluent-emoji-3d"].source,
        licence="MIT",
    )


def _fluent_animated(folders: Folders) -> Iterator[Asset]:
    """Without skin tones: the tones of one figure move alike."""
    names = read_names(folders["emojibase-data"] / "package")
    for part in ANIMATED_PARTS:
        for asset in emoji_assets(
            folders[part] / "package" / "assets",
            names,
            pattern="*.webp",
            kind="foreground",
            style="animated",
            source=SOURCES[part].source,
            licence=SOURCES[part].licence,
            one_a_concept=True,
        ):
            if is_animated(asset.path):
                yield asset


def _noto(folders: Folders) -> Iterator[Asset]:
    return emoji_assets(
        folders["noto-emoji"] / "package" / "png" / "128",
        read_names(folders["emojibase-data"] / "package"),
        pattern="*.png",
        kind="gallery",
        style="noto",
        source=SOURCES["noto-emoji"].source,
        licence="Apache-2.0",
        key_of=lambda path: code_points(path.stem),
        one_a_concept=True,
    )


def _clipart(folders: Folders) -> Iterator[Asset]:
    return clipart_assets(
        folders["openclipart-png"] / "usr" / "share" / "openclipart" / "png",
        folders["openclipart-svg"] / "usr" / "share" / "openclipart" / "svg",
        read_names(folders["emojibase-data"] / "package"),
        source=SOURCES["openclipart-png"].source,
        licence="public domain",
    )


def _landscapes(folders: Folders) -> Iterator[Asset]:
    plugin = folders["endless-sky"] / "usr/share/games/endless-sky/plugins/endless-sky-high-dpi"
    return plate_assets(
        plugin / "images" / "land", source=SOURCES["endless-sky"].source, licence="public domain"
    )


COLLECTIONS: dict[str, Collection] = {
    "fluent-3d": Collection(("fluent-emoji-3d", "emojibase-data"), _fluent),
    "fluent-animated": Collection((*ANIMATED_PARTS, "emojibase-data"), _fluent_animated),
    "clipart": Collection(("openclipart-png", "openclipart-svg", "emojibase-data"), _clipart),
    "landscapes": Collection(("endless-sky",), _landscapes),
    "noto": Collection(("noto-emoji", "emojibase-data"), _noto),
}


def collection_assets(name: str, kind: Kind, classes: tuple[str, ...], base: Path) -> list[Asset]:
    """The assets of one collection for one use. base: what a `folder:` path is relative to.

    Raises ValueError for an unknown name, a licence class the recipe does not allow, or a
    collection of another kind; FetchError when a package cannot be had."""
    if name.startswith("folder:"):
        return folder_assets(base / name.removeprefix("folder:"), kind)
    if name not in COLLECTIONS:
        raise ValueError(
            f"no collection is called {name!r}: use {', '.join(sorted(COLLECTIONS))} or folder:PATH"
        )
    collection = COLLECTIONS[name]
    if kind != "gallery" and collection.licence_class not in classes:
        raise ValueError(
            f"collection {name!r} has licence class {collection.licence_class!r}; the recipe "
            f"allows {', '.join(classes)}"
        )
    assets = collection.assets()
    wrong = next((asset for asset in assets if asset.kind != kind), None)
    if wrong is not None:
        raise ValueError(f"collection {name!r} holds {wrong.kind} pictures, asked for {kind}")
    return assets


def folder_assets(folder: Path, kind: Kind) -> list[Asset]:
    """Pictures of your own: the caption is the first line of `NAME.txt`, else the file name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: a recipe's folder: paths start at its file")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    return [_own_asset(path, folder, kind) for path in sorted(paths)]


def _own_asset(path: Path, folder: Path, kind: Kind) -> Asset:
    text = path.with_suffix(".txt")
    written = text.read_text("utf-8").strip().splitlines() if text.exists() else []
    caption = written[0] if written else with_article(slug(path.stem).replace("-", " "))
    concept = slug(caption)
    return Asset(
        key=f"{kind}-{slug(path.relative_to(folder).with_suffix('').as_posix())}",
        path=path,
        kind=kind,
        concept=concept,
        root=concept,
        caption=caption,
        captions=tuple(varied(caption, (), ())),
        tags=(),
        group="own",
        source=f"folder:{folder.name}",
        licence="own",
        style="own",
        split=split_of(concept),
        horizon=0.5 if kind == "background" else None,
    )
