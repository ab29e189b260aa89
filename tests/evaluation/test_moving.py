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
from multiplane.evaluation.clip_names import clip_vectors, named, staying
from multiplane.evaluation.digest import lines_of
from multiplane.evaluation.entries import parts_named
from multiplane.evaluation.moving import alpha_flicker, motion, moving_scenes
from multiplane.evaluation.parts import clips
from multiplane.evaluation.prompts import FixedPrompt
from small_world import write_shards

from .stage import SeeingJudges, add_gallery, disc, unmeasured

BALLS = {
    "red ball": (1.0, 0.0, 0.0),
    "green ball": (0.0, 1.0, 0.0),
    "blue ball": (0.0, 0.0, 1.0),
    "white ball": (1.0, 1.0, 1.0),
}


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


def test_the_part_measures_every_kind_of_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "shards" / "assets")
    # More drawings than are looked at, so that a clip can miss: greys, all nearer to white.
    greys = {f"grey {i}": (0.6 + i / 25,) * 3 for i in range(6)}
    drawings = {name: disc(color, 12, 16, 16) for name, color in {**BALLS, **greys}.items()}
    add_gallery(tmp_path / "shards" / "assets", drawings)
    asked = [
        FixedPrompt("train", number, name, name, "a dark plain")
        for number, name in enumerate(("white ball", "red ball"))
    ]
    monkeypatch.setattr(clips, "fixed_prompts", lambda: asked)
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    family = RecordingFamily(MovingFamily())
    judges: Any = SeeingJudges()
    bench = Bench(Model(family), family, tmp_path / "shards", tmp_path, judges, limit=2)
    found = clips.run(bench)
    assert found["frames"] == 12
    assert found["from words"]["seconds"]["n"] == 2
    assert found["from words"]["motion of the foreground"]["mean"] > 0
    rates = found["from words"]["named"]["train"]
    assert rates == found["from words"]["named"]["all"]
    assert (rates["clips"], rates["ceiling"], rates["floor"]) == (2, 1.0, pytest.approx(0.5))
    # Two flat shapes that keep their colour as they drift out of the canvas.
    alike = found["from words"]["likeness"]
    assert alike["first to last"] > 0.9
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


def test_clips_are_named_by_three_of_their_frames_and_stay_themselves_or_do_not() -> None:
    """Clips of red that stay red, and one that turns blue before its last frame."""
    red, blue = (disc(BALLS[name], 12, 16, 16) for name in ("red ball", "blue ball"))
    steady, turning = np.stack([red] * 5), np.stack([red, red, red, blue, blue])
    vectors = clip_vectors([steady, turning], SeeingJudges.features)
    assert vectors.shape[:2] == (2, 3)
    alike = staying(vectors)
    turned = float(vectors[1, 0] @ vectors[1, 2])
    assert turned < 0.95
    assert alike["first to last"] == pytest.approx((1 + turned) / 2, abs=1e-5)
    assert alike["first to last of others"] == pytest.approx((1 + turned) / 2, abs=1e-5)
    assert staying(vectors[:1]) == {}
    gallery: Any = NearestFirst(vectors[0, 0], vectors[1, 2])
    asked = [FixedPrompt(kind, 0, "red ball", "red ball", "") for kind in ("train", "heldout")]
    told = named(gallery, vectors, asked)
    assert told["all"]["top5"] == pytest.approx(5 / 6)
    assert (told["train"]["top5"], told["heldout"]["top5"]) == (1.0, pytest.approx(2 / 3))
    assert {rates["ceiling"] for rates in told.values()} == {1.0}


class NearestFirst:
    """Two drawings, red and blue; the nearer one alone is a hit."""

    def __init__(self, red: np.ndarray, blue: np.ndarray) -> None:
        self.drawings = {"red ball": red, "blue ball": blue}
        self.gallery = self

    def hits(self, queries: np.ndarray, concepts: list[str], k: int) -> np.ndarray:
        best = [
            max(self.drawings, key=lambda name: float(self.drawings[name] @ one)) for one in queries
        ]
        return np.array([name == concept for name, concept in zip(best, concepts, strict=True)])

    def floor(self, k: int) -> float:
        return 0.5

    def real_vectors(self, concepts: list[str]) -> np.ndarray:
        return np.stack([self.drawings[concept] for concept in concepts])
