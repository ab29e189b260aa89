"""Prompts to generate training pictures from: read from a file line by line, or drawn from the
lists of concepts and places here, without end.

A triple names the foreground, the whole picture and the background alone, as the multi-layer set of
LayerDiffuse does ("a cute cat" / "cat in garden" / "nothing in garden").
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np

from multiplane.data.assets import shard_paths
from multiplane.data.captions import slug
from multiplane.data.emoji import root_of
from multiplane.data.plates import HELDOUT_PLATES, read_table
from multiplane.data.records import split_of
from multiplane.data.shards import read_shard
from multiplane.engine.planes import check_prompt

# (whole picture, background) around a concept and a place.
TEMPLATES = (
    ("{concept}, {place}", "{place}"),
    ("{concept} in front of {place}", "{place}"),
    ("{concept} before {place}", "a photo of {place}"),
    ("{concept} with {place} behind", "{place}, nothing in front"),
)


@dataclass(frozen=True)
class ScenePrompt:
    """The words of one picture; those that are not needed are empty. concept: an id for what the
    foreground shows. root: the wider concept the held-out split goes by."""

    foreground: str
    composite: str = ""
    background: str = ""
    concept: str = ""
    root: str = ""


@dataclass(frozen=True)
class BadPrompt:
    """A line no prompt could be read from, and why."""

    line: int
    reason: str


PromptLine: TypeAlias = "ScenePrompt | BadPrompt"


def read_prompts(path: Path) -> Iterator[PromptLine]:
    """Every prompt of a file, read as it is asked for; empty lines and those with # are left out.

    A .jsonl line is an object with foreground and, for triples, composite and background (concept
    and root where they are known); any other file has a foreground or `foreground | whole picture |
    background` a line. Raises FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"no prompts at {path}: name a text file, or a .jsonl")
    return _lines(path)


def _lines(path: Path) -> Iterator[PromptLine]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = unicodedata.normalize("NFC", raw.decode("utf-8")).strip()
                if line and (path.suffix == ".jsonl" or not line.startswith("#")):
                    yield _of_json(line) if path.suffix == ".jsonl" else _of_text(line)
            except (ValueError, TypeError) as error:
                yield BadPrompt(number, str(error))


def _of_json(line: str) -> ScenePrompt:
    value = json.loads(line)
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("expected an object of texts")
    unknown = sorted(set(value) - set(ScenePrompt.__dataclass_fields__))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    return _checked(value)


def _of_text(line: str) -> ScenePrompt:
    parts = [part.strip() for part in line.split("|")]
    if len(parts) not in (1, 3):
        raise ValueError(f"expected one text, or three between |, got {len(parts)}")
    names = ("foreground", "composite", "background")
    return _checked(dict(zip(names, parts, strict=False)))


def _checked(said: Mapping[str, str]) -> ScenePrompt:
    """Raises RequestError for an empty prompt or odd characters."""
    texts = {
        name: check_prompt(said.get(name, ""))
        for name in ("foreground", "composite", "background")
        if name == "foreground" or said.get(name)
    }
    concept = said.get("concept") or concept_of(texts["foreground"])
    return ScenePrompt(**texts, concept=concept, root=said.get("root") or concept)


def concept_of(phrase: str) -> str:
    """`"A red apple"` -> `"red-apple"`."""
    words = slug(phrase).split("-")
    return "-".join(words[1:] if words[0] in ("a", "an", "the") and len(words) > 1 else words)


def shipped_concepts() -> list[ScenePrompt]:
    """The phrases written by hand in `tables/emoji_phrases.tsv`, those of the training split."""
    text = (resources.files("multiplane.data") / "tables" / "emoji_phrases.tsv").read_text("utf-8")
    rows = (line.split("|") for line in text.splitlines() if not line.startswith("#"))
    found = [
        ScenePrompt(phrase, concept=slug(label), root=root_of(label))
        for label, phrase in rows
        if phrase
    ]
    return [each for each in found if split_of(each.root) == "train"]


def shard_concepts(assets: Path) -> list[ScenePrompt]:
    """The plain caption of every training foreground in a folder of shards, each once."""
    found: dict[str, ScenePrompt] = {}
    for sample in _foregrounds(assets, "train"):
        caption = sample["captions"][0]
        found.setdefault(caption, ScenePrompt(caption, "", "", sample["concept"], sample["root"]))
    return list(found.values())


def heldout_roots(assets: Path) -> frozenset[str]:
    """Roots that the shards hold out: nothing that shows them may enter training."""
    try:
        return frozenset(sample["root"] for sample in _foregrounds(assets, "heldout"))
    except ValueError:  # a set of one's own need not hold anything out
        return frozenset()


def _foregrounds(assets: Path, split: str) -> Iterator[dict]:
    for path in shard_paths(assets, ("foreground",), split):
        for _, members in read_shard(path):
            yield json.loads(members["json"])


def training_places() -> list[str]:
    """The plainest caption of every training photograph (`tables/plates.tsv`)."""
    rows = read_table().items()
    places = [texts[0] for name, (_, texts) in rows if split_of(name, HELDOUT_PLATES) == "train"]
    return list(dict.fromkeys(places))


def concepts_in_turn(concepts: Iterable[ScenePrompt], seed: int) -> Iterator[ScenePrompt]:
    """Concepts without end: a root again only after every other had its turn, each time one of its
    phrases. Raises ValueError for an empty list."""
    groups: dict[str, list[ScenePrompt]] = {}
    for concept in concepts:
        groups.setdefault(concept.root, []).append(concept)
    if not groups:
        raise ValueError("the list of prompts is empty")
    return _in_turn(groups, seed)


def _in_turn(groups: Mapping[str, Sequence[ScenePrompt]], seed: int) -> Iterator[ScenePrompt]:
    for turn in itertools.count():
        rng = np.random.default_rng([seed, turn])
        for root in rng.permutation(sorted(groups)):
            phrases = groups[str(root)]
            yield phrases[int(rng.integers(len(phrases)))]


def template_prompts(
    concepts: Iterable[ScenePrompt], places: Sequence[str], seed: int
) -> Iterator[ScenePrompt]:
    """Triples without end: a concept in its turn, a place and a template drawn by seed."""
    for number, concept in enumerate(concepts_in_turn(concepts, seed)):
        rng = np.random.default_rng([seed, number, 1])
        place = places[int(rng.integers(len(places)))]
        whole, background = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
        yield ScenePrompt(
            foreground=concept.foreground,
            composite=whole.format(concept=concept.foreground, place=place),
            background=background.format(place=place),
            concept=concept.concept,
            root=concept.root,
        )
