"""Items found in folders and shards."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from made_pictures import disc, sky
from multiplane.data.browse import find_items
from multiplane.data.shards import read_shard, write_json, write_shard


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def shard_folder(folder: Path) -> Path:
    folder.mkdir()
    samples = [
        (
            f"scene-{index:04d}",
            lambda index=index: [
                ("json", json.dumps({"caption": f"thing {index}"}).encode()),
                ("composite.png", png(sky(seed=index))),
                ("foreground.png", png(disc(seed=index))),
            ],
        )
        for index in range(3)
    ]
    notes = [write_shard(folder, name, samples, plan="", about={}) for name in ("b.tar", "a.tar")]
    write_json(folder / "manifest.json", {"shards": [{"name": note.name} for note in notes]})
    return folder


def test_shard_items_read_the_bytes_the_shard_holds(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "shards")
    items = find_items(folder)
    assert [item.key for item in items] == [f"{s}/scene-000{i}" for s in "ab" for i in range(3)]
    truth = dict(read_shard(folder / "a.tar"))
    for item in items[:3]:
        members = truth[item.key.split("/")[1]]
        assert list(item.planes) == ["composite", "foreground"]
        assert item.planes["composite"].read() == members["composite.png"]
        assert item.planes["foreground"].read() == members["foreground.png"]
        assert item.about() == json.loads(members["json"])
    assert [item.key for item in find_items(folder / "b.tar")] == [
        f"b/scene-000{i}" for i in range(3)
    ]


def test_planes_in_a_folder_are_one_item(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    for name in ("sub/cat.composite.png", "sub/cat.mask.png", "dog.v2.png", "sub/.hidden/x.png"):
        disc(8).save(tmp_path / name)
    (tmp_path / "dog.v2.txt").write_text("a dog\nmore\n")
    (tmp_path / "sub" / "notes.txt").write_text("no picture of this name")
    items = {item.key: item for item in find_items(tmp_path)}
    assert {key: list(item.planes) for key, item in items.items()} == {
        "dog.v2": ["picture"],
        "sub/cat": ["composite", "mask"],
    }
    assert items["dog.v2"].about() == {"caption": "a dog"}
    assert items["sub/cat"].about() == {"caption": "sub/cat"}


@pytest.mark.parametrize("words", ["[1, 2]", '{"caption": 7}', "{", ""])
def test_odd_words_leave_the_key_as_caption(tmp_path: Path, words: str) -> None:
    disc(8).save(tmp_path / "cat.png")
    (tmp_path / "cat.json").write_text(words)
    (item,) = find_items(tmp_path)
    assert item.about()["caption"] in ("cat", words)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder or shard"):
        find_items(tmp_path / "none")
    with pytest.raises(ValueError, match="no picture in"):
        find_items(tmp_path)
    (tmp_path / "broken.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ValueError, match="cannot be read as a shard"):
        find_items(tmp_path / "broken.tar")
    disc(8).save(tmp_path / "cat.png")
    (item,) = find_items(tmp_path)
    (tmp_path / "cat.png").write_bytes(b"short")
    with pytest.raises(OSError, match="changed while"):
        item.planes["picture"].read()
