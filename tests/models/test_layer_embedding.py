"""The table added to a CogVideoX transformer's tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import small_layerflow as small
from multiplane.models.layer_embedding import (
    LayerEmbedding,
    TokenGrid,
    added_to_tokens,
    token_table,
)
from small_diffusion import seeded


def run(transformer: Any, text: Tensor, latents: Tensor, table: Tensor | None = None) -> Tensor:
    time = torch.tensor([500])
    with torch.no_grad():
        if table is None:
            return transformer(latents, text, time, return_dict=False)[0]
        with added_to_tokens(transformer, table):
            return transformer(latents, text, time, return_dict=False)[0]


def test_without_an_embedding_it_is_the_transformers_own_positions() -> None:
    """Same outputs as diffusers with its own table, and afterwards the transformer is as before."""
    transformer = small.transformer(max_text_seq_length=24, sample_frames=61)
    text, latents = small.noise(1, 24, 32), small.noise(1, 16, 4, 4, 4, seed=1)
    own = run(transformer, text, latents)
    grid = TokenGrid(prompts=3, tokens=8, latents=16, rows=2, columns=2)
    table = token_table(transformer, None, grid)
    assert torch.equal(run(transformer, text, latents, table), own)
    assert torch.equal(run(transformer, text, latents), own)


def test_the_text_may_have_any_length() -> None:
    """diffusers' own table refuses other than the configured one."""
    transformer = small.transformer(max_text_seq_length=8)
    text, latents = small.noise(1, 16, 32), small.noise(1, 4, 4, 4, 4, seed=1)
    with pytest.raises(RuntimeError):
        run(transformer, text, latents)
    table = token_table(transformer, None, TokenGrid(2, 8, 4, 2, 2))
    assert run(transformer, text, latents, table).shape == latents.shape


def test_the_time_of_the_positions_runs_through_every_clip() -> None:
    """The first quarter of the channels is temporal: sines then cosines of the latent's number, by
    the formula of Vaswani et al. with 10000; the rest is the same in every latent."""
    table = token_table(small.transformer(), None, TokenGrid(3, 8, 16, 2, 2))
    video = table[24:].reshape(16, 4, small.WIDTH)
    assert not table[:24].any()
    for number in (0, 3, 4, 15):
        angles = [number / 10000 ** (k / 4) for k in range(4)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        for place in range(4):
            assert video[number, place, :8].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(video[0, :, 8:], video[15, :, 8:])


def test_the_index_reaches_its_prompts_tokens_and_no_others() -> None:
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH), 5)
    grid = TokenGrid(3, 8, 4, 2, 2)
    fixed = token_table(small.transformer(), None, grid)
    table = token_table(small.transformer(), embedding, grid)
    assert torch.equal(table[24:], fixed[24:])
    weight, bias = (each.detach() for each in embedding.index[0].parameters())
    for layer in range(3):
        value = weight[:, 0] * layer + bias
        normed = (value - value.mean()) / (value.var(unbiased=False) + 1e-5).sqrt()
        for token in (8 * layer, 8 * layer + 7):
            assert torch.allclose(table[token], normed, atol=1e-5)


def test_gradients_reach_the_embedding() -> None:
    transformer = small.transformer()
    embedding = seeded(lambda: LayerEmbedding(small.WIDTH, kind="table"), 5).requires_grad_(True)
    grid = TokenGrid(3, 8, 4, 2, 2)
    text, latents = small.noise(1, 24, 32), small.noise(1, 4, 4, 4, 4, seed=1)
    before = run(transformer, text, latents, token_table(transformer, None, grid))
    with added_to_tokens(transformer, token_table(transformer, embedding, grid)):
        out = transformer(latents, text, torch.tensor([5]), return_dict=False)[0]
    out.square().mean().backward()
    assert embedding.table.grad is not None
    assert (embedding.table.grad.abs().sum(dim=1) > 0).all()
    # The table begins at zero: a base model is what it was.
    table = token_table(transformer, embedding, grid).detach()
    assert torch.equal(run(transformer, text, latents, table), before)


def test_learned_positions_stand_in_and_have_one_size(tmp_path: Path) -> None:
    embedding = LayerEmbedding(small.WIDTH, kind="none", learned=(24, 5, 2, 2))
    with torch.no_grad():
        embedding.text_positions.copy_(small.noise(24, small.WIDTH))
        embedding.video_positions.copy_(small.noise(5, 4, small.WIDTH, seed=1))
    embedding.save_pretrained(tmp_path)
    again = LayerEmbedding.from_pretrained(tmp_path)
    table = token_table(small.transformer(), again, TokenGrid(3, 8, 4, 2, 2))
    assert torch.equal(table[:24], small.noise(24, small.WIDTH))
    assert torch.equal(table[24:], small.noise(5, 4, small.WIDTH, seed=1)[:4].flatten(0, 1))
    for grid in (TokenGrid(2, 8, 4, 2, 2), TokenGrid(3, 8, 6, 2, 2), TokenGrid(3, 8, 4, 2, 3)):
        with pytest.raises(ValueError, match="fit one size only"):
            token_table(small.transformer(), again, grid)


def test_what_does_not_go_is_said() -> None:
    rotary = small.transformer(use_rotary_positional_embeddings=True)
    with (
        pytest.raises(ValueError, match="CogVideoX-2B"),
        added_to_tokens(rotary, torch.zeros(1, 32)),
    ):
        pass
    with pytest.raises(ValueError, match="kind must be one of"):
        LayerEmbedding(8, kind="sum")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="leave the embedding out"):
        LayerEmbedding(8, kind="none")
    with pytest.raises(ValueError, match="3 prompts"):
        LayerEmbedding(8, kind="table", layers=2).of_layers(3)
