"""Emoji art as captioned assets: names, keywords and groups through the Unicode data of emojibase.

One picture family trains, another one (a different drawing style) is the retrieval gallery; both
get the same concept ids because both are named by code points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from multiplane.data.captions import slug, varied, with_article
from multiplane.data.records import Asset, Kind, split_of

# Signs, letters and framed little scenes are no objects on a plane.
DROPPED_GROUPS = frozenset({"component", "symbols", "flags"})
DROPPED_LABELS = frozenset(
    """hundred points|anger symbol|fight cloud|ZZZ|eye in speech bubble|speech balloon|
    left speech bubble|right anger bubble|thought balloon|foggy|night with stars|cityscape|
    sunrise over mountains|sunrise|cityscape at dusk|sunset|bridge at night|milky way|fog|
    mahjong red dragon|joker|spade suit|heart suit|diamond suit|club suit|dotted line face|
    chart increasing|chart decreasing|bar chart|chart increasing with yen|eye|mouth|
    middle finger|motorway|railway track|water wave|input numbers|ATM sign|level slider|film frames|
    world map|map of Japan|x-ray|identification card|placard|dashing away|high voltage""".replace(
        "\n", ""
    )
    .replace("    ", "")
    .split("|")
)
_CLOCK_FACE = re.compile(r"(o’clock|-thirty)$")
_TONE = re.compile(r"[:,] ?(?:[a-z-]+ skin tone(?:, )?)+")
MEDIUM_3D = ("a 3D render of {}", "a 3D icon of {}", "{}, isolated object")


@dataclass(frozen=True)
class EmojiName:
    """label: the Unicode name without its skin tone. tone: "light", ... or empty."""

    label: str
    tone: str
    tags: tuple[str, ...]
    group: str
    subgroup: str

    @property
    def kept(self) -> bool:
        """False for flags, letters, symbols, clock faces and framed scenes."""
        return not (
            self.group in DROPPED_GROUPS
            or self.label in DROPPED_LABELS
            or _CLOCK_FACE.search(self.label)
        )


def read_names(folder: Path) -> dict[str, EmojiName]:
    """Every emoji by its key: code points in lower case hex joined by hyphens, without FE0F.

    folder: an unpacked emojibase-data package."""
    entries: list[dict[str, Any]] = json.loads((folder / "en" / "data.json").read_text("utf-8"))
    messages = json.loads((folder / "en" / "messages.json").read_text("utf-8"))
    groups = {group["order"]: group["key"] for group in messages["groups"]}
    subgroups = {group["order"]: group["key"] for group in messages["subgroups"]}
    names: dict[str, EmojiName] = {}
    for entry in entries:
        if "group" not in entry:
            continue
        for variant in (entry, *entry.get("skins", ())):
            label = entry["label"]
            tone = variant["label"][len(label) :].strip(":, ") if variant is not entry else ""
            names[code_points(variant["hexcode"])] = EmojiName(
                label=label,
                tone=tone.replace(" skin tone", ""),
                tags=tuple(entry.get("tags", ())),
                group=groups[entry["group"]],
                subgroup=subgroups[entry["subgroup"]],
            )
    return names


def code_points(text: str) -> str:
    """Code points in one spelling: lower case, hyphens, no leading zeros, no variation selector."""
    parts = re.split(r"[-_ ]", text.lower().removeprefix("emoji_u"))
    return "-".join(part.lstrip("0") for part in parts if part != "fe0f")


def describe(name: EmojiName) -> str:
    """The label as a phrase with its article: "man: beard" -> "a man with a beard"."""
    spoken = _spoken_phrases()
    if name.label in spoken:
        return spoken[name.label]
    label = name.label.replace("’", "'")
    head, _, detail = label.partition(": ")
    if detail:
        if head in ("family", "kiss", "couple with heart"):
            return f"{with_article(head)}, {detail.replace(', ', ' and ')}"
        if detail == "facing right":
            return f"{with_article(head)} facing right"
        if detail in ("beard",):
            return f"{with_article(head)} with a {detail}"
        if detail == "bald":
            return f"a bald {head}"
        return f"{with_article(head)} with {detail}"
    return with_article(label if label[:1].isupper() and " " in label else _lower_first(label))


@cache
def _spoken_phrases() -> dict[str, str]:
    """Unicode label -> phrase, where the label is not what anybody would type."""
    text = (resources.files("multiplane.data") / "tables" / "emoji_phrases.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return {label: phrase for label, phrase in rows if phrase}


def _lower_first(label: str) -> str:
    return (
        label
        if label[:2].isupper() or label.startswith(("T-", "Sa"))
        else (label[:1].lower() + label[1:])
    )


def root_of(label: str) -> str:
    """The concept root: gender, direction and "face" taken off ("woman surfing" -> "surfing")."""
    label = re.sub(r": (facing right|beard|bald|.* hair)$", "", label)
    label = re.sub(r"^(kiss|couple with heart|family):.*", r"\1", label)
    label = re.sub(r"^(men|women|people|man|woman|person) (?=\w)", "", label)
    label = re.sub(r"^(grinning|smiling|weary|crying|pouting|kissing) (?=cat)", "", label)
    label = re.sub(r"(?<=^cat) (with|face).*$", "", label)
    label = re.sub(r"^(\w+) face$", r"\1", label)
    label = re.sub(r"^oncoming ", "", label)
    return slug(label)


def emoji_assets(
    art: Path,
    names: dict[str, EmojiName],
    *,
    pattern: str,
    kind: Kind,
    style: str,
    source: str,
    licence: str,
    key_of: Callable[[Path], str] = lambda path: code_points(path.stem),
    one_a_concept: bool = False,
) -> Iterator[Asset]:
    """The pictures of one emoji family that show objects, creatures, people or places.

    one_a_concept: only the picture without a skin tone."""
    for path in sorted(art.glob(pattern)):
        name = names.get(key_of(path))
        if name is None or not name.kept or (one_a_concept and name.tone):
            continue
        phrase = describe(name)
        captions = varied(phrase, name.tags, MEDIUM_3D)
        if name.tone:
            captions.append(f"{phrase}, {name.tone} skin tone")
        concept = slug(name.label)
        root = root_of(name.label)
        yield Asset(
            key=f"{style}-{key_of(path)}",
            path=path,
            kind=kind,
            concept=concept,
            root=root,
            caption=phrase,
            captions=tuple(captions),
            tags=name.tags,
            group=f"{name.group}/{name.subgroup}",
            source=source,
            licence=licence,
            style=style,
            split=split_of(root),
            # Five skin tones of one figure count as much as one figure, with some more for variety.
            weight=0.3 if name.tone else 1.0,
        )
