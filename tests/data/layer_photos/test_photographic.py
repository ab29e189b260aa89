"""Scenes with photographic objects: cut-outs of made photographs, and textured assets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

from made_photos import photo_folder
from multiplane.data.layer_photos.build import PhotoJob, build_photos
from multiplane.data.layer_photos.examples import ExampleStock, mask_example
from multiplane.data.layer_photos.photographic import (
    CUTOUT_SIZE,
    CutoutStock,
    TexturedStock,
    read_cutouts,
    textured,
)
from multiplane.data.layer_photos.sources import photo_sources
from multiplane.data.layer_photos.steps import PhotoConfig
from small_world import write_shards

SIZE = 64


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "shards"
    write_shards(folder)
    return folder


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    config = PhotoConfig(size=80, matte="u2netp", complete="diffuse", quality="")
    sources = photo_sources(photo_folder(folder / "in"))
    build_photos(PhotoJob(config, given="in", where="loop"), sources, folder / "layers")
    return folder / "layers"


def test_cutouts_are_what_was_cut(layers: Path) -> None:
    pool = read_cutouts(layers)
    assert len(pool) == json.loads((layers / "manifest.json").read_text())["shards"][0]["count"]
    assert pool.pixels.shape == (len(pool), 4, CUTOUT_SIZE, CUTOUT_SIZE)
    for plane in pool.pixels:
        rows, columns = np.nonzero(plane[3])
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert longest > 0.98 * CUTOUT_SIZE  # nothing clear is left around it
        middle = [(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2]
        np.testing.assert_allclose(middle, CUTOUT_SIZE / 2, atol=0.02 * CUTOUT_SIZE)


def test_both_kinds_follow_from_their_seed(shards: Path, layers: Path) -> None:
    assets = ExampleStock(shards, "train", SIZE)
    cut, textured_ones = CutoutStock(assets, layers), TexturedStock(assets)
    names = set(read_cutouts(layers).roots)
    for seed in range(6):
        one, other = (cut.scene(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.image, other.image)
        assert one.root in names
        plain, made = (each.scene(np.random.default_rng(seed)) for each in (assets, textured_ones))
        np.testing.assert_array_equal(made.mask, plain.mask)
        np.testing.assert_array_equal(made.background, plain.background)
        assert np.abs(made.image - plain.image)[plain.mask > 0.9].mean() > 0.02
    faults = {mask_example(cut, 5, index, None).fault for index in range(40)}
    assert faults == {"", "incomplete", "background inside", "elsewhere", "too small"}


def test_a_texture_stays_inside_the_object(shards: Path) -> None:
    scene = ExampleStock(shards, "train", SIZE).scene(np.random.default_rng(1))
    noise = np.random.default_rng(2).random((SIZE, SIZE, 3), np.float32)
    made = textured(scene, noise, np.random.default_rng(3))
    outside, inside = scene.mask == 0, scene.mask > 0.99
    np.testing.assert_array_equal(made[outside], scene.image[outside])
    assert made[inside].std(axis=0).min() > 2 * scene.image[inside].std(axis=0).max()
    assert 0 <= made.min() <= made.max() <= 1


def test_a_folder_without_layers_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        read_cutouts(tmp_path)
    with pytest.raises(ValueError, match="no shard of"):
        read_cutouts(shards)
