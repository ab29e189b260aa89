"""The table of published files, against the tables of both UNets at their real sizes."""

from __future__ import annotations

import json
from math import prod

import pytest

from multiplane.weights.layerdiffuse.deltas import IN_CONTENT
from multiplane.weights.layerdiffuse.published import MODES, PUBLISHED, PublishedFile, in_repository
from parity_rule import FOLDER


def sdxl_shapes() -> dict[str, list[int]]:
    rows = json.loads((FOLDER / "unet_keys_sdxl.json").read_text(encoding="utf-8"))
    return {diffusers: shape for _, diffusers, shape in rows}


def parameters(file: PublishedFile, rank: int | None) -> int:
    """How many numbers a file of this kind holds for SDXL's UNet."""
    shapes = {key: shape for key, shape in sdxl_shapes().items() if IN_CONTENT[file.content](key)}
    if rank is not None:
        return sum(rank * (out + into) for out, into in shapes.values())
    if "conv_in.weight" in shapes:
        shapes["conv_in.weight"][1] = file.channels
    return sum(prod(shape) for shape in shapes.values())


UNET_FILES = [file for file in PUBLISHED.values() if file.base == "sdxl" and file.mode]


@pytest.mark.parametrize("file", UNET_FILES, ids=lambda file: file.name)
def test_parameters_and_size(file: PublishedFile) -> None:
    low_rank = file.content == "attention" and not file.name.startswith("ld_")
    assert parameters(file, 256 if low_rank else None) == file.parameters
    assert file.parameters is not None
    assert file.megabytes == pytest.approx(file.parameters * 2 / 1e6, rel=2e-3)  # half precision


def test_figures_that_are_known() -> None:
    known = {
        "layer_xl_transparent_attn": 371_589_120,
        "layer_xl_transparent_conv": 1_809_780_484,
        "ld_diffusers_sdxl_attn": 955_187_200,
        "layer_sd15_transparent_attn": 175_098_496,
        "layer_sd15_joint": 277_138_048,
        "layer_sd15_fg2bg": 281_425_568,
        "layer_sd15_bg2fg": 281_425_568,
    }
    assert {name: PUBLISHED[name].parameters for name in known} == known
    channels = {"fg2ble": 8, "bg2ble": 8, "fgble2bg": 12, "bgble2fg": 12}
    assert {mode: PUBLISHED[f"layer_xl_{mode}"].channels for mode in channels} == channels
    assert len(in_repository("LayerDiffusion/layerdiffusion-v1")) == 14


def test_modes_and_multipliers() -> None:
    assert {file.mode for file in PUBLISHED.values() if file.mode} == set(MODES)
    assert {mode: len(MODES[mode].streams) for mode in ("joint", "fg2bg", "bg2fg")} == {
        "joint": 3,
        "fg2bg": 2,
        "bg2fg": 2,
    }
    factors = {
        file.name: file.multiplier for file in PUBLISHED.values() if file.content == "encoder"
    }
    assert factors == {
        "vae_transparent_encoder": 1.0,
        "layer_sd15_vae_transparent_encoder": 1.0,
        "ld_diffusers_sdxl_vae_transparent_encoder": 300.0,
    }
