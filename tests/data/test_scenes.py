"""Scenes: exact truth, dependence between the planes, and the torch composer's conventions."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from made_pictures import disc, sky
from multiplane.data.assets import AssetPool, Plate
from multiplane.data.placement import ScenePlacement
from multiplane.data.scenes import (
    contact_shadow,
    describe_scene,
    draw_scene,
    lit_by,
    object_plane,
    render_scene,
)

PLACEMENT = ScenePlacement()


def small_pool(count: int = 5, size: int = 64) -> AssetPool:
    pixels = [np.asarray(disc(size, seed=index)).transpose(2, 0, 1) for index in range(count)]
    names = [f"thing-{index}" for index in range(count)]
    return AssetPool(
        pixels=np.stack(pixels),
        keys=names,
        captions=[[f"a {name}"] for name in names],
        concepts=names,
        roots=names,
        groups=["any"] * count,
        styles=["3d"] * count,
        weights=np.ones(count, np.float32),
    )


def small_plates(count: int = 3) -> list[Plate]:
    return [
        Plate(
            f"plate-{index}",
            np.ascontiguousarray(np.asarray(sky(160, 90, index)).transpose(2, 0, 1)),
            [f"a sky {index}"],
            0.5,
        )
        for index in range(count)
    ]


POOL, PLATES = small_pool(), small_plates()


def drawn(seed: int, busy: float = 0.5):
    rng = np.random.default_rng(seed)
    return draw_scene(rng, POOL, PLATES, PLACEMENT, busy, seed % 3, f"thing-{seed % 5}")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([32, 48, 64]))
def test_the_composite_is_over_of_its_planes(seed: int, size: int) -> None:
    scene = render_scene(drawn(seed), POOL, PLATES, size)
    assert scene.foreground.shape == (size, size, 4)
    alpha = scene.foreground[..., 3:].astype(float) / 255
    truth = scene.foreground[..., :3] * alpha + scene.background * (1 - alpha)
    assert np.abs(truth - scene.composite).max() <= 0.5 + 1e-6
    assert scene.foreground[..., 3].max() > 200
    assert scene.foreground[..., 3].min() < 30


def test_the_same_draw_is_the_same_scene() -> None:
    one, other = (render_scene(drawn(7), POOL, PLATES, 48) for _ in range(2))
    np.testing.assert_array_equal(one.composite, other.composite)
    np.testing.assert_array_equal(one.foreground, other.foreground)


def test_sizes_show_the_same_composition() -> None:
    draw = drawn(11, busy=0)
    small, large = (render_scene(draw, POOL, PLATES, size) for size in (64, 128))
    halved = np.asarray(
        Image.fromarray(large.composite).resize((64, 64), Image.Resampling.BOX), float
    )
    assert np.abs(halved - small.composite).mean() < 6


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_draws_stay_in_their_ranges(seed: int) -> None:
    draw = drawn(seed, busy=1.0)
    assert 1 <= len(draw.earlier) <= 3
    assert [item.ground for item in draw.earlier] == sorted(item.ground for item in draw.earlier)
    for item in (*draw.earlier, draw.object):
        assert PLACEMENT.ground[0] <= item.ground <= PLACEMENT.ground[1]
        assert 0 < item.height <= PLACEMENT.scale[1] + 1e-9
        assert PLACEMENT.tint[0] <= item.tint <= PLACEMENT.tint[1]
    left, top, side = draw.crop
    assert left >= 0
    assert top >= 0
    assert top + side <= 1 + 1e-9
    assert drawn(seed, busy=0.0).earlier == ()


def test_what_stands_nearer_is_larger() -> None:
    pairs = [(drawn(seed).object.ground, drawn(seed).object.height) for seed in range(300)]
    ground, height = np.array(pairs).T
    assert np.corrcoef(ground, height)[0, 1] > 0.3


def test_the_object_takes_the_light_of_its_background() -> None:
    draw = drawn(3, busy=0).object
    dark, red = np.ones((2, 48, 48, 4), np.float32)
    dark[..., :3] = 0.1
    red[..., :3] = (0.9, 0.2, 0.2)
    bright = np.ones((48, 48, 4), np.float32)
    planes = [object_plane(draw, POOL, background, 48) for background in (dark, red, bright)]
    for plane in planes[1:]:
        np.testing.assert_array_equal(plane[..., 3], planes[0][..., 3])
    opaque = planes[0][..., 3] > 0.99
    assert planes[0][opaque][:, :3].mean() < planes[2][opaque][:, :3].mean()
    half = np.full((8, 8, 4), 0.5, np.float32)
    lit = lit_by(half, red[:8, :8], 1.0)
    assert (lit[..., 0] > lit[..., 1]).all()


def test_the_shadow_lies_under_the_object() -> None:
    shadow = contact_shadow((0.25, 0.75, 0.8), 0.5, 0.5, 64)[..., 3]
    row, column = np.unravel_index(shadow.argmax(), shadow.shape)
    assert abs(row / 64 - 0.8) < 0.03
    assert abs(column / 64 - 0.5) < 0.03
    assert 0.35 < shadow.max() <= 0.5
    assert shadow[:32].max() == 0


def test_descriptions_name_what_is_there() -> None:
    draw = drawn(5, busy=1.0)
    about = describe_scene(draw, POOL, PLATES)
    assert about["foreground"] == f"a thing-{draw.object.row}"
    assert about["background"] == f"a sky {draw.plate}"
    assert len(about["earlier"]) == len(draw.earlier)
    assert all(name in about["background_captions"][0] for name in about["earlier"])


def test_light_and_shadow_match_the_torch_composer() -> None:
    torch = pytest.importorskip("torch")
    from multiplane.training import scenes as training

    rng = np.random.default_rng(0)
    background = rng.random((24, 24, 4), np.float32)
    background[..., 3] = 1
    plane = rng.random((24, 24, 4), np.float32)
    premul = plane.copy()
    premul[..., :3] *= plane[..., 3:]

    def batch(pixels: np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]

    ours = lit_by(plane, background, 0.4)
    theirs = training.lit_by(batch(premul), batch(background), torch.tensor([0.4]))[0].numpy()
    np.testing.assert_allclose(
        (ours[..., :3] * ours[..., 3:]).transpose(2, 0, 1), theirs[:3], atol=1e-5
    )
    shadow = contact_shadow((0.2, 0.7, 0.9), 0.45, 0.6, 40)
    twin = training.contact_shadow(
        torch.tensor([[0.2, 0.3, 0.7, 0.9]]), torch.tensor([0.45]), torch.tensor([0.6]), 40
    )[0].numpy()
    np.testing.assert_allclose(shadow.transpose(2, 0, 1), twin, atol=1e-5)


def test_a_recipe_builds_scene_shards(tmp_path: Path) -> None:
    from made_pictures import picture_folders, write_recipe
    from multiplane.data.build import build
    from multiplane.data.recipe import read_recipe
    from multiplane.data.shards import read_shard

    picture_folders(tmp_path, objects=60, scenes=40)  # enough for some to be held out
    recipe = write_recipe(
        tmp_path, samples_per_shard=64, scenes={"count": 3, "sizes": [32, 48], "style": "own"}
    )
    build(read_recipe(recipe), tmp_path / "out", tmp_path)
    folder = tmp_path / "out" / "scenes"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [note["count"] for note in manifest["shards"]] == [3, 3]
    for note, size in zip(manifest["shards"], (32, 48), strict=True):
        for _, members in read_shard(folder / note["name"]):
            planes = {
                name: np.asarray(Image.open(io.BytesIO(members[f"{name}.png"])))
                for name in ("foreground", "background", "composite")
            }
            assert planes["foreground"].shape == (size, size, 4)
            alpha = planes["foreground"][..., 3:].astype(float) / 255
            truth = planes["foreground"][..., :3] * alpha + planes["background"] * (1 - alpha)
            assert np.abs(truth - planes["composite"]).max() <= 0.5 + 1e-6
            assert json.loads(members["json"])["split"] == "heldout"
