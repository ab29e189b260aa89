"""What is listed of a folder, a table and a tar, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_photos import photo_folder, photo_tar
from multiplane.data.layer_photos.sources import photo_sources


def test_captions_come_from_text_json_or_the_name(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    (folder / ".hidden.png").write_bytes(b"x")
    found = {source.name: source for source in photo_sources(folder)}
    assert {name: source.caption for name, source in found.items()} == {
        "red-ball.png": "a red ball on a meadow",
        "violet-ball.png": "a violet ball",
        "yellow-ball.png": "yellow ball",
    }
    assert all(source.size == Path(source.path).stat().st_size for source in found.values())


def test_a_tar_is_read_where_its_pictures_lie(tmp_path: Path) -> None:
    tar = photo_tar(tmp_path / "shards" / "a.tar")
    whole = list(photo_sources(tar))
    assert [source.caption for source in whole] == [
        "a red ball",
        "a yellow ball",
        "a violet ball",
        "",
    ]
    assert whole[3].fault == "it has no caption"
    assert list(photo_sources(tar.parent)) == whole
    data = tar.read_bytes()
    for source in whole:
        cut = data[source.offset : source.offset + source.size]
        assert cut.startswith(b"\x89PNG")
        assert cut.endswith(b"IEND\xaeB`\x82")


def test_a_table_names_its_pictures(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    table = tmp_path / "captions.tsv"
    table.write_text("# names\nviolet-ball.png\ta plum\n\ngone.png\ta ghost\n", "utf-8")
    found = list(photo_sources(folder, table))
    assert [(source.caption, source.fault) for source in found] == [
        ("a plum", ""),
        ("a ghost", "no such file"),
    ]
    table.write_text("violet-ball.png a plum\n", "utf-8")
    with pytest.raises(ValueError, match="line 1: expected NAME"):
        list(photo_sources(folder, table))


def test_bad_captions_are_faults_of_their_picture(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    (folder / "violet-ball.json").write_text('{"caption": ', "utf-8")
    (folder / "red-ball.txt").write_text("  \n", "utf-8")
    faults = {source.name: source.fault for source in photo_sources(folder)}
    assert "no JSON" in faults["violet-ball.png"]
    assert faults["red-ball.png"] == "it has no caption"


def test_what_is_no_input_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder and no tar"):
        photo_sources(tmp_path / "none")
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="no picture"):
        list(photo_sources(tmp_path / "in"))
    (tmp_path / "in" / "bad.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(ValueError, match="cannot be read as a tar"):
        list(photo_sources(tmp_path / "in"))
    tar = photo_tar(tmp_path / "a.tar")
    with pytest.raises(ValueError, match="a tar holds its own"):
        photo_sources(tar, tmp_path / "captions.tsv")
