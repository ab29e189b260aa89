"""The hand-written table of photographs."""

from __future__ import annotations

from pathlib import Path

from multiplane.data.plates import plate_assets, read_table


def test_every_row_is_whole() -> None:
    table = read_table()
    assert len(table) > 150
    for name, (horizon, captions) in table.items():
        assert 0 <= horizon <= 1, name
        assert len(captions) >= 3, name
        assert all(caption and caption == caption.strip() for caption in captions), name


def test_no_share_alike_photograph_is_listed() -> None:
    """By the licence notes of the package: these authors and this picture are share-alike."""
    authors = ("bwerner", "myrabella", "dmottl", "mfield", "lava5", "geoscan", "eso")
    for name in read_table():
        assert not name.startswith(authors), name
        assert "-" not in name, name


def test_photographs_are_split_one_by_one(tmp_path: Path) -> None:
    assets = list(plate_assets(tmp_path, source="s", licence="public domain"))
    assert len({asset.key for asset in assets}) == len(assets)
    held = [asset for asset in assets if asset.split == "heldout"]
    assert 10 <= len(held) <= len(assets) // 4
    assert all(asset.captions[0] == asset.caption for asset in assets)
