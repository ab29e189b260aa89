"""Pools: what is written is read again, resized without bleeding, and kept for the next start."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.data.assets import read_assets, read_backgrounds, read_plates
from multiplane.data.shards import write_json, write_shard


def shard(folder: Path, pictures: list[np.ndarray], kind: str = "foreground", split: str = "train"):
    """A shard of given pixels and a manifest that lists it."""
    samples = []
    for index, pixels in enumerate(pictures):
        about = {
            "key": f"{kind}-{index}",
            "caption": f"a thing {index}",
            "captions": [f"a thing {index}", "thing"],
            "concept": f"thing-{index}",
            "root": "thing",
            "group": "any",
            "style": "3d",
            "weight": 1.0 + index,
            "horizon": 0.25,
        }
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True)
        members = [("json", json.dumps(about).encode()), ("webp", buffer.getvalue())]
        samples.append((f"{kind}-{index}", lambda members=members: members))
    about = {"kind": kind, "style": "3d", "split": split}
    name = f"{kind}-{split}.tar"
    write_shard(folder, name, samples, plan="p", about=about)
    manifest = folder / "manifest.json"
    listed = json.loads(manifest.read_text())["shards"] if manifest.exists() else []
    write_json(manifest, {"shards": [*listed, {"name": name, "about": about}]})


def rgba(colour: tuple[int, ...], size: int = 32) -> np.ndarray:
    return np.full((size, size, 4), colour, np.uint8)


def test_pixels_captions_and_weights(tmp_path: Path) -> None:
    pictures = [rgba((200, 10, 30, 255)), rgba((5, 6, 7, 0))]
    shard(tmp_path, pictures)
    pool = read_assets(tmp_path, size=32)
    assert pool.pixels.shape == (2, 4, 32, 32)
    assert pool.pixels.dtype == np.uint8
    np.testing.assert_array_equal(pool.pixels.transpose(0, 2, 3, 1), np.stack(pictures))
    assert pool.captions[1] == ["a thing 1", "thing"]
    assert pool.concepts == ["thing-0", "thing-1"]
    np.testing.assert_allclose(pool.weights, [2 / 3, 4 / 3], rtol=1e-6)
    assert len(pool) == 2


def test_halving_is_the_alpha_weighted_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 4), dtype=np.uint8)
    shard(tmp_path, [picture])
    found = read_assets(tmp_path, size=16).pixels[0].transpose(1, 2, 0).astype(float)
    blocks = picture.reshape(16, 2, 16, 2, 4).astype(float)
    alpha = blocks[..., 3:].sum((1, 3))
    colour = (blocks[..., :3] * blocks[..., 3:]).sum((1, 3)) / np.maximum(alpha, 1e-9)
    np.testing.assert_allclose(found[..., 3:], alpha / 4, atol=0.51)
    np.testing.assert_allclose(found[..., :3], colour, atol=0.51)


def test_hidden_colour_does_not_bleed(tmp_path: Path) -> None:
    picture = rgba((0, 255, 0, 0))
    picture[:, :9] = (255, 0, 0, 255)
    shard(tmp_path, [picture])
    found = read_assets(tmp_path, size=16).pixels[0]
    shown = found[3] > 0
    assert (found[0][shown] == 255).all()
    assert (found[1][shown] == 0).all()


def test_decoded_pixels_are_kept_while_the_shards_are_the_same(tmp_path: Path) -> None:
    shard(tmp_path, [rgba((1, 2, 3, 255))])
    first = read_assets(tmp_path, size=16)
    (cache,) = tmp_path.glob(".cache-*-16.npy")
    stamp = cache.stat().st_mtime_ns
    again = read_assets(tmp_path, size=16)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert again.captions == first.captions
    assert cache.stat().st_mtime_ns == stamp
    (tmp_path / "manifest.json").unlink()
    shard(tmp_path, [rgba((9, 9, 9, 255)), rgba((8, 8, 8, 255))])
    assert read_assets(tmp_path, size=16).pixels.shape[0] == 2


def test_plates_keep_their_shape(tmp_path: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    shard(tmp_path, [photo], "background")
    (plate,) = read_plates(tmp_path, height=32)
    assert plate.pixels.shape == (3, 32, 64)
    assert plate.horizon == 0.25
    mean = photo.reshape(32, 2, 64, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(plate.pixels, mean, atol=1)
    np.testing.assert_array_equal(read_backgrounds(tmp_path, height=32)[0], plate.pixels)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="multiplane data build"):
        read_assets(tmp_path)
    shard(tmp_path, [rgba((1, 2, 3, 255))])
    with pytest.raises(ValueError, match=r"heldout.*train"):
        read_assets(tmp_path, split="heldout")
