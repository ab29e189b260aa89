"""Emoji art as assets, from a small made-up package in the form of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from made_pictures import disc
from multiplane.data.emoji import code_points, emoji_assets, read_names

MESSAGES = {
    "groups": [
        {"order": 0, "key": "animals-nature"},
        {"order": 1, "key": "flags"},
        {"order": 2, "key": "people-body"},
        {"order": 3, "key": "travel-places"},
    ],
    "subgroups": [{"order": 0, "key": "any"}],
}


def entry(label: str, code: str, group: int, **more) -> dict:
    return {"label": label, "hexcode": code, "group": group, "subgroup": 0, "tags": ["tag"]} | more


ENTRIES = [
    entry("dog face", "1F436", 0),
    entry("flag: Nowhere", "1F1F3-1F1F4", 1),
    entry("twelve o’clock", "1F55B", 3),
    entry(
        "woman surfing",
        "1F3C4-200D-2640-FE0F",
        2,
        skins=[
            {
                "label": "woman surfing: dark skin tone",
                "hexcode": "1F3C4-1F3FF-200D-2640-FE0F",
            }
        ],
    ),
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]


@pytest.fixture
def names(tmp_path: Path):
    folder = tmp_path / "names" / "en"
    folder.mkdir(parents=True)
    (folder / "data.json").write_text(json.dumps(ENTRIES), "utf-8")
    (folder / "messages.json").write_text(json.dumps(MESSAGES), "utf-8")
    return read_names(tmp_path / "names")


def art(folder: Path, stems: list[str]) -> Path:
    folder.mkdir()
    for stem in stems:
        disc(16).save(folder / f"{stem}.png")
    return folder


def test_two_families_get_the_same_concepts(tmp_path: Path, names) -> None:
    one = art(
        tmp_path / "one",
        ["1f436", "1f3c4-200d-2640-fe0f", "1f3c4-1f3ff-200d-2640-fe0f", "1f1f3-1f1f4", "1f55b"],
    )
    other = art(
        tmp_path / "other",
        ["emoji_u1f436", "emoji_u1f3c4_200d_2640", "emoji_u1f3c4_1f3ff_200d_2640", "emoji_u1f1f3"],
    )
    made = {
        folder: list(
            emoji_assets(
                folder,
                names,
                pattern="*.png",
                kind="foreground",
                style=folder.name,
                source="s",
                licence="l",
                one_a_concept=folder is other,
            )
        )
        for folder in (one, other)
    }
    assert [asset.concept for asset in made[one]] == ["woman-surfing"] * 2 + ["dog-face"]
    assert {asset.concept for asset in made[other]} == {"woman-surfing", "dog-face"}
    assert len(made[other]) == 2  # one picture a concept
    toned = next(asset for asset in made[one] if "dark" in " ".join(asset.captions))
    assert toned.caption == "a woman surfing"
    assert "a woman surfing, dark skin tone" in toned.captions
    assert toned.weight < 1
    assert {asset.root for asset in made[one]} == {"surfing", "dog"}
    assert len({asset.split for asset in made[one] if asset.root == "surfing"}) == 1


def test_code_points_have_one_spelling() -> None:
    assert code_points("emoji_u0032_20e3") == code_points("0032-fe0f-20e3") == "32-20e3"


def test_json_keeps_what_training_reads_and_no_path(tmp_path: Path, names) -> None:
    folder = art(tmp_path / "art", ["1f436"])
    (asset,) = emoji_assets(
        folder, names, pattern="*.png", kind="foreground", style="3d", source="s", licence="MIT"
    )
    stored = asset.to_json()
    assert {"kind", "concept", "split", "caption", "captions", "tags", "group"} <= set(stored)
    assert {"source", "licence", "style"} <= set(stored)
    assert str(tmp_path) not in json.dumps(stored)
