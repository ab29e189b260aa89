"""Open clip art with titles people gave it: flat drawings, a second style at low weight.

Titles come from the SVG of the same name. They are uneven (Italian, French, series names, nothing
at all), so a picture enters only when every word left of its title, or the first words of its file
name, are known, and one of them names an object. Line art without colour stays out.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from multiplane.data.captions import slug, with_article, word_set
from multiplane.data.emoji import EmojiName
from multiplane.data.records import Asset, split_of

FOLDERS = (
    "animals",
    "buildings",
    "computer/hardware",
    "containers",
    "decorations",
    "education",
    "electronics",
    "food",
    "office",
    "people",
    "plants",
    "recreation",
    "science",
    "tools",
    "transportation",
    "unsorted",
)
DROPPED_FOLDERS = (
    "people/stickmen",
    "people/smilies",
    "people/clothing/pantyhose",
    "recreation/games",
    "recreation/religion",
    "transportation/aiga-symbols",
    "transportation/roadsigns",
    "unsorted/duplicates",
    "tools/weapons",
)
_SERIES = re.compile(
    r"various cliparts|clipart by|etiquette|r16 |homes clip|svg road|^people|^$|lumen",
    re.IGNORECASE,
)
_STOP = word_set(
    "a an the of in on with and d bw bn b w md v ii e da di la le al il io s j "
    "piccolo turbo lowtec clothing"
)
_UNWANTED = re.compile(
    r"print\b|print_|arrow|note_|note\b|recycl|out.?box|two.?way|metro|liberty|\bpark|"
    r"al_bar|hide_girl|water_fight|antenna|video_|food_|movie|text|iron_?on|wedding_sign|school_fall|banner|border|"
    r"mateya|linda_kim|bus_(lane|opposite)|kurt_cagl|dead_frogs|fireman_enrique|scale_01|tramway|"
    r"mosquito_peterm|blue_dragonfly|casinista|transportation/(horse|airplane)|"
    r"tux|logo|symbol|simbol|sign\b|flag|icon|silhou|contour|outline|corner|menu|diagram|button|"
    r"stripper|sexy|gallows|bw\b|b_w|b and w|architetto francesco|screen ?shot|route|crossroad"
)
_COLOURS = word_set("red blue green yellow orange white black brown purple pink grey")
MEDIUM_CLIPART = ("clip art of {}", "a flat drawing of {}", "{}, clip art", "a cartoon of {}")
WEIGHT = 0.3


@cache
def _translations() -> dict[str, str]:
    text = (resources.files("multiplane.data") / "tables" / "clipart_words.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if line and not line.startswith("#"))
    return {row[0]: row[1] for row in rows}


def _vocabulary(names: dict[str, EmojiName]) -> tuple[frozenset[str], frozenset[str]]:
    """(every word the emoji labels and keywords use, the words that name an object)."""
    nouns: set[str] = {word for row in _translations().values() for word in row.split()}
    every: set[str] = set()
    for name in names.values():
        words = re.findall(r"[a-z]+", name.label.lower())
        every.update(words)
        every.update(word for tag in name.tags for word in re.findall(r"[a-z]+", tag.lower()))
        if name.group in ("animals-nature", "food-drink", "travel-places", "activities", "objects"):
            nouns.update(words[-1:])
    return frozenset(every | nouns), frozenset(nouns - _COLOURS - {"small", "big", "old"})


def title_of(svg: Path) -> tuple[str, tuple[str, ...]]:
    """(title, keywords) of an SVG's metadata; empty where it has none."""
    text = svg.read_text("utf-8", "replace")
    title = re.search(r"<dc:title>(.*?)</dc:title>", text, re.DOTALL)
    words = [html.unescape(word).strip() for word in re.findall(r"<rdf:li>(.*?)</rdf:li>", text)]
    tags = [word.lower() for word in words if re.fullmatch(r"[A-Za-z ]{3,20}", word)]
    drop = {"unsorted", "hash", "clip art", "clipart", "public domain", "image", "media"}
    named = html.unescape(title.group(1)).strip() if title else ""
    return named, tuple(dict.fromkeys(tag for tag in tags if tag not in drop))


def phrase_of(title: str, file: str, known: frozenset[str], nouns: frozenset[str]) -> str:
    """A clean English phrase ("yellow duck"), or "" when none can be made."""
    file_name = file.rpartition("/")[2]
    from_file = bool(_SERIES.search(title)) or "rchitett" in file_name
    text = file_name if from_file else title
    if _UNWANTED.search(f"{title} {file}".lower()):
        return ""
    kept: list[str] = []
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _STOP:
            continue
        if word in _translations():
            kept += _translations()[word].split()
        elif word in known:
            kept.append(word)
        elif from_file:
            break  # the rest of a file name is its author
        else:
            return ""
    kept = sorted(dict.fromkeys(kept), key=lambda word: word not in _COLOURS)[:4]
    return " ".join(kept) if any(word in nouns for word in kept) else ""


def clipart_assets(
    drawings: Path, vectors: Path, names: dict[str, EmojiName], *, source: str, licence: str
) -> Iterator[Asset]:
    """Titled object drawings. drawings, vectors: the `png` and `svg` trees of openclipart.

    A drawing of a concept whose emoji twin is held out is held out too."""
    known, nouns = _vocabulary(names)
    heldout = {
        word for word in _emoji_roots(names) if split_of(word) == "heldout" and "-" not in word
    }
    seen: set[str] = set()
    for path in sorted(drawings.rglob("*.png")):
        relative = path.relative_to(drawings).as_posix()
        folder, _, name = relative.rpartition("/")
        if not folder.startswith(FOLDERS) or folder.startswith(DROPPED_FOLDERS):
            continue
        svg = vectors / f"{relative[:-4]}.svg"
        title, tags = title_of(svg) if svg.exists() else ("", ())
        phrase = phrase_of(title, relative[:-4], known, nouns)
        if not phrase or name in seen:
            continue
        seen.add(name)
        spoken = with_article(phrase)
        twins = set(phrase.split()) & heldout
        root = f"clipart {sorted(twins)[0] if twins else phrase}"
        extra = [tag for tag in tags if tag not in phrase][:1]
        captions = [template.format(spoken) for template in MEDIUM_CLIPART]
        captions += [f"clip art of {spoken}, {tag}" for tag in extra]
        yield Asset(
            key=f"clipart-{slug(name[:-4])}-{hashlib.sha256(relative.encode()).hexdigest()[:6]}",
            path=path,
            kind="foreground",
            concept=slug(phrase),
            root=slug(root),
            caption=captions[0],
            captions=tuple(captions),
            tags=tags,
            group=folder,
            source=source,
            licence=licence,
            style="clipart",
            split="heldout" if twins else split_of(root),
            weight=WEIGHT,
            needs_colour=True,
        )


def _emoji_roots(names: dict[str, EmojiName]) -> set[str]:
    from multiplane.data.emoji import root_of

    return {root_of(name.label) for name in names.values() if name.kept}
