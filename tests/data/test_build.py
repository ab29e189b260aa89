"""From a recipe to shards: broken files, kill -9 and resume, recipes that say something wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made_pictures import disc, picture_folders, write_recipe
from multiplane.data.build import build
from multiplane.data.recipe import find_recipe, read_recipe
from multiplane.data.shards import read_shard
from multiplane.io.checksum import sha256_of

# Builds a recipe and kills itself, as `kill -9` would, when it comes to the given sample.
KILLED = """
import os, signal, sys
from pathlib import Path
import multiplane.data.build as build
from multiplane.data.recipe import read_recipe

recipe, out, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
made = build.sample_members

def counted(asset):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(asset)

build.sample_members = counted
build.build(read_recipe(recipe), out, recipe.parent)
"""


def built(recipe: Path, out: Path) -> dict:
    return build(read_recipe(recipe), out, recipe.parent)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if "cache" not in p.name}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    picture_folders(tmp_path, objects=13, scenes=5)
    return write_recipe(tmp_path)


def test_every_picture_arrives_once(recipe: Path, tmp_path: Path) -> None:
    manifest = built(recipe, tmp_path / "out")
    folder = tmp_path / "out" / "assets"
    stored = json.loads((folder / "manifest.json").read_text())
    assert stored == json.loads(json.dumps(manifest))
    samples = [
        (json.loads(members["json"]), note)
        for note in manifest["shards"]
        for _, members in read_shard(folder / note["name"])
    ]
    assert len(samples) == 18
    assert len({about["key"] for about, _ in samples}) == 18
    assert sum(manifest["counts"].values()) == 18
    for about, note in samples:
        assert (about["kind"], about["split"]) == (note["about"]["kind"], note["about"]["split"])
    for note in manifest["shards"]:
        assert note["count"] <= 4
        assert note["sha256"] == sha256_of(folder / note["name"])
    assert {"a thing called 1", "a thing 000"} <= {about["caption"] for about, _ in samples}


def test_broken_sources_are_skipped_counted_and_listed(recipe: Path, tmp_path: Path) -> None:
    cutouts = tmp_path / "cutouts"
    whole = (cutouts / "thing-000.png").read_bytes()
    (cutouts / "bad-cut.png").write_bytes(whole[: len(whole) // 2])
    (cutouts / "bad-empty.png").write_bytes(b"")
    (cutouts / "bad-text.png").write_text("no picture")
    lying = bytearray(whole)
    lying[16:24] = (60_000).to_bytes(4, "big") * 2  # the header claims 3.6 gigapixels
    (cutouts / "bad-lying.png").write_bytes(bytes(lying))
    disc(32).convert("RGB").save(cutouts / "bad-opaque.png")
    manifest = built(recipe, tmp_path / "out")
    assert sum(manifest["counts"].values()) == 18
    skipped = {entry["key"]: entry["reason"] for entry in manifest["skipped"]}
    assert set(skipped) == {
        f"foreground-bad-{name}" for name in ("cut", "empty", "text", "lying", "opaque")
    }
    assert "no transparency" in skipped["foreground-bad-opaque"]
    assert str(tmp_path) not in json.dumps(manifest["skipped"])


@pytest.mark.parametrize("stop", [0, 6, 14])
def test_kill_and_resume_equals_one_run(recipe: Path, tmp_path: Path, stop: int) -> None:
    command = [sys.executable, "-c", KILLED, str(recipe), str(tmp_path / "out"), str(stop)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "out" / "assets"
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar")}
    assert len(finished) >= stop // 4 - 1
    assert not (folder / "manifest.json").exists()
    built(recipe, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # nothing done twice
    built(recipe, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole" / "assets")


def test_a_second_run_writes_no_shard(recipe: Path, tmp_path: Path) -> None:
    built(recipe, tmp_path / "out")
    folder = tmp_path / "out" / "assets"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar*")}
    built(recipe, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.tar*")} == before


def test_a_changed_source_is_built_again_and_old_shards_go(recipe: Path, tmp_path: Path) -> None:
    built(recipe, tmp_path / "out")
    folder = tmp_path / "out" / "assets"
    (tmp_path / "cutouts" / "thing-000.txt").write_text("a green thing")
    write_recipe(tmp_path, backgrounds=[])
    manifest = built(recipe, tmp_path / "out")
    assert {note["about"]["kind"] for note in manifest["shards"]} == {"foreground"}
    listed = {note["name"] for note in manifest["shards"]}
    assert {path.name for path in folder.glob("*.tar")} == listed
    captions = [
        json.loads(members["json"])["caption"]
        for name in listed
        for _, members in read_shard(folder / name)
    ]
    assert "a green thing" in captions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foregrounds = ['folder:cutouts']\ncolour = 1\n", "unknown key 'colour'"),
        ("samples_per_shard = 0\nforegrounds = ['folder:cutouts']\n", "at least 1, got 0"),
        ("", "must name foregrounds"),
        ("foregrounds = ['nothing']\n", "no collection is called 'nothing'"),
        ("foregrounds = ['folder:absent']\n", "no folder"),
        ("foregrounds = ['noto']\n", "licence class 'test'"),
        ("foregrounds = 3\n", "foregrounds"),
        ("[scenes]\nbusy = 2.0\n", "busy 0..1"),
        ("what", "not valid TOML"),
    ],
)
def test_wrong_recipes_are_named(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        built(recipe, tmp_path / "out")


def test_the_shipped_recipe_is_class_a_and_found_by_name(tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe("tiny"))
    assert recipe.licence_classes == ("A",)
    assert recipe.scenes.count >= 50
    assert "noto" not in recipe.foregrounds
    with pytest.raises(FileNotFoundError, match="tiny"):
        find_recipe("huge")
    with pytest.raises(FileNotFoundError, match="no recipe at"):
        find_recipe(str(tmp_path / "absent.toml"))
