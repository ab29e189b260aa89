"""Clips judged: the measures against hand-worked clips, and the part on a family that keeps what it
is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moving_family import MovingFamily
from multiplane.core.composite import composite_u8
from multiplane.core.document import Layer, LayerDocument
from multiplane.engine import Model
from multiplane.evaluation.bench import Bench, RecordingFamily
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.entries import parts_named
from multiplane.evaluation.moving import alpha_flicker, motion, moving_scenes
from multiplane.evaluation.parts import clips
from small_world import write_shards

from .stage import unmeasured


def blinking(frames: int) -> np.ndarray:
    """(F, 8, 8, 4) uint8 white: four pixels that are there in every second frame."""
    clip = np.zeros((frames, 8, 8, 4), np.uint8)
    clip[..., :3] = 255
    clip[::2, 2:4, 2:4, 3] = 255
    return clip


def test_motion_is_the_mean_step_of_premultiplied_pixels() -> None:
    clip = blinking(3)
    assert motion(clip) == pytest.approx(4 / 64)
    clip[..., :3] = np.where(clip[..., 3:] == 0, 90, 255)  # colour under clear pixels is nothing
    assert motion(clip) == pytest.approx(4 / 64)
    assert motion(np.repeat(clip[:1], 4, axis=0)) == 0.0


def test_flicker_is_what_goes_to_and_fro_where_alpha_is_touched() -> None:
    assert alpha_flicker(blinking(5)) == pytest.approx(2.0)
    steady = np.repeat(blinking(1), 5, axis=0)
    assert alpha_flicker(steady) == 0.0
    fading = steady.copy()
    fading[..., 3] = (np.linspace(0, 1, 5) * 255).round()[:, None, None]
    assert alpha_flicker(fading) < 0.01


def test_true_clips_are_composites_of_their_planes(tmp_path: Path) -> None:
    write_shards(tmp_path / "assets")
    scenes = moving_scenes(tmp_path / "assets", 32, 4, 3, seed=5)
    again = moving_scenes(tmp_path / "assets", 32, 4, 3, seed=5)
    for scene, other in zip(scenes, again, strict=True):
        np.testing.assert_array_equal(scene.planes["composite"], other.planes["composite"])
        assert scene.prompts == {"foreground": "white ball", "background": "plate heldout"}
        for frame in range(4):
            layers = (scene.planes["background"][frame], scene.planes["foreground"][frame])
            document = LayerDocument((32, 32), tuple(map(Layer, ("back", "front"), layers)))
            apart = composite_u8(document).astype(int) - scene.planes["composite"][frame]
            assert np.abs(apart).max() <= 2  # premultiplied 8-bit rounding of both


def test_the_part_measures_every_kind_of_clip(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards" / "assets")
    family = RecordingFamily(MovingFamily())
    judges: Any = None
    bench = Bench(Model(family), family, tmp_path / "shards", tmp_path, judges, limit=2)
    found = clips.run(bench)
    assert found["frames"] == 12
    assert found["from words"]["seconds"]["n"] == 2
    assert found["from words"]["motion of the foreground"]["mean"] > 0
    assert found["composite given"]["to the given composite, 255ths"]["max"] <= 0.51
    assert 0 <= found["composite given"]["foreground"]["mask iou"]["mean"] <= 1
    for row in ("background given", "foreground given"):
        assert found[row]["given frames unchanged"]["mean"] == 1.0
    assert found["still given"]["first frames unchanged"]["mean"] == 1.0
    assert found["real"]["alpha flicker"]["n"] == 2
    assert unmeasured("clips", found) == []
    told = list(lines_of({"parts": {"clips": found}}))
    assert any(line.startswith("  composite given: mask iou") for line in told)
    names = {path.stem for path in tmp_path.glob("clips*.png")}
    assert names == {"clips", *(f"clips-{row}" for row in (*clips.ROWS, "still"))}


def test_a_family_of_stills_has_no_clips_to_measure(tmp_path: Path) -> None:
    family = RecordingFamily(MovingFamily())
    family.max_frames = 1
    judges: Any = None
    assert clips.run(Bench(Model(family), family, tmp_path, tmp_path, judges)) == {"frames": 1}
    assert parts_named(["clips"])[0].module == "clips"
