"""The recipe end to end on a made world: examples, features kept, two neurons that beat chance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

from made_photos import photo_folder
from multiplane.data.layer_photos.build import PhotoJob, build_photos
from multiplane.data.layer_photos.examples import ExampleStock, completion_example, mask_example
from multiplane.data.layer_photos.quality import QualityFilter, read_note
from multiplane.data.layer_photos.sources import photo_sources
from multiplane.data.layer_photos.steps import PhotoConfig
from multiplane.recipes import quality_classifiers
from multiplane.recipes.quality_classifiers import QualityConfig, run
from multiplane.training.one_neuron import FitConfig
from small_quality import small_quality
from small_world import write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard folder whose train split stands in for both."""
    folder = tmp_path_factory.mktemp("world") / "shards"
    write_shards(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for note in manifest["shards"]:
        note["about"]["split"] = "all"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_examples_follow_from_their_seed(shards: Path) -> None:
    stock = ExampleStock(shards, "train", 64)
    for index in range(1, 9):
        one, other = (mask_example(stock, 5, index, None) for _ in range(2))
        np.testing.assert_array_equal(one.picture, other.picture)
        assert (one.fault, one.good) == (other.fault, other.good)
        assert one.good == (one.fault == "")
        assert completion_example(stock, 5, index).mask is None
    names = {mask_example(stock, 5, index, None).fault for index in range(40)}
    assert names == {"", "incomplete", "background inside", "elsewhere", "too small"}


def test_the_recipe_writes_a_filter_and_goes_on_after_a_stop(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = QualityConfig(
        shards=shards,
        out=tmp_path / "run",
        train=100,
        heldout=50,
        size=64,
        side=32,
        matte="",
        precision=0.6,
        fit=FitConfig(epochs=20),
        backbone=small_quality(tmp_path / "network"),
    )
    monkeypatch.setattr(quality_classifiers, "SET_ASIDE", 0.5)  # one colour of the four
    monkeypatch.setattr(quality_classifiers, "completion_example", None)
    with pytest.raises(TypeError):
        run(config)
    monkeypatch.setattr(quality_classifiers, "completion_example", completion_example)
    monkeypatch.setattr(quality_classifiers, "mask_example", None)  # theirs are kept
    figures = run(config)
    for question in ("mask", "completion"):
        best = next(
            way for way in figures[question]["ways"] if way["views"] == figures[question]["chosen"]
        )
        assert best["auc"] > 0.6
        assert sum(fault["count"] for fault in best["passed"].values()) <= 50
    note = read_note(tmp_path / "run")
    assert note.backbone == "own"
    (tmp_path / "run" / "backbone.safetensors").write_bytes(
        (tmp_path / "network" / "backbone.safetensors").read_bytes()
    )
    quality = QualityFilter.load(tmp_path / "run")
    scene = ExampleStock(shards, "train", 64).scene(np.random.default_rng(0))
    scores = quality.score(scene.image, scene.mask, scene.background)
    assert 0 < scores.mask < 1
    assert 0 < scores.completion < 1


def test_photographic_examples_join_the_masks_alone(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are beside the others, which stay as they are, and no held-out figure counts them."""
    pytest.importorskip("onnxruntime")
    config = QualityConfig(
        shards=shards,
        out=tmp_path / "run",
        train=24,
        heldout=20,
        size=64,
        side=32,
        matte="",
        precision=0.5,
        fit=FitConfig(epochs=3),
        backbone=small_quality(tmp_path / "network"),
    )
    monkeypatch.setattr(quality_classifiers, "SET_ASIDE", 0.5)
    plain = run(config)
    job = PhotoJob(
        PhotoConfig(size=64, matte="u2netp", complete="diffuse", quality=""), "in", "loop"
    )
    build_photos(job, photo_sources(photo_folder(tmp_path / "in")), tmp_path / "layers")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.npz")}
    more = run(replace(config, photographs=tmp_path / "layers", photographic=12))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert more["mask"]["examples"] == {"train": 24 + 12 + 12, "heldout": 20}
    assert more["completion"] == plain["completion"]
    with pytest.raises(ValueError, match="go together"):
        replace(config, photographic=12)
