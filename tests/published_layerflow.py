"""LayerFlow's denoiser as it was published, small and plain: fused projections with two pairs of
factors, one modulation layer a block, layer indices on the text. The oracle of the converter: its
tensors have the published names, and nothing of it is diffusers'."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "model.diffusion_model."


class Factors(nn.Module):
    """`original(x)` plus, for each of `parts` equal parts, motion (A, B) and content (C, D)."""

    def __init__(self, width: int, parts: int, motion: int, content: int) -> None:
        super().__init__()
        self.original = nn.Linear(width, parts * width)
        self.motion = 0.0  # the switch; off at inference
        for name, rank in (("A", motion), ("C", content)):
            downs = [nn.Parameter(torch.randn(rank, width)) for _ in range(parts)]
            setattr(self, f"matrix_{name}", nn.ParameterList(downs))
        for name, rank in (("B", motion), ("D", content)):
            ups = [nn.Parameter(torch.randn(width, rank)) for _ in range(parts)]
            setattr(self, f"matrix_{name}", nn.ParameterList(ups))

    def forward(self, x: Tensor) -> Tensor:
        added = []
        for a, b, c, d in zip(
            self.matrix_A, self.matrix_B, self.matrix_C, self.matrix_D, strict=True
        ):
            added.append(self.motion * (x @ a.T @ b.T) / len(a) + (x @ c.T @ d.T) / len(c))
        return self.original(x) + torch.cat(added, dim=-1)


class Attention(nn.Module):
    def __init__(self, width: int, ranks: tuple[int, int]) -> None:
        super().__init__()
        self.query_key_value = Factors(width, 3, *ranks)
        self.dense = Factors(width, 1, *ranks)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(width, 4 * width)
        self.dense_4h_to_h = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense_h_to_4h(x)
        gelu = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        return self.dense_4h_to_h(gelu)


class Block(nn.Module):
    def __init__(self, width: int, ranks: tuple[int, int]) -> None:
        super().__init__()
        self.attention = Attention(width, ranks)
        self.mlp = Mlp(width)
        self.input_layernorm = nn.LayerNorm(width, eps=1e-6)
        self.post_attention_layernorm = nn.LayerNorm(width, eps=1e-6)


def _part(**modules: nn.Module) -> nn.Module:
    part = nn.Module()
    for name, module in modules.items():
        part.add_module(name, module)
    return part


def _many(make: Any, count: int) -> nn.ModuleList:
    return nn.ModuleList([make() for _ in range(count)])


def positions(width: int, latents: int, rows: int, columns: int, scale: float = 1.875) -> Tensor:
    """(latents * rows * columns, width): a quarter sines and cosines of time, the rest of the
    column and the row, half each, stretched by `scale`."""

    def waves(place: float, channels: int) -> list[float]:
        half = channels // 2
        angles = [place / 10000 ** (k / half) for k in range(half)]
        return [*map(math.sin, angles), *map(math.cos, angles)]

    quarter, rest = width // 4, 3 * width // 4
    return torch.tensor(
        [
            waves(time, quarter) + waves(x / scale, rest // 2) + waves(y / scale, rest // 2)
            for time in range(latents)
            for y in range(rows)
            for x in range(columns)
        ]
    )


class PublishedLayerFlow(nn.Module):
    """latents: slots of the position table. embedder: whether layers have an embedding. Everything
    random, norms too."""

    def __init__(
        self,
        *,
        width: int = 32,
        heads: int = 2,
        blocks: int = 3,
        channels: int = 4,
        text_width: int = 12,
        time_width: int = 8,
        ranks: tuple[int, int] = (2, 4),
        prompts: int = 3,
        tokens: int = 5,
        latents: int = 16,
        rows: int = 2,
        columns: int = 3,
        embedder: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.tokens = width, heads, tokens
        self.rows, self.columns = rows, columns
        head = width // heads
        self.time_embed = nn.Sequential(
            nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.transformer = _part(
            layers=_many(lambda: Block(width, ranks), blocks),
            final_layernorm=nn.LayerNorm(width, eps=1e-6),
        )
        position = _part()
        text = torch.zeros(1, prompts * tokens, width)
        table = torch.cat([text, positions(width, latents, rows, columns)[None]], dim=1)
        position.register_parameter("pos_embedding", nn.Parameter(table, requires_grad=False))
        if embedder:
            position.add_module(
                "txt_embedder", nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width))
            )
        self.mixins = _part(
            adaln_layer=_part(
                adaLN_modulations=_many(
                    lambda: nn.Sequential(nn.SiLU(), nn.Linear(time_width, 12 * width)), blocks
                ),
                query_layernorm_list=_many(lambda: nn.LayerNorm(head, eps=1e-6), blocks),
                key_layernorm_list=_many(lambda: nn.LayerNorm(head, eps=1e-6), blocks),
            ),
            patch_embed=_part(
                proj=nn.Conv2d(channels, width, 2, 2), text_proj=nn.Linear(text_width, width)
            ),
            pos_embed=position,
            final_layer=_part(
                norm_final=nn.LayerNorm(width, eps=1e-6),
                linear=nn.Linear(width, 4 * channels),
                adaLN_modulation=nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * width)),
            ),
        )
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "pos_embedding" not in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.3)

    def forward(self, video: Tensor, time: float, text: Tensor) -> Tensor:
        """video (1, T, C, h, w), text (1, prompts, tokens, text_width) -> v (1, T, C, h, w)."""
        mixins, count = self.mixins, video.shape[1]
        half = self.width // 2
        angles = [time * math.exp(-math.log(10000) * k / half) for k in range(half)]
        emb = self.time_embed(torch.tensor([[*map(math.cos, angles), *map(math.sin, angles)]]))
        prompts = text.shape[1]
        words = mixins.patch_embed.text_proj(text).flatten(1, 2)
        patches = mixins.patch_embed.proj(video[0]).flatten(2).transpose(1, 2).flatten(0, 1)[None]
        x = torch.cat([words, patches], dim=1)
        table = mixins.pos_embed.pos_embedding[:, : x.shape[1]].clone()
        if hasattr(mixins.pos_embed, "txt_embedder"):
            for index in range(prompts):
                layer = mixins.pos_embed.txt_embedder(torch.tensor([float(index)]))
                table[:, index * self.tokens : (index + 1) * self.tokens] += layer
        x = x + table
        for number, block in enumerate(self.transformer.layers):
            x = self._block(number, block, x, emb, words.shape[1])
        x = self.transformer.final_layernorm(x)[:, words.shape[1] :]
        final = mixins.final_layer
        shift, scale = final.adaLN_modulation(emb).chunk(2, dim=-1)
        out = final.linear(final.norm_final(x) * (1 + scale) + shift)
        channels = out.shape[-1] // 4
        out = out.reshape(1, count, self.rows, self.columns, channels, 2, 2)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(
            1, count, channels, 2 * self.rows, 2 * self.columns
        )

    def _block(self, number: int, block: Any, x: Tensor, emb: Tensor, text: int) -> Tensor:
        """Twelve modulations: shift, scale, gate of attention and mlp for video, then for text."""
        adaln = self.mixins.adaln_layer
        twelve = adaln.adaLN_modulations[number](emb).chunk(12, dim=-1)
        is_text = (torch.arange(x.shape[1]) < text)[None, :, None]

        def either(index: int) -> Tensor:
            return torch.where(is_text, twelve[index + 6], twelve[index])

        y = block.input_layernorm(x) * (1 + either(1)) + either(0)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in block.attention.query_key_value(y).chunk(3, dim=-1)
        )
        q = adaln.query_layernorm_list[number](q)
        k = adaln.key_layernorm_list[number](k)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        y = block.attention.dense((weights @ v).transpose(1, 2).flatten(2))
        x = x + either(2) * y
        y = block.post_attention_layernorm(x) * (1 + either(4)) + either(3)
        return x + either(5) * block.mlp(y)

    def switch_motion(self, value: float) -> None:
        for module in self.modules():
            if isinstance(module, Factors):
                module.motion = value

    def checkpoint(self) -> dict[str, Any]:
        """As it lies in a published file."""
        return {"module": {f"{PREFIX}{k}": v.clone() for k, v in self.state_dict().items()}}
