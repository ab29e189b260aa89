from __future__ import annotations

import pytest
import torch

from multiplane.models.latent_unet import LatentUNetConfig, build_unet, prefer_plain_attention


@pytest.mark.skipif(torch.cuda.is_available(), reason="for CPUs alone")
def test_plain_attention_is_the_same_function_and_only_for_few_cells() -> None:
    torch.manual_seed(0)
    settings = {"channels": (32,), "layers": 1, "heads": 2, "groups": 8, "text_channels": 12}
    small, large = (build_unet(LatentUNetConfig(size=size, **settings)) for size in (4, 32))
    latents, states = torch.randn(2, 4, 4, 4), torch.randn(2, 5, 12)
    before = small(latents, 10, states).sample
    prefer_plain_attention(small)
    prefer_plain_attention(large)
    assert (small(latents, 10, states).sample - before).abs().max() < 1e-5
    names = [{type(p).__name__ for p in u.attn_processors.values()} for u in (small, large)]
    assert names == [{"AttnProcessor"}, {"AttnProcessor2_0"}]
