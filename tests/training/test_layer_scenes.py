"""Scenes as planes with captions, composed and read from shards; captions a stream."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multiplane.core.config import from_table
from multiplane.data.build import manifest_of
from multiplane.data.shards import Member, write_json, write_shard
from multiplane.models.planes import over
from multiplane.training.layer_latents import shown, stream_captions
from multiplane.training.layer_scenes import (
    ComposedScenes,
    SceneConfig,
    StoredConfig,
    StoredScenes,
    load_scenes,
)
from small_world import a_scene_feed, write_shards

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def members(index: int) -> list[Member]:
    """A wide picture; level and captions tell the record."""
    level = 10 * index
    foreground = np.zeros((20, 30, 4), np.uint8)
    foreground[:, 10:20] = (level, 0, 0, 128)
    words = {"foreground": f"f{index}", "background": f"b{index}", "caption": f"c{index}"}
    return [
        ("json", json.dumps(words).encode()),
        ("composite.png", png(np.full((20, 30, 3), level, np.uint8))),
        ("background.png", png(np.full((20, 30, 3), level + 1, np.uint8))),
        ("foreground.png", png(foreground)),
    ]


def write_scenes(folder: Path, count: int) -> Path:
    folder.mkdir()
    about = {"kind": "scene", "style": "made", "split": "train"}
    samples = [(f"pair-{i:06d}", lambda i=i: members(i)) for i in range(count)]
    note = write_shard(folder, "scene-made-train-0000.tar", samples, plan="", about=about)
    write_json(folder / "manifest.json", manifest_of([note], {}, []))
    return folder


def test_composed_scenes_are_exact_and_called_by_both() -> None:
    feed, prompts = a_scene_feed()
    scenes = ComposedScenes(feed, prompts, busy=0.5).draw(4, generator())
    planes = scenes.planes
    made = over(planes["foreground"], planes["background"])
    assert torch.allclose(made, planes["composite"], atol=1e-6)
    assert (planes["background"][:, 3] == 1).all()
    for front, back, whole in zip(*scenes.captions.values(), strict=True):
        assert whole == f"{front} in {back}"
    again = ComposedScenes(feed, prompts, busy=0.5).draw(4, generator())
    assert all(torch.equal(again.planes[name], plane) for name, plane in planes.items())


def test_stored_scenes_are_what_was_written(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", 17)
    source = load_scenes(SceneConfig(stored=StoredConfig(folder, 20)), "train", CPU)
    scenes = source.draw(6, generator())
    assert len(set(scenes.captions["foreground"])) > 1
    for index in range(6):
        number = int(scenes.captions["foreground"][index][1:])
        assert scenes.captions["background"][index] == f"b{number}"
        assert scenes.captions["composite"][index] == f"c{number}"
        level = 10 * number / 255
        whole, behind, front = (
            scenes.planes[name][index] for name in ("composite", "background", "foreground")
        )
        assert whole.shape == behind.shape == front.shape == (4, 20, 20)
        assert torch.allclose(whole[:3], torch.full((3, 20, 20), level), atol=1e-6)
        assert torch.allclose(behind[0], torch.full((20, 20), level + 1 / 255), atol=1e-6)
        assert (whole[3] == 1).all()
        # The middle square: columns 5 to 25, of which 10 to 20 are half covered; premultiplied.
        assert torch.allclose(front[0, :, 5:15], torch.full((20, 10), level * 128 / 255), atol=1e-5)
        assert not front[:, :, :5].any()
        assert not front[:, :, 15:].any()


def test_every_sixteenth_is_held_out_and_never_trained(tmp_path: Path) -> None:
    config = StoredConfig(write_scenes(tmp_path / "scenes", 17), 8)
    train, heldout = (StoredScenes(config, split, CPU) for split in ("train", "heldout"))
    assert (len(train.records), len(heldout.records)) == (16, 1)
    assert set(heldout.draw(4, generator()).captions["composite"]) == {"c15"}
    assert "c15" not in train.draw(200, generator()).captions["composite"]
    few = StoredConfig(write_scenes(tmp_path / "few", 3), 8)
    with pytest.raises(ValueError, match="holds 3 scenes: give at least 16"):
        StoredScenes(few, "heldout", CPU)


def test_one_source_and_only_one(tmp_path: Path) -> None:
    composed = {"shards": str(tmp_path), "size": 64}
    stored = {"shards": str(tmp_path), "size": 32}
    assert from_table(SceneConfig, {"stored": stored}).size == 32
    assert from_table(SceneConfig, {"composed": composed}).size == 64
    for table in ({}, {"composed": composed, "stored": stored}):
        with pytest.raises(ValueError, match="one table, composed or stored"):
            from_table(SceneConfig, table)


def test_asset_shards_need_no_text_encoder(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards")
    table = {"composed": {"shards": str(tmp_path / "shards"), "size": 32, "background_size": 40}}
    source = load_scenes(from_table(SceneConfig, table), "heldout", CPU)
    scenes = source.draw(2, generator())
    assert scenes.captions["composite"] == ["white ball in plate heldout"] * 2


def test_captions_a_stream_are_dropped_and_shared_by_the_scene() -> None:
    feed, prompts = a_scene_feed()
    scenes = ComposedScenes(feed, prompts, 0.0).draw(400, generator())
    streams = ("background", "composite")
    own = stream_captions(scenes, streams, 0.0, 0.0, generator(1))
    assert own[0::2] == scenes.captions["background"]
    assert own[1::2] == scenes.captions["composite"]
    told = stream_captions(scenes, streams, 0.2, 0.3, generator(1))
    pairs = list(zip(told[0::2], told[1::2], strict=True))
    dropped = sum(pair == ("", "") for pair in pairs)
    shared = sum(one == other != "" for one, other in pairs)
    assert abs(dropped / 400 - 0.2) < 0.06
    assert abs(shared / 400 - 0.3) < 0.07
    assert all((one == "") == (other == "") for one, other in pairs)


def test_a_given_plane_is_shown_over_mid_grey() -> None:
    plane = torch.tensor([0.2, 0.0, 0.5, 0.5]).view(1, 4, 1, 1)  # premultiplied
    # (0.4, 0, 1) in [-1, 1] is (-0.2, -1, 1), times alpha.
    expected = torch.tensor([-0.1, -0.5, 0.5]).view(1, 3, 1, 1)
    assert torch.allclose(shown(plane), expected, atol=1e-6)
