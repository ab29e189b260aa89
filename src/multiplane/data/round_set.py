"""From closed rounds to the set that is trained on next: the base shards as they are, and the
picked pictures of every round as asset shards, those of the last round with twice the weight."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from multiplane.data.assets import read_samples, shard_paths
from multiplane.data.build import BuildProgress, manifest_of, plan_assets, write_plans
from multiplane.data.captions import varied
from multiplane.data.records import Asset
from multiplane.data.rounds import Round, rounds_in
from multiplane.data.shards import ShardNote, write_json
from multiplane.io.checksum import sha256_of

NEW_WEIGHT = 2.0  # LayerDiffuse: new samples are drawn twice as often in the next round
PER_SHARD = 512
MADE = "model output"


def write_round_set(last: Round, progress: BuildProgress | None = None) -> dict[str, Any]:
    """Write `last.assets` from the base and all rounds up to `last`, and return its manifest.

    Shards of the base are linked where the disk can, else copied; they are never changed. Raises
    ValueError while a round is open, FileNotFoundError without the base."""
    rounds = [each for each in rounds_in(last.folder.parent) if each.number <= last.number]
    plans = [
        plan
        for each in rounds
        for plan in plan_assets(
            picked_assets(each, NEW_WEIGHT if each.number == last.number else 1.0),
            PER_SHARD,
            label=f"-round{each.number:03d}",
        )
    ]
    last.assets.mkdir(parents=True, exist_ok=True)
    base, base_notes = _linked_base(last)
    made = write_plans(last.assets, plans, progress)
    if not made and not base_notes:
        raise ValueError(f"nothing was picked in {last.folder.parent}, and there is no base")
    sources = list(base.get("sources", []))
    for each in rounds:
        settings = each.settings
        sources.append(
            {"source": _source(each), "use": f"round {each.number}", "licence": MADE}
            | ({"weights": settings.weights} if settings.weights else {})
        )
    recipe = {"base": base.get("recipe", {}), "rounds": [_summary(each) for each in rounds]}
    manifest = manifest_of([*base_notes, *made], recipe, sources)
    write_json(last.assets / "manifest.json", manifest)
    return manifest


def picked_assets(made: Round, weight: float) -> list[Asset]:
    """The picked pictures of a closed round, as the shards take them in."""
    answers = made.picked()
    if answers is None:
        raise ValueError(f"round {made.number} is still open: label its pictures first")
    assets = []
    for planned in made.pictures:
        if answers.get(planned.key) != "good":
            continue
        path = made.picture(planned)
        about = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assets.append(
            Asset(
                key=planned.key,
                path=path,
                kind="foreground",
                concept=planned.concept,
                root=planned.root,
                caption=planned.prompt,
                captions=tuple(varied(planned.prompt, (), ())),
                tags=(),
                group="made",
                source=_source(made),
                licence=MADE,
                style=made.settings.style,
                split="train",
                weight=weight,
                made={name: value for name, value in about.items() if name != "caption"},
            )
        )
    return assets


def commonest_style(assets: Path) -> str:
    """The style most training foregrounds of a folder of shards have: what is picked shall be drawn
    beside them."""
    notes = json.loads((assets / "manifest.json").read_text("utf-8"))["shards"]
    counts: Counter[str] = Counter()
    for note in notes:
        about = note["about"]
        if about["kind"] == "foreground" and about["split"] == "train":
            counts[about["style"]] += note["count"]
    if not counts:
        raise ValueError(f"{assets} holds no training foregrounds")
    return counts.most_common(1)[0][0]


def drawn_share(assets: Path, style: str, number: int) -> float:
    """How often a training foreground of this style will be one of round `number`, as the pool
    draws: concepts by their largest weight, then their pictures by their own."""
    groups: dict[str, list[tuple[float, bool]]] = {}
    for sample, _ in read_samples(shard_paths(assets, ("foreground",), "train", (style,))):
        new = sample.get("made", {}).get("round") == number
        groups.setdefault(sample["root"], []).append((sample["weight"], new))
    turns = {root: max(weight for weight, _ in rows) for root, rows in groups.items()}
    share = 0.0
    for root, rows in groups.items():
        own = sum(weight for weight, new in rows if new) / sum(weight for weight, _ in rows)
        share += turns[root] * own
    return share / sum(turns.values())


def _source(made: Round) -> str:
    return f"model:{made.settings.model}"


def _summary(made: Round) -> dict[str, Any]:
    answers = made.picked() or {}
    picked = sum(answer == "good" for answer in answers.values())
    return {"round": made.number, "made": len(made.pictures), "picked": picked}


def _linked_base(last: Round) -> tuple[dict[str, Any], list[ShardNote]]:
    """The manifest of the base and its notes, its shards beside the new ones."""
    if not last.settings.base:
        return {}, []
    base = Path(last.settings.base)
    if not (base / "manifest.json").is_file():
        raise FileNotFoundError(f"no manifest.json in the base {base}: it moved or was not built")
    manifest = json.loads((base / "manifest.json").read_text("utf-8"))
    notes = []
    for value in manifest["shards"]:
        skipped = tuple((key, reason) for key, reason in value.get("skipped", []))
        note = ShardNote(**{**value, "skipped": skipped})
        for name in (note.name, f"{note.name}.json"):
            _link(base / name, last.assets / name)
        if sha256_of(last.assets / note.name) != note.sha256:
            raise ValueError(f"{base / note.name} is not what its manifest says: build it anew")
        notes.append(note)
    return manifest, notes


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
