"""Offsets under the published keys and back."""

from __future__ import annotations

import pytest
import torch

import layerdiffuse_files as made
from multiplane.weights.layerdiffuse.deltas import forge_deltas, to_forge
from small_diffusion import small_sd15_unet, small_sdxl_unet


@pytest.mark.parametrize("make", [small_sd15_unet, small_sdxl_unet])
def test_offsets_are_written_as_they_are_read(make) -> None:
    unet = make()
    attention = ["CrossAttn" in kind for kind in unet.config["down_block_types"]]
    offsets = made.offsets(unet, "body", channels=8)
    written = to_forge(offsets, attention)
    assert "diffusion_model.input_blocks.0.0.weight::diff::0" in written
    found = forge_deltas(written)
    assert found.unknown == ()
    assert set(found.deltas) == set(offsets)
    for name, delta in found.deltas.items():
        assert torch.equal(delta.full(torch.device("cpu")), offsets[name])
    with pytest.raises(ValueError, match="has no name in published files"):
        to_forge({"extra.weight": torch.zeros(1)}, attention)
