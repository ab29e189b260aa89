"""Prompts from files and from our lists."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from multiplane.data.prompt_lists import (
    BadPrompt,
    ScenePrompt,
    concept_of,
    concepts_in_turn,
    heldout_roots,
    read_prompts,
    shard_concepts,
    shipped_concepts,
    template_prompts,
    training_places,
)
from multiplane.data.records import split_of


def test_a_text_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(
        b"# triples\n\na cat | a cat in a garden | a garden\na | b\n\xff\xfe\n"
        b"  a dog  \ncat.png | x | y\n | a | b\n"
    )
    found = list(read_prompts(path))
    assert found[0] == ScenePrompt("a cat", "a cat in a garden", "a garden", "cat", "cat")
    assert found[3] == ScenePrompt("a dog", "", "", "dog", "dog")
    assert {(each.line, type(each)) for each in found[1:3] + found[4:]} == {
        (number, BadPrompt) for number in (4, 5, 7, 8)
    }
    reasons = {each.line: each.reason for each in found if isinstance(each, BadPrompt)}
    assert "got 2" in reasons[4]
    assert "looks like a file" in reasons[7]


def test_json_lines_carry_concepts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"foreground": "a red cat", "concept": "cat", "root": "animal"},
        {"foreground": "a cat", "composite": "a cat outside", "background": "outside"},
        {"foreground": 3},
        {"text": "a cat"},
        ["a cat"],
        {"composite": "no foreground"},
    ]
    path.write_text("\n".join([*map(json.dumps, rows), "{"]))
    found = list(read_prompts(path))
    assert found[0] == ScenePrompt("a red cat", "", "", "cat", "animal")
    assert found[1] == ScenePrompt("a cat", "a cat outside", "outside", "cat", "cat")
    assert [each.line for each in found if isinstance(each, BadPrompt)] == [3, 4, 5, 6, 7]


def test_a_file_is_not_read_before_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    with pytest.raises(FileNotFoundError, match="no prompts at"):
        read_prompts(path)
    path.write_text("a cat\n" * 50_000)
    lines = read_prompts(path)
    assert next(lines) == ScenePrompt("a cat", "", "", "cat", "cat")
    path.write_text("")  # what was not read yet is gone
    assert len(list(lines)) < 49_999


def test_our_lists_hold_training_concepts_and_places_alone() -> None:
    concepts = shipped_concepts()
    assert len(concepts) > 100
    assert all(split_of(each.root) == "train" and each.foreground for each in concepts)
    assert "a truck" in {each.foreground.replace("big ", "") for each in concepts}
    assert len(training_places()) > 80


def test_every_root_has_its_turn_before_any_comes_again() -> None:
    many = [ScenePrompt(f"a cat {n}", root="cat") for n in range(9)]
    concepts = [*many, ScenePrompt("a dog", root="dog"), ScenePrompt("a cow", root="cow")]
    drawn = list(itertools.islice(concepts_in_turn(concepts, 4), 30))
    for start in range(0, 30, 3):
        assert {each.root for each in drawn[start : start + 3]} == {"cat", "dog", "cow"}
    assert len({each.foreground for each in drawn if each.root == "cat"}) > 4
    assert drawn == list(itertools.islice(concepts_in_turn(concepts, 4), 30))
    assert drawn != list(itertools.islice(concepts_in_turn(concepts, 5), 30))
    with pytest.raises(ValueError, match="is empty"):
        concepts_in_turn([], 0)


def test_templates_name_the_concept_only_where_it_stands() -> None:
    concepts = [ScenePrompt("a cat", concept="cat", root="cat")]
    triples = list(itertools.islice(template_prompts(concepts, ["a garden", "a beach"], 0), 40))
    assert len(set(triples)) > 6
    for triple in triples:
        place = "garden" if "garden" in triple.background else "beach"
        assert "a cat" in triple.composite
        assert place in triple.composite
        assert "cat" not in triple.background
    assert triples == list(
        itertools.islice(template_prompts(concepts, ["a garden", "a beach"], 0), 40)
    )


def test_concepts_of_shards_and_what_they_hold_out(tmp_path: Path) -> None:
    from small_world import write_shards

    write_shards(tmp_path / "shards")
    found = shard_concepts(tmp_path / "shards")
    assert sorted(each.foreground for each in found) == ["blue ball", "green ball", "red ball"]
    assert {each.root for each in found} == {"blue ball", "green ball", "red ball"}
    assert heldout_roots(tmp_path / "shards") == {"white ball"}


@pytest.mark.parametrize(
    ("phrase", "concept"), [("A red apple!", "red-apple"), ("the", "the"), ("an ox", "ox")]
)
def test_a_concept_is_the_phrase_without_its_article(phrase: str, concept: str) -> None:
    assert concept_of(phrase) == concept
