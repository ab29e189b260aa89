"""What tells a video transformer which layer a token belongs to: positions and layer embeddings.

CogVideoX adds fixed positions to its tokens in `patch_embed`, for one number of text tokens only.
LayerFlow reads two or three prompts and adds to each prompt's tokens an embedding of its index
(arXiv 2506.04228, section 3.2). Here all that is added is one table, made by `LayerEmbedding` and
put in by a hook: the transformer stays diffusers' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_3d_sincos_pos_embed
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

LayerKind = Literal["none", "index", "table"]


@dataclass(frozen=True)
class TokenGrid:
    """The tokens of one sequence: `prompts` times `tokens` of text, then `latents` times `rows`
    times `columns` of video."""

    prompts: int
    tokens: int
    latents: int
    rows: int
    columns: int

    @property
    def text(self) -> int:
        return self.prompts * self.tokens

    @property
    def video(self) -> int:
        return self.latents * self.rows * self.columns


class LayerEmbedding(ModelMixin, ConfigMixin):
    """What is learned of the table that is added to the tokens of a sequence of layers.

    width: of the transformer. kind: "index" as published, LN(W i + b) of the scalar index; "table",
    a learned row a layer that begins at zero, so that a base model's output is unchanged before
    training; "none". layers: rows of that table. learned: (text tokens, latents, rows, columns) of
    positions that were trained as a whole and stand in for the fixed ones; they have no other size.
    Raises ValueError when nothing is learned: then there need not be one.
    """

    index: nn.Sequential | None
    table: nn.Parameter | None
    text_positions: nn.Parameter | None
    video_positions: nn.Parameter | None

    @register_to_config
    def __init__(
        self,
        width: int = 1920,
        kind: LayerKind = "index",
        layers: int = 3,
        learned: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(LayerKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(LayerKind))}, got {kind!r}")
        if kind == "none" and learned is None:
            raise ValueError("neither layers nor positions are learned: leave the embedding out")
        self.index = self.table = self.text_positions = self.video_positions = None
        if kind == "index":
            self.index = nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width))
        elif kind == "table":
            self.table = nn.Parameter(torch.zeros(layers, width))
        if learned is not None:
            text, latents, rows, columns = learned
            self.text_positions = nn.Parameter(torch.zeros(text, width))
            self.video_positions = nn.Parameter(torch.zeros(latents, rows * columns, width))

    def forward(self, grid: TokenGrid, fixed: Tensor) -> Tensor:
        """(text + video, width) to add to the tokens. fixed: the positions of the video where none
        are learned, (video, width), on the device to compute on: under offloading the weights are
        elsewhere until they are used.

        Raises ValueError for a grid beyond learned positions or more prompts than the table has
        rows."""
        text, video = torch.zeros(grid.text, fixed.shape[-1], device=fixed.device), fixed
        if self.text_positions is not None and self.video_positions is not None:
            self._check(grid)
            text, video = self.text_positions, self.video_positions[: grid.latents].flatten(0, 1)
        layers = self.of_layers(grid.prompts, fixed.device)
        if layers is not None:
            text = text + layers.repeat_interleave(grid.tokens, dim=0)
        return torch.cat([text, video.to(text)])

    def of_layers(self, count: int, device: torch.device | None = None) -> Tensor | None:
        """(count, width): the embedding of each of the first `count` layers; None without any."""
        if self.table is not None:
            if count > len(self.table):
                raise ValueError(f"{count} prompts, and the table has {len(self.table)} layers")
            return self.table[:count]
        if self.index is None:
            return None
        indices = torch.arange(count, device=device, dtype=self.dtype)
        return self.index(indices[:, None])

    def _check(self, grid: TokenGrid) -> None:
        text, latents, rows, columns = self.config["learned"]
        fits = (grid.text, grid.rows, grid.columns) == (text, rows, columns)
        if not fits or grid.latents > latents:
            raise ValueError(
                "these weights have learned positions, which fit one size only: "
                f"{columns} x {rows} video tokens in at most {latents} latents and {text} text "
                f"tokens, got {grid.columns} x {grid.rows} in {grid.latents} and {grid.text}"
            )


def token_table(
    transformer: Any,
    embedding: LayerEmbedding | None,
    grid: TokenGrid,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(text + video, width) float32: what to add to a CogVideoX transformer's tokens.

    Without an embedding its fixed positions alone, zeros for the text, however much of it there
    is."""
    config = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    fixed = get_3d_sincos_pos_embed(
        width,
        (grid.columns, grid.rows),
        grid.latents,
        config.spatial_interpolation_scale,
        config.temporal_interpolation_scale,
        output_type="pt",
    )
    fixed = fixed.flatten(0, 1).to(device, torch.float32)
    if embedding is None:
        return torch.cat([fixed.new_zeros(grid.text, width), fixed])
    return embedding(grid, fixed)


@contextmanager
def added_to_tokens(transformer: Any, table: Tensor) -> Iterator[None]:
    """Inside the block `table` (text + video, width) is added to the transformer's embedded tokens
    instead of its own positions; gradients reach it.

    Raises ValueError for a transformer whose positions are rotary (CogVideoX 5B, 1.5), for there
    is nothing to put the table in place of."""
    if transformer.config.use_rotary_positional_embeddings:
        raise ValueError(
            "this transformer has rotary positions; layered video is built on CogVideoX-2B, which "
            "adds its positions to the tokens: load that one"
        )
    patches = transformer.patch_embed

    def add(module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
        nonlocal table
        table = table.to(embedded)
        return embedded + table

    own = patches.use_positional_embeddings
    hook = patches.register_forward_hook(add)
    patches.use_positional_embeddings = False
    try:
        yield
    finally:
        patches.use_positional_embeddings = own
        hook.remove()
