"""Captions: names and keywords turned into short English phrases, varied by templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def word_set(text: str) -> frozenset[str]:
    """The set of words of a text."""
    return frozenset(text.split())


_MASS = word_set(
    "bacon bread broccoli butter cheese clothing coral corn cooked curry dna fire fog garlic "
    "ginger honey ice jeans lightning luggage mail mate money nail popcorn rain rice salt sake "
    "scissors shorts skis snow soap spaghetti sushi thread wood yarn"
)
_SINGULAR_S = word_set(
    "bus cactus compass cross dress glass grass hibiscus lotus octopus rhinoceros "
    "hippopotamus walrus sledge circus canvas virus abacus menorah necklace "
    "gymnasium harness princess mattress asparagus iris cyclops chess tennis canoeist"
)
_DEFINITE = ("Earth", "Statue of Liberty", "Kaaba", "Milky Way", "Moon", "Sun")
_SILENT_H = ("hour", "honest", "heir")
_LONG_U = ("uni", "use", "eur", "one-", "one ", "ukulele", "utensil")


def slug(text: str) -> str:
    """`"Red apple!"` -> `"red-apple"`: lower case words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("’", "").replace("'", "")).strip("-")


def with_article(phrase: str) -> str:
    """The phrase with "a", "an", "the" or nothing in front, as its first and head words ask."""
    words = phrase.split()
    if not words or words[0].lower() in ("a", "an", "the", "two", "three", "some"):
        return phrase
    if phrase.lower() in {name.lower() for name in _DEFINITE}:
        return f"the {phrase}"
    head = re.split(r" (?:with|of|on|in|and|behind|from|getting|holding) |,", phrase)[0].split()[-1]
    if words[0][:1].isupper() and words[0] not in ("T-Rex", "Christmas", "American", "Japanese"):
        return phrase
    if head.lower() in _MASS or (_is_plural(head) and words[0] not in ("pair",)):
        return phrase
    first = words[0].lower()
    vowel = (first[0] in "aeiou" and not first.startswith(_LONG_U)) or first.startswith(_SILENT_H)
    return f"{'an' if vowel else 'a'} {phrase}"


def _is_plural(word: str) -> bool:
    word = word.lower()
    if word in ("people", "men", "women", "children", "feet", "teeth"):
        return True
    return word.endswith("s") and not word.endswith("ss") and word not in _SINGULAR_S


def varied(phrase: str, tags: Sequence[str], medium: Iterable[str]) -> list[str]:
    """The phrase first, then its variants: with keywords, and with the words for its medium.

    phrase: with its article ("a red apple"). tags: keywords, used three at most at a time.
    medium: templates such as "a 3D icon of {}".
    """
    bare = re.sub(r"^(a|an|the) ", "", phrase)
    extra = [tag for tag in tags if tag.lower() not in bare.lower()]
    captions = [phrase, bare]
    if extra:
        captions.append(f"{phrase}, {extra[0]}")
    if len(extra) >= 3:
        captions.append(f"{bare}, {extra[1]}, {extra[2]}")
    captions += [template.format(phrase) for template in medium]
    return list(dict.fromkeys(captions))
