"""Layered clips: where things are in every frame, animated sources, shards that can be trusted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_pictures import disc
from multiplane.data.animations import Animation, is_animated, read_animation
from multiplane.data.build import build
from multiplane.data.clip_motion import CameraPath, ClipMotion, ObjectPath, draw_camera, draw_object
from multiplane.data.clip_set import read_clips
from multiplane.data.clips import ClipDraw, render_clip
from multiplane.data.recipe import ClipRecipe, DataRecipe, read_recipe
from multiplane.data.shards import BrokenSource, read_shard
from small_clips import blinking, write_clip_recipe, write_sources

STILL = CameraPath((0.1, 0.0, 0.8), (0.1, 0.0, 0.8))
PATH = ObjectPath(0.3, 0.7, 0.8, 0.5, 1.0, 0.0, 0, 0.0, 0.0)
DRAW = ClipDraw(PATH, STILL, 0.0, False, 0.0, 0.0, 0.5)


def animation(size: int = 128) -> Animation:
    picture = np.asarray(disc(size))
    return Animation((picture,), (100,))


def plate(width: int = 256, height: int = 128) -> Image.Image:
    """A ramp: every column 1 brighter than the one before."""
    row = np.arange(width, dtype=np.uint8)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (height, width, 3)).copy())


def test_an_object_is_where_its_path_says() -> None:
    clip = render_clip(DRAW, animation(), plate(), 64, 5, 8.0)
    for index, frame in enumerate(clip.foreground):
        solid = np.argwhere(frame[..., 3] > 127)
        centre, foot = solid.mean(axis=0)[1] + 0.5, solid[:, 0].max() + 1
        assert centre == pytest.approx(64 * (0.3 + 0.4 * index / 4), abs=0.7)
        assert foot == pytest.approx(64 * 0.8, abs=1)
        assert foot - solid[:, 0].min() == pytest.approx(64 * 0.5, abs=1.5)


def test_hops_lift_and_growth_enlarges() -> None:
    path = replace(PATH, hop=0.2, hops=1, growth=1.5, height=0.3)
    clip = render_clip(replace(DRAW, object=path), animation(), plate(), 64, 3, 8.0)
    feet = [np.argwhere(f[..., 3] > 127)[:, 0].max() + 1 for f in clip.foreground]
    tall = [np.ptp(np.argwhere(f[..., 3] > 127)[:, 0]) + 1 for f in clip.foreground]
    assert feet[0] - feet[1] == pytest.approx(0.2 * 64, abs=1)
    assert feet[2] == pytest.approx(feet[0], abs=1)
    assert tall[2] / tall[0] == pytest.approx(1.5, abs=0.1)


def test_the_camera_pans_over_the_photograph() -> None:
    """On a ramp the middle column of the window has the value of the photograph there."""
    camera = CameraPath((0.0, 0.1, 0.5), (0.75, 0.1, 0.5))
    clip = render_clip(replace(DRAW, camera=camera), animation(), plate(), 64, 4, 8.0)
    for index, frame in enumerate(clip.background):
        middle = 128 * (0.75 * index / 3 + 0.25)
        assert frame[:, 31:33].mean() == pytest.approx(middle - 0.5, abs=1)
    still = render_clip(DRAW, animation(), plate(), 64, 3, 8.0)
    assert (still.background == still.background[:1]).all()


def test_the_shadow_lies_in_the_foregrounds_plane_and_fades_in_the_air() -> None:
    shaded = replace(DRAW, strength=0.5, object=replace(PATH, hop=0.3, hops=1))
    clip = render_clip(shaded, animation(), plate(), 64, 3, 8.0)
    below = clip.foreground[:, 53:, :, 3].reshape(3, -1).max(axis=1)
    assert min(below[0], below[2]) > 40
    assert below[1] == 0


@pytest.mark.parametrize("seed", range(30))
def test_paths_stay_on_the_canvas_and_the_photograph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion = ClipMotion()
    path = draw_object(rng, motion, rng.uniform(0.3, 3), (0.78, 0.97), (0.45, 0.9))
    width = rng.uniform(1, 2.5)
    camera = draw_camera(rng, motion, width, rng.uniform(0.2, 0.8))
    for time in (0, 0.3, 1):
        assert 0.1 < path.at(time).x < 0.9
        left, top, side = camera.at(time)
        assert min(left, top) >= -1e-9
        assert left + side <= width + 1e-9
        assert top + side <= 1 + 1e-9


def test_frames_follow_the_files_own_clock(tmp_path: Path) -> None:
    blinking(tmp_path / "a.webp", (100, 300))
    assert is_animated(tmp_path / "a.webp")
    found = read_animation(tmp_path / "a.webp", 48)
    assert found.seconds == pytest.approx(0.4)
    first, second = found.frames
    assert not (first == second).all()
    shown = found.at([0, 0.09, 0.11, 0.39, 0.41, 0.51])
    assert [frame is first for frame in shown] == [True, True, False, False, True, False]


def test_a_still_is_no_animation_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    disc(48).save(tmp_path / "still.png")
    assert not is_animated(tmp_path / "still.png")
    assert len(read_animation(tmp_path / "still.png", 48).frames) == 1
    blinking(tmp_path / "whole.webp")
    data = (tmp_path / "whole.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) * 2 // 3])
    assert not is_animated(tmp_path / "absent.webp")
    with pytest.raises(BrokenSource):
        read_animation(tmp_path / "cut.webp", 48)
    disc(48).convert("RGB").save(tmp_path / "opaque.png")
    with pytest.raises(BrokenSource, match="no transparency"):
        read_animation(tmp_path / "opaque.png", 48)


def test_the_build_writes_every_clip_of_both_splits(tmp_path: Path) -> None:
    write_sources(tmp_path)
    recipe = read_recipe(write_clip_recipe(tmp_path, per_asset=2))
    manifest = build(recipe, tmp_path / "out", tmp_path)
    assert manifest["counts"] == {
        "clip-moving-train": 6,
        "clip-moving-heldout": 4,
        "clip-stills-train": 6,
        "clip-stills-heldout": 4,
    }
    folder = tmp_path / "out" / "clips"
    assert not (tmp_path / "out" / "assets").exists()
    clips = read_clips(folder, "train", ("moving", "stills"))
    assert clips.foreground.shape == (12, 4, 4, 32, 32)
    assert clips.background.shape == (12, 4, 3, 32, 32)
    assert sorted(set(clips.styles)) == ["moving", "stills"]
    assert len(set(clips.keys)) == 12
    assert {caption.split(",")[0] for caption in clips.captions} == {
        captions[0] for captions in clips.foreground_captions
    }
    assert len(read_clips(folder, "train", ("moving",), limit=1)) == 3  # shards of one asset each


def test_two_pictures_of_one_key_are_refused(tmp_path: Path) -> None:
    write_sources(tmp_path)
    blinking(tmp_path / "moving" / "cube-train-0.webp")
    with pytest.raises(ValueError, match="share the key"):
        build(read_recipe(write_clip_recipe(tmp_path)), tmp_path / "out", tmp_path)


def test_what_is_stored_is_what_was_drawn(tmp_path: Path) -> None:
    """The strips decode to the very pixels, colour under alpha 0 included."""
    write_sources(tmp_path)
    build(read_recipe(write_clip_recipe(tmp_path)), tmp_path / "out", tmp_path)
    path = next((tmp_path / "out" / "clips").glob("clip-moving-train-*.tar"))
    for _, members in read_shard(path):
        about = json.loads(members["json"])
        strip = np.asarray(Image.open(io.BytesIO(members["foreground.webp"])).convert("RGBA"))
        assert strip.shape == (4 * 32, 32, 4)
        assert len(about["places"]) == len(about["windows"]) == about["frames"] == 4
        for frame, (x, foot, _, _) in zip(
            strip.reshape(4, 32, 32, 4), about["places"], strict=True
        ):
            solid = np.argwhere(frame[: max(1, round(foot * 32)), :, 3] > 200)
            assert solid[:, 1].mean() + 0.5 == pytest.approx(32 * x, abs=2.5)


def test_two_builds_have_the_same_bytes_and_a_second_run_writes_nothing(tmp_path: Path) -> None:
    write_sources(tmp_path)
    recipe = read_recipe(write_clip_recipe(tmp_path))
    for name in ("a", "b"):
        build(recipe, tmp_path / name, tmp_path)
    files = sorted((tmp_path / "a" / "clips").glob("*.tar"))
    assert len(files) == 6
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / "clips" / file.name).read_bytes()
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    build(recipe, tmp_path / "a", tmp_path)
    assert {f: f.stat().st_mtime_ns for f in files[1:]} == {f: before[f] for f in files[1:]}
    assert files[0].read_bytes() == (tmp_path / "b" / "clips" / files[0].name).read_bytes()


def test_another_seed_makes_other_clips_of_the_same_things(tmp_path: Path) -> None:
    write_sources(tmp_path)
    made = []
    for seed in (1, 2):
        recipe = read_recipe(write_clip_recipe(tmp_path, seed=seed))
        build(recipe, tmp_path / str(seed), tmp_path)
        made.append(read_clips(tmp_path / str(seed) / "clips", "train", ("moving",)))
    assert made[0].keys == made[1].keys
    assert (made[0].foreground != made[1].foreground).any()


def test_the_animated_set_needs_its_licence_class_allowed(tmp_path: Path) -> None:
    clips = ClipRecipe(foregrounds=("fluent-animated",), backgrounds=("folder:plates",))
    write_sources(tmp_path)
    with pytest.raises(ValueError, match="licence class 'S'; the recipe allows A"):
        build(DataRecipe(clips=clips), tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"backgrounds": ()},
        {"frames": 0},
        {"size": 8},
        {"fps": 0.0},
        {"frames": 300, "size": 64},
        {"limit": -1},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=r"clips need|frames \* size"):
        ClipRecipe(**({"foregrounds": ("a",), "backgrounds": ("b",)} | values))


def test_ranges_upside_down_are_refused() -> None:
    with pytest.raises(ValueError, match="from low to high"):
        ClipMotion(travel=(0.5, 0.1))
