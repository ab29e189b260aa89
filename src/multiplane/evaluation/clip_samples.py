"""Layered clips made by a denoiser on pixel patches: planes given in place, the others sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multiplane.models.layered_transformer import LayeredTransformer
from multiplane.models.patches import PixelPatches
from multiplane.models.planes import from_model
from multiplane.models.sampling import clip_noise, euler, time_steps
from multiplane.training.rows import RowBatch


@dataclass(frozen=True)
class SamplingConfig:
    """steps: of Euler's method, their times bent by `shift`. guidance: on text; given planes stay
    in both branches. shared_noise: see `clip_noise`; as in training. chunk: clips at once."""

    steps: int = 12
    shift: float = 2.0
    guidance: float = 1.5
    shared_noise: float = 0.0
    chunk: int = 8

    def __post_init__(self) -> None:
        if self.steps < 1 or self.chunk < 1:
            raise ValueError(f"steps and chunk must be at least 1, got {self}")


@torch.inference_mode()
def sample_clips(
    denoiser: LayeredTransformer,
    codec: PixelPatches,
    rows: RowBatch,
    given: Tensor,
    config: SamplingConfig,
    seed: int,
) -> Tensor:
    """(B, P, F, 4, S, S) premultiplied in [0, 1], colour never above alpha. rows: prompts, and the
    pictures of given planes; given: (B, P, F, h, w) bool. Clip i starts from noise of (seed, i)
    alone, so other weights get the same noise."""
    made = []
    for start in range(0, len(rows.clean), config.chunk):
        part = slice(start, start + config.chunk)
        clean = rows.clean[part]
        generators = (
            torch.Generator().manual_seed(seed * 100_003 + index)
            for index in range(start, start + len(clean))
        )
        shape = (1, *clean.shape[1:])
        noise = torch.cat([clip_noise(shape, config.shared_noise, g) for g in generators])
        made.append(_sampled(denoiser, rows, part, given[part], noise.to(clean.device), config))
    tokens = torch.cat(made)
    pictures = from_model(codec.decode(tokens.flatten(0, 2)).float())
    pictures = torch.cat([torch.minimum(pictures[:, :3], pictures[:, 3:]), pictures[:, 3:]], dim=1)
    return pictures.unflatten(0, tokens.shape[:3])


def made_clips(
    denoiser: LayeredTransformer,
    codec: PixelPatches,
    rows: RowBatch,
    config: SamplingConfig,
    given: Sequence[str] = (),
    seed: int = 1,
) -> Tensor:
    """`sample_clips` with whole planes given. Where any are, text is not guided: what is given says
    more than the words."""
    flags = torch.tensor([role in given for role in rows.layout.roles], device=rows.given.device)
    shown = flags[None, :, None, None, None].expand_as(rows.given)
    config = replace(config, guidance=1.0) if given else config
    return sample_clips(denoiser, codec, rows, shown, config, seed)


def _sampled(
    denoiser: LayeredTransformer,
    rows: RowBatch,
    part: slice,
    given: Tensor,
    noise: Tensor,
    config: SamplingConfig,
) -> Tensor:
    """The clean tokens of one chunk, in float32: bfloat16 rounds each frame in its own way, by a
    third of what is left of the motion of frames that should stand still."""
    clean, text, has_text = rows.clean[part], rows.text[part], rows.has_text[part]
    known = given[:, :, :, None]
    guided = config.guidance != 1.0

    def run(z: Tensor, t: float, shown: Tensor) -> Tensor:
        times = torch.full((len(z),), t, device=z.device)
        return denoiser(z, times, text, shown, given, rows.layout)

    def predict(z: Tensor, t: float) -> Tensor:
        if not guided:
            return run(z, t, has_text)
        without = run(z, t, torch.zeros_like(has_text))
        return torch.lerp(without, run(z, t, has_text), config.guidance)

    def settle(z: Tensor, t: float) -> Tensor:
        return torch.where(known, clean, z)

    times = time_steps(config.steps, shift=config.shift)
    return euler(predict, settle(noise, 0.0), times, settle, lambda step, total, x: None)
