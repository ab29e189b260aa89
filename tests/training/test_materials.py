"""Assets in glass and with a glow: alpha is soft where it must be and exact everywhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multiplane.data.assets import AssetPool
from multiplane.training.feed import with_materials
from multiplane.training.materials import MATERIALS, blurred, captions_of, glass, glow, in_material

SIDE = 64


def disc(color: tuple[float, float, float] = (0.8, 0.2, 0.1)) -> torch.Tensor:
    """(1, 4, SIDE, SIDE) premultiplied: a solid disc in the middle."""
    axis = torch.arange(SIDE) + 0.5 - SIDE / 2
    alpha = ((axis[:, None].square() + axis[None].square()).sqrt() < SIDE * 0.35).float()
    return torch.stack([*(value * alpha for value in color), alpha])[None]


def test_a_blur_keeps_what_it_spreads_and_knows_no_direction() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    spread = blurred(point, 3.0)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-4)
    assert torch.allclose(spread, spread.transpose(2, 3), atol=1e-6)
    axis = torch.arange(33) - 16.0
    variance = float((spread[0, 0].sum(dim=0) * axis.square()).sum())
    assert variance == pytest.approx(9, rel=0.05)


def test_glass_is_seen_through_in_the_middle_denser_at_the_rim_and_clear_outside() -> None:
    plane = disc()
    made = glass(plane)
    alpha, was = made[0, 3], plane[0, 3]
    middle, rim = alpha[SIDE // 2, SIDE // 2], alpha[SIDE // 2, SIDE // 2 - int(SIDE * 0.34)]
    assert 0.25 < middle < 0.5 < rim <= 0.94
    assert not alpha[was == 0].any()
    assert bool((made[:, :3] <= made[:, 3:] + 1e-6).all())


def test_glow_fades_outward_and_leaves_the_object_solid() -> None:
    made = glow(disc())
    row = made[0, 3, SIDE // 2]
    assert float(row[SIDE // 2]) == pytest.approx(1)
    outward = row[: SIDE // 2]
    halo = outward[(outward > 0) & (outward < 0.95)]
    assert len(halo) > 4
    assert bool((halo.diff() > -1e-3).all())
    assert float(row[0]) == 0.0
    assert bool((made[:, :3] <= made[:, 3:] + 1e-6).all())


@pytest.mark.parametrize("material", MATERIALS)
def test_pictures_stay_pictures(material: str) -> None:
    straight = (disc() * 255).round().to(torch.uint8)
    made = in_material(material, straight.expand(3, -1, -1, -1), chunk=2)
    assert (made.shape, made.dtype) == ((3, 4, SIDE, SIDE), torch.uint8)
    assert torch.equal(made[0], made[2])
    assert not made[:, :3][(made[:, 3:] == 0).expand(-1, 3, -1, -1)].any()


def test_captions_say_the_material_without_a_second_article() -> None:
    assert captions_of("glass", "a red apple")[:2] == ["glass red apple", "a glass red apple"]
    assert captions_of("glow", "an owl")[1] == "a glowing owl"


def test_a_pool_gets_one_asset_a_concept_in_each_material() -> None:
    pixels = np.repeat((disc() * 255).round().to(torch.uint8).numpy(), 3, axis=0)
    pool = AssetPool(
        pixels,
        keys=["a", "b", "c"],
        captions=[["an apple"], ["an apple, red"], ["a pear"]],
        concepts=["apple", "apple", "pear"],
        roots=["apple", "apple", "pear"],
        groups=["food"] * 3,
        styles=["3d"] * 3,
        weights=np.ones(3, np.float32),
    )
    made = with_materials(pool, ["glass", "glow"])
    assert made.styles == ["3d"] * 3 + ["glass"] * 2 + ["glow"] * 2
    assert made.keys[3:] == ["a-glass", "c-glass", "a-glow", "c-glow"]
    assert made.roots[3:] == ["apple", "pear"] * 2
    assert made.captions[4][1] == "a glass pear"
    assert len(made.pixels) == len(made.weights) == len(made.groups) == len(made.concepts) == 7
    assert np.array_equal(made.pixels[:3], pool.pixels)
    same = with_materials(pool, [])
    assert np.array_equal(same.pixels, pool.pixels)
    assert same.keys == pool.keys
