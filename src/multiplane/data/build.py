"""From a recipe to shards: planned in full first, then written shard by shard, resumable at any
point because a finished shard is recognised by its plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multiplane import __version__
from multiplane.core.config import to_table
from multiplane.data.captions import slug
from multiplane.data.clips import CLIP_FORM, clip_key, clip_members
from multiplane.data.collections import COLLECTIONS, collection_assets
from multiplane.data.pictures import FORM, sample_members
from multiplane.data.recipe import ClipRecipe, DataRecipe
from multiplane.data.records import Asset, Kind
from multiplane.data.scenes import SCENE_FORM, scene_samples
from multiplane.data.shards import Sample, ShardNote, finished_shard, write_json, write_shard
from multiplane.weights.sources import source

# (shards done, shards in all, name of the shard at hand)
BuildProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ShardPlan:
    """A shard before it is written. plan: a hash of everything its bytes depend on."""

    name: str
    plan: str
    about: dict[str, Any]
    samples: tuple[Sample, ...]


def build(
    recipe: DataRecipe, out: Path, base: Path, progress: BuildProgress | None = None
) -> dict[str, Any]:
    """Write `out/assets`, `out/scenes` and `out/clips`, those the recipe asks for; returns the
    manifest of the first. base: folder of the recipe file. A second run does only what is
    missing."""
    manifests = []
    if recipe.has_assets:
        plans = plan_assets(gather(recipe, base), recipe.samples_per_shard)
        manifests.append(_write(out / "assets", plans, recipe, progress))
    if recipe.scenes.count:
        plans = plan_scenes(recipe, out / "assets")
        manifests.append(_write(out / "scenes", plans, recipe, progress))
    if recipe.clips.foregrounds:
        plans = plan_clips(recipe, base)
        manifests.append(_write(out / "clips", plans, recipe, progress))
    return manifests[0]


def gather(recipe: DataRecipe, base: Path) -> list[Asset]:
    """Every single picture the recipe asks for, fetched. Raises ValueError when two share a key."""
    wanted: list[tuple[Kind, tuple[str, ...]]] = [
        ("foreground", recipe.foregrounds),
        ("background", recipe.backgrounds),
        ("gallery", recipe.gallery),
    ]
    return _gather(recipe, wanted, base)


def _gather(
    recipe: DataRecipe, wanted: Sequence[tuple[Kind, tuple[str, ...]]], base: Path
) -> list[Asset]:
    assets = [
        asset
        for kind, names in wanted
        for name in names
        for asset in collection_assets(name, kind, recipe.licence_classes, base)
    ]
    _need_own_keys(assets)
    return assets


def _need_own_keys(assets: Sequence[Asset]) -> None:
    seen: dict[str, Asset] = {}
    for asset in assets:
        if asset.key in seen:
            raise ValueError(f"{asset.path} and {seen[asset.key].path} share the key {asset.key}")
        seen[asset.key] = asset


def plan_assets(
    assets: Sequence[Asset], samples_per_shard: int, label: str = ""
) -> list[ShardPlan]:
    """One run of shards for each kind, style and split, so that a reader opens only its own.
    label: stands in their names before the number."""
    pools: dict[tuple[str, str, str], list[Asset]] = {}
    for asset in assets:
        split = "all" if asset.kind == "gallery" else asset.split
        pools.setdefault((asset.kind, asset.style, split), []).append(asset)
    plans = []
    for (kind, style, split), pool in pools.items():
        for number, start in enumerate(range(0, len(pool), samples_per_shard)):
            part = pool[start : start + samples_per_shard]
            about = {
                "kind": kind,
                "style": style,
                "split": split,
                "source": sorted({asset.source for asset in part}),
                "licence": sorted({asset.licence for asset in part}),
            }
            plans.append(
                ShardPlan(
                    name=f"{kind}-{style}-{split}{label}-{number:03d}.tar",
                    plan=hash_of([FORM, about, [[_size(a.path), a.to_json()] for a in part]]),
                    about=about,
                    samples=tuple((asset.key, _maker(asset)) for asset in part),
                )
            )
    return plans


def plan_scenes(recipe: DataRecipe, assets: Path) -> list[ShardPlan]:
    """One shard of held-out scenes for each size."""
    wanted = recipe.scenes
    manifest = json.loads((assets / "manifest.json").read_text("utf-8"))
    used = [note["sha256"] for note in manifest["shards"] if note["about"]["split"] == "heldout"]
    plans = []
    for size in wanted.sizes:
        about = {"kind": "scene", "style": wanted.style, "split": "heldout", "size": size}
        plans.append(
            ShardPlan(
                name=f"scene-{wanted.style}-heldout-{size}.tar",
                plan=hash_of([SCENE_FORM, about, to_table(wanted), used]),
                about=about,
                samples=tuple(scene_samples(wanted, assets, size)),
            )
        )
    return plans


def plan_clips(recipe: DataRecipe, base: Path) -> list[ShardPlan]:
    """Runs of shards of layered clips, one for each collection of foregrounds and split. Raises
    ValueError where a split has no background, or two pictures share a key."""
    wanted = recipe.clips
    plates = _gather(recipe, [("background", wanted.backgrounds)], base)
    collections = {
        name: _gather(recipe, [("foreground", (name,))], base) for name in wanted.foregrounds
    }
    _need_own_keys([asset for assets in collections.values() for asset in assets])
    plans = []
    for collection, assets in collections.items():
        for split in ("train", "heldout"):
            chosen = [asset for asset in assets if asset.split == split]
            chosen = list({asset.concept: asset for asset in reversed(chosen)}.values())[::-1]
            behind = [plate for plate in plates if plate.split == split]
            if chosen and not behind:
                raise ValueError(f"no background of clips.backgrounds is in the {split} split")
            chosen = chosen[: wanted.limit] if wanted.limit else chosen
            plans += _clip_plans(recipe, collection, split, chosen, behind)
    return plans


def _clip_plans(
    recipe: DataRecipe, collection: str, split: str, assets: Sequence[Asset], plates: list[Asset]
) -> list[ShardPlan]:
    wanted = recipe.clips
    per_shard = max(1, recipe.samples_per_shard // wanted.per_asset)
    behind = [[_size(plate.path), plate.to_json()] for plate in plates]
    plans = []
    for number, start in enumerate(range(0, len(assets), per_shard)):
        part = assets[start : start + per_shard]
        about = {
            "kind": "clip",
            "style": clip_style(collection, part),
            "split": split,
            "source": sorted({asset.source for asset in (*part, *plates)}),
            "licence": sorted({asset.licence for asset in (*part, *plates)}),
        }
        form = [CLIP_FORM, about, start, to_table(wanted), recipe.licence_classes, behind]
        plans.append(
            ShardPlan(
                name=f"clip-{about['style']}-{split}-{number:03d}.tar",
                plan=hash_of([*form, [[_size(a.path), a.to_json()] for a in part]]),
                about=about,
                samples=tuple(
                    (
                        clip_key(asset, index),
                        _clip_maker(wanted, asset, plates, index, about["style"]),
                    )
                    for place, asset in enumerate(part, start)
                    for index in range(place * wanted.per_asset, (place + 1) * wanted.per_asset)
                ),
            )
        )
    return plans


def clip_style(collection: str, assets: Sequence[Asset]) -> str:
    """What shards of clips are called after: how their pictures are drawn; the folder's name for
    pictures of your own."""
    if collection.startswith("folder:"):
        return slug(Path(collection.removeprefix("folder:")).name)
    return assets[0].style


def _clip_maker(recipe: ClipRecipe, asset: Asset, plates: Sequence[Asset], index: int, style: str):
    return lambda: clip_members(recipe, asset, plates, index, style)


def _maker(asset: Asset):
    return lambda: sample_members(asset)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def hash_of(value: Any) -> str:
    """sha256 (hex) of a plain value: what tells one plan from another."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(
    folder: Path, plans: Sequence[ShardPlan], recipe: DataRecipe, progress: BuildProgress | None
) -> dict[str, Any]:
    """Write the shards that are missing, drop those no plan wants, then the manifest."""
    notes = write_plans(folder, plans, progress)
    _drop_unwanted(folder, {plan.name for plan in plans})
    manifest = manifest_of(notes, to_table(recipe), _sources(recipe))
    write_json(folder / "manifest.json", manifest)
    return manifest


def write_plans(
    folder: Path, plans: Sequence[ShardPlan], progress: BuildProgress | None = None
) -> list[ShardNote]:
    """The notes of these shards, those that are missing written; a manifest goes before that."""
    folder.mkdir(parents=True, exist_ok=True)
    notes: list[ShardNote] = []
    for done, plan in enumerate(plans):
        if progress:
            progress(done, len(plans), plan.name)
        note = finished_shard(folder, plan.name, plan.plan)
        if note is None:
            (folder / "manifest.json").unlink(missing_ok=True)
            note = write_shard(folder, plan.name, plan.samples, plan=plan.plan, about=plan.about)
        notes.append(note)
    if progress:
        progress(len(plans), len(plans), "")
    return notes


def _drop_unwanted(folder: Path, wanted: set[str]) -> None:
    """Shards of an earlier recipe, recognised by their notes, and partial files of a killed run."""
    for note in folder.glob("*.tar.json"):
        if note.name.removesuffix(".json") not in wanted:
            (folder / note.name.removesuffix(".json")).unlink(missing_ok=True)
            note.unlink()
    for partial in folder.glob(".[!.]*.tmp"):
        partial.unlink()


def manifest_of(
    notes: Sequence[ShardNote], recipe: dict[str, Any], sources: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What describes a folder of shards. recipe: how they were made. sources: what from."""
    counts: dict[str, int] = {}
    for note in notes:
        pool = "-".join(str(note.about[part]) for part in ("kind", "style", "split"))
        counts[pool] = counts.get(pool, 0) + note.count
    return {
        "version": __version__,
        "recipe": recipe,
        "counts": counts,
        "skipped": [
            {"shard": note.name, "key": key, "reason": reason}
            for note in notes
            for key, reason in note.skipped
        ],
        "sources": list(sources),
        "shards": [asdict(note) for note in notes],
    }


def _sources(recipe: DataRecipe) -> list[dict[str, Any]]:
    clips = recipe.clips
    names = (*recipe.foregrounds, *recipe.backgrounds, *recipe.gallery)
    names += (*clips.foregrounds, *clips.backgrounds)
    packages = dict.fromkeys(
        package for name in names if name in COLLECTIONS for package in COLLECTIONS[name].packages
    )
    return [
        {
            "source": source(name).source,
            "sha256": source(name).sha256,
            "licence": source(name).licence,
            "licence_class": source(name).licence_class,
            "use": source(name).use,
        }
        for name in packages
    ]
