"""The frozen sentence encoder (all-MiniLM-L6-v2) that conditions `tiny`, stored in int8.

The network is transformers' `BertModel`; what is ours is the file: every matrix as int8 rows with
one half-precision scale a row, a quarter of the published size. Training and inference read the
same file, so the states a model learned from are the states it gets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiplane.io.atomic import replacing
from multiplane.models.weights_io import CONFIG, read_tensors, write_tensors

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(R, C) float -> int8 (R, C) and float16 scale (R,): symmetric, one scale a row."""
    scale = (weight.abs().amax(dim=1).clamp(min=1e-8) / 127).to(torch.float16)
    return (weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def dequantize_rows(rows: Tensor, scale: Tensor) -> Tensor:
    """int8 (R, C) and scale (R,) -> float32 (R, C)."""
    return rows.float() * scale.float()[:, None]


def write_quantized(published: Path, folder: Path) -> None:
    """Write `folder` from a published sentence-transformers folder (safetensors, config.json,
    tokenizer.json); its pooler is left out. Raises FileNotFoundError or ValueError."""
    tensors: dict[str, Tensor] = {}
    for name, weight in read_tensors(published / WEIGHTS).items():
        if name.startswith("pooler") or name.endswith("position_ids"):
            continue
        if weight.ndim == 2:
            tensors[name], tensors[f"{name}.scale"] = quantize_rows(weight.float())
        else:
            tensors[name] = weight.to(torch.float16)
    write_tensors(tensors, folder / WEIGHTS)
    copy_files(published, folder, (CONFIG, TOKENIZER))


def copy_files(source: Path, folder: Path, names: Sequence[str]) -> None:
    """The same bytes in `folder`, each file whole or not at all."""
    for name in names:
        with replacing(folder / name) as partial:
            partial.write_bytes((source / name).read_bytes())


class TextEncoder:
    """Prompts -> token states. Frozen, float32. tokens: states a prompt; longer ones are cut."""

    def __init__(self, bert: Any, tokenizer: Any, tokens: int) -> None:
        self.bert = bert
        self.tokenizer = tokenizer
        tokenizer.enable_truncation(tokens)
        tokenizer.enable_padding(length=tokens)

    @classmethod
    def from_pretrained(cls, folder: Path, tokens: int = 16) -> TextEncoder:
        """The encoder of a folder written by `write_quantized`, on CPU. Raises FileNotFoundError
        for a missing file, ValueError for one that is not whole."""
        from tokenizers import Tokenizer
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel

        for name in (CONFIG, TOKENIZER):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {name}: write it with multiplane.recipes.text_encoder"
                )
        stored = read_tensors(folder / WEIGHTS)
        state = {
            name: dequantize_rows(value, stored[f"{name}.scale"])
            if f"{name}.scale" in stored
            else value.float()
            for name, value in stored.items()
            if not name.endswith(".scale")
        }
        config = BertConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        with torch.device("meta"):
            bert = BertModel(config, add_pooling_layer=False)
        bert.load_state_dict(state, strict=False, assign=True)
        length = config.max_position_embeddings
        bert.embeddings.register_buffer("position_ids", torch.arange(length)[None], False)
        token_types = torch.zeros(1, length, dtype=torch.long)
        bert.embeddings.register_buffer("token_type_ids", token_types, False)
        missing = [name for name, p in bert.named_parameters() if p.is_meta]
        if missing:
            raise ValueError(f"{folder / WEIGHTS} lacks {missing[0]} and {len(missing) - 1} more")
        bert.eval().requires_grad_(False)
        return cls(bert, Tokenizer.from_file(str(folder / TOKENIZER)), tokens)

    @property
    def device(self) -> torch.device:
        return self.bert.embeddings.word_embeddings.weight.device

    def to(self, device: torch.device) -> TextEncoder:
        """Move the network; `self`."""
        self.bert.to(device)
        return self

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(states (N, tokens, C) float32, zero past each prompt's end; mask (N, tokens) bool), on
        the encoder's device.

        An empty prompt has an empty mask: the denoiser's own no-text state stands in."""
        encoded = self.tokenizer.encode_batch(list(prompts))
        device = self.device
        ids = torch.tensor([one.ids for one in encoded], device=device)
        mask = torch.tensor([one.attention_mask for one in encoded], device=device)
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        empty = torch.tensor([not prompt.strip() for prompt in prompts], device=device)
        shown = mask.bool() & ~empty[:, None]
        return torch.where(shown[..., None], states, 0.0), shown
