"""Names of UNet tensors, against the full tables of both base models."""

from __future__ import annotations

import json

import pytest

from multiplane.models.unet_keys import (
    rename_to_diffusers,
    sharing_order,
    to_diffusers,
    to_ldm,
    unflatten,
)
from parity_rule import FOLDER

ATTENTION = {"sd15": (True, True, True, False), "sdxl": (False, True, True)}
COUNT = {"sd15": (686, 859_520_964), "sdxl": (1680, 2_567_463_684)}


def table(base: str) -> list[tuple[str, str, list[int]]]:
    """(LDM name without prefix, diffusers name, shape) of every tensor."""
    return json.loads((FOLDER / f"unet_keys_{base}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("base", ATTENTION)
def test_both_ways(base: str) -> None:
    rows = table(base)
    assert len(rows) == COUNT[base][0]
    for ldm, diffusers, _ in rows:
        assert to_diffusers(ldm) == diffusers
        assert to_diffusers(f"diffusion_model.{ldm}") == diffusers
        assert to_diffusers(f"model.diffusion_model.{ldm}") == diffusers
        assert to_ldm(diffusers, ATTENTION[base]) == ldm


@pytest.mark.parametrize("base", ATTENTION)
def test_flat_names_of_modules(base: str) -> None:
    for ldm, diffusers, _ in table(base):
        for module in (ldm.rpartition(".")[0], diffusers.rpartition(".")[0]):
            assert unflatten(module.replace(".", "_")) == module


@pytest.mark.parametrize(
    "key",
    [
        "first_stage_model.decoder.conv_in.weight",
        "input_blocks.4.0.in_layers.1.weight",
        "middle_block.3.norm.weight",
        "output_blocks.3.2.norm.weight",
        "down_blocks.0.resnets.0.norm1.weight",
    ],
)
def test_what_is_no_ldm_tensor(key: str) -> None:
    assert to_diffusers(key) is None


def test_what_is_no_diffusers_tensor() -> None:
    for key in ("mid_block.resnets.2.norm1.weight", "text_model.final.weight", "conv_in2.weight"):
        assert to_ldm(key, ATTENTION["sdxl"]) is None


def test_a_dict() -> None:
    known, unknown = rename_to_diffusers({"diffusion_model.out.2.bias": 1, "alpha": 2})
    assert known == {"conv_out.bias": 1}
    assert unknown == ("alpha",)


def test_sharing_refuses_other_attentions() -> None:
    with pytest.raises(ValueError, match="add_k"):
        sharing_order(["add_k"])
