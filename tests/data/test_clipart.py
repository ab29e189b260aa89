"""Titles of clip art: only those that say what is to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_pictures import disc
from multiplane.data.captions import word_set
from multiplane.data.clipart import clipart_assets, phrase_of, title_of
from multiplane.data.emoji import EmojiName

KNOWN = word_set("yellow duck cat tiger house the big green frog lemon red")
NOUNS = word_set("duck cat cow tiger house frog lemon")


@pytest.mark.parametrize(
    ("title", "file", "phrase"),
    [
        ("Duck (Yellow)", "animals/duck_yellow_01", "yellow duck"),
        ("Gatto", "animals/gatto_architetto_fra_01", "cat"),
        ("Various Cliparts", "unsorted/mucca", "cow"),
        ("Clipart by Somebody - pear", "food/tiger_nicu_buculei_01", "tiger"),
        ("gramastar", "food/gramastar_01", ""),
        ("Big Zork", "animals/big_zork", ""),
        ("Tux the penguin", "animals/tux", ""),
        ("House logo", "buildings/house_logo", ""),
        ("yellow", "animals/yellow", ""),
        ("", "food/qwerty_01", ""),
    ],
)
def test_phrase(title: str, file: str, phrase: str) -> None:
    assert phrase_of(title, file, KNOWN, NOUNS) == phrase


def test_drawings_follow_the_split_of_their_emoji_twin(tmp_path: Path) -> None:
    for name, title in (("a_lemon_01", "A lemon"), ("tiger_01", "Tiger"), ("x_01", "Qzx")):
        for kind in ("png", "svg"):
            (tmp_path / kind / "food").mkdir(parents=True, exist_ok=True)
        disc(64).save(tmp_path / "png" / "food" / f"{name}.png")
        (tmp_path / "svg" / "food" / f"{name}.svg").write_text(
            f"<svg><dc:title>{title}</dc:title><rdf:li>food</rdf:li><rdf:li></rdf:li></svg>"
        )
    names = {
        str(index): EmojiName(label, "", (), "animals-nature", "any")
        for index, label in enumerate(("lemon", "tiger"))
    }
    found = {
        asset.concept: asset
        for asset in clipart_assets(
            tmp_path / "png", tmp_path / "svg", names, source="s", licence="public domain"
        )
    }
    assert set(found) == {"lemon", "tiger"}
    assert found["lemon"].split == "heldout"  # as the emoji of that name
    assert all("clip art" in c or "drawing" in c or "cartoon" in c for c in found["tiger"].captions)
    assert title_of(tmp_path / "svg" / "food" / "a_lemon_01.svg") == ("A lemon", ("food",))
